"""The tokenizer and the prompts of a model trained from scratch.

The tokenizer is byte-level BPE, so that any string can be tokenised.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from t1_vectorstore.checkpoint import CheckpointSpec, Decoding

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, QUERY, DOCUMENT, THINK, EMB = "<pad>", "<query>", "<document>", "<think>", "<emb_token>"
SPECIAL_TOKENS = (PAD, QUERY, DOCUMENT, THINK, EMB)
MAX_LENGTH = 1024


def specification(*, thinks: bool) -> CheckpointSpec:
    """Return the specification of a model trained here; without thoughts, that of the static twin."""
    closed = f"{QUERY}{{text}}"
    return CheckpointSpec(
        emb_token=EMB,
        thinks=thinks,
        query_prompt=f"{closed}{THINK}" if thinks else closed,
        query_prompt_no_think=closed,
        document_prompt=f"{DOCUMENT}{{text}}",
        max_query_tokens=512,
        max_document_tokens=512,
        decoding=Decoding(max_tokens=128),
    )


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a lower-casing, accent-stripping byte-level BPE tokenizer on ``texts``.

    The special tokens get the ids 0 to 4 in the order of ``SPECIAL_TOKENS``; padding is on the right, and generation
    ends at the emb token.

    Raises:
        ValueError: ``vocab_size`` has no room for the 256 bytes and the special tokens.
    """
    if vocab_size < 256 + len(SPECIAL_TOKENS):
        raise ValueError(f"a vocabulary of {vocab_size!r} has no room for all bytes: use at least 261")
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.NFD(), normalizers.StripAccents()]
    )
    # A space is put before the first word, so that a name is the same tokens wherever it stands.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EMB,
        additional_special_tokens=[QUERY, DOCUMENT, THINK],
        padding_side="right",
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )
