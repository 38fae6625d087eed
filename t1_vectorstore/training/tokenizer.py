"""The tokenizer and the prompts of a model trained from scratch.

The tokenizer is a byte-level BPE, which can tokenize any string; or the word pieces of a BERT-like model that occur in
the data, so that the new model can start from that model's embeddings.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t1_vectorstore.checkpoints.spec import CheckpointSpec, Decoding

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

PAD, QUERY, DOCUMENT, THINK, EMB = "<pad>", "<query>", "<document>", "<think>", "<emb_token>"
SPECIAL_TOKENS = (PAD, QUERY, DOCUMENT, THINK, EMB)
UNKNOWN = "[UNK]"


def new_spec(*, thinks: bool, thought_tokens: int = 128) -> CheckpointSpec:
    """Return the specification of a new model; with ``thinks=False``, of the static twin."""
    plain = f"{QUERY}{{text}}"
    return CheckpointSpec(
        emb_token=EMB,
        thinks=thinks,
        query_prompt=f"{plain}{THINK}" if thinks else plain,
        query_prompt_no_think=plain,
        document_prompt=f"{DOCUMENT}{{text}}",
        max_query_tokens=512,
        max_document_tokens=512,
        decoding=Decoding(max_tokens=thought_tokens),
    )


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on ``texts``. It lower-cases and strips accents.

    The special tokens get the ids 0 to 4 in the order of ``SPECIAL_TOKENS``. Padding is on the right, and the emb token
    ends a generation.

    Raises:
        ValueError: ``vocab_size`` is too small for the 256 bytes and the special tokens.
    """
    if vocab_size < 256 + len(SPECIAL_TOKENS):
        raise ValueError(f"a vocabulary of {vocab_size!r} tokens cannot hold all bytes: use at least 261")
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.NFD(), normalizers.StripAccents()]
    )
    # With a space before the first word, a name has the same tokens everywhere in a text.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _wrap(tokenizer)


def prune_wordpieces(
    folder: Path, texts: Iterable[str], max_size: int
) -> tuple[PreTrainedTokenizerFast, list[int | None]]:
    """Create a tokenizer with the word pieces of another model that occur in ``texts``.

    Single characters are always kept, so that few words are unknown. The special tokens get the ids 0 to 4. The unknown
    token is not one of them, since it stands for text.

    Args:
        folder: Folder of a model with a WordPiece ``tokenizer.json``, such as ``all-MiniLM-L6-v2``.
        texts: Texts in which the pieces are counted.
        max_size: Size of the vocabulary. The rarest pieces are left out; words that have them use shorter pieces.

    Returns:
        Tokenizer, and for each of its ids the id of the same piece in the other model; ``None`` for special tokens.

    Raises:
        ValueError: The folder has no such tokenizer, or ``max_size`` is too small for the single characters.
    """
    from tokenizers import AddedToken, Tokenizer, decoders

    file = folder / "tokenizer.json"
    definition: Any = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if definition.get("model", {}).get("type") != "WordPiece":
        raise ValueError(
            f"wordpieces={str(folder)!r} has no WordPiece tokenizer.json: use all-MiniLM-L6-v2, for example"
        )
    source: Tokenizer = Tokenizer.from_file(str(file))
    source.no_truncation()
    source.no_padding()
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(source.encode(text, add_special_tokens=False).tokens)
    source_ids: dict[str, int] = definition["model"]["vocab"]
    characters = [piece for piece in source_ids if len(piece.removeprefix("##")) == 1]
    kept = dict.fromkeys([UNKNOWN, *characters])
    if max_size < len(SPECIAL_TOKENS) + len(kept):
        raise ValueError(
            f"a vocabulary of {max_size!r} tokens cannot hold the {len(kept)} single characters of {folder}"
        )
    for piece, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if len(kept) + len(SPECIAL_TOKENS) >= max_size:
            break
        if piece in source_ids:
            kept[piece] = None
    pieces = [*SPECIAL_TOKENS, *kept]
    definition["model"] |= {"vocab": {piece: number for number, piece in enumerate(pieces)}, "unk_token": UNKNOWN}
    definition |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    # BERT's decoder removes the space before a full stop, but not before the colon of a thought.
    tokenizer.decoder = decoders.Sequence([decoders.WordPiece(), decoders.Replace(" :", ":")])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return _wrap(tokenizer), [None if piece in SPECIAL_TOKENS else source_ids[piece] for piece in pieces]


def _wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EMB,
        additional_special_tokens=[QUERY, DOCUMENT, THINK],
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
