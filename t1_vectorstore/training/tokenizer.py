"""The tokenizer and the prompts of a model trained from scratch.

The tokenizer is byte-level BPE, so that any string can be tokenised; or the word pieces of a BERT-like model, cut to
those that occur, so that a model can begin with its embeddings.
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


def specification(*, thinks: bool, thought_tokens: int = 128) -> CheckpointSpec:
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
        decoding=Decoding(max_tokens=thought_tokens),
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
    return _wrap(tokenizer)


def cut_wordpieces(folder: Path, texts: Iterable[str], most: int) -> tuple[PreTrainedTokenizerFast, list[int | None]]:
    """Make a tokenizer of the word pieces of another model that occur in ``texts``.

    Single characters are kept whether they occur or not, so that little is unknown. The special tokens get the ids 0 to
    4; the unknown token is none of them, since it stands for text.

    Args:
        folder: A model with a WordPiece ``tokenizer.json``, such as ``all-MiniLM-L6-v2``.
        texts: What to count the pieces in.
        most: Size of the vocabulary; the rarest pieces are left out, and words with them are spelt in shorter ones.

    Returns:
        The tokenizer, and for each of its ids the id of the same piece in the other model; None for the special tokens.

    Raises:
        ValueError: The folder has no such tokenizer, or ``most`` has no room for the single characters.
    """
    from tokenizers import AddedToken, Tokenizer, decoders

    file = folder / "tokenizer.json"
    definition: Any = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if definition.get("model", {}).get("type") != "WordPiece":
        raise ValueError(f"wordpieces={str(folder)!r} holds no WordPiece tokenizer.json, such as all-MiniLM-L6-v2 has")
    source: Tokenizer = Tokenizer.from_file(str(file))
    source.no_truncation()
    source.no_padding()
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(source.encode(text, add_special_tokens=False).tokens)
    old: dict[str, int] = definition["model"]["vocab"]
    single = [piece for piece in old if len(piece.removeprefix("##")) == 1]
    kept = dict.fromkeys([UNKNOWN, *single])
    if most < len(SPECIAL_TOKENS) + len(kept):
        raise ValueError(f"a vocabulary of {most!r} has no room for the {len(kept)} single characters of {folder}")
    for piece, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if len(kept) + len(SPECIAL_TOKENS) >= most:
            break
        if piece in old:
            kept[piece] = None
    pieces = [*SPECIAL_TOKENS, *kept]
    definition["model"] |= {"vocab": {piece: number for number, piece in enumerate(pieces)}, "unk_token": UNKNOWN}
    definition |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    # BERT's decoder puts a full stop close to its word, and leaves the colon of a thought standing alone.
    tokenizer.decoder = decoders.Sequence([decoders.WordPiece(), decoders.Replace(" :", ":")])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return _wrap(tokenizer), [None if piece in SPECIAL_TOKENS else old[piece] for piece in pieces]


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
