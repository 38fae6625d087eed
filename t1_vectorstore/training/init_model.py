"""The initial model of a recipe: a checkpoint, or a new model with its tokenizer, weights and prompts.

The tokenizer of a new model is a byte-level BPE, which can tokenize any string; or the word pieces of a BERT-like model
that occur in the data, so that the new model can start from that model's embeddings.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.spec import CheckpointSpec, Decoding
from t1_vectorstore.errors import CheckpointError
from t1_vectorstore.training.configs import NewModel, PretrainedModel, Recipe
from t1_vectorstore.training.examples import TrainingData
from t1_vectorstore.training.model import load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

log = logging.getLogger(__name__)
PAD, QUERY, DOCUMENT, THINK, EMB = "<pad>", "<query>", "<document>", "<think>", "<emb_token>"
SPECIAL_TOKENS = (PAD, QUERY, DOCUMENT, THINK, EMB)
UNKNOWN = "[UNK]"
VOCABULARY_EXAMPLES = 40_000
"""Approximate number of examples that the vocabulary is made from."""
UNIFORM_NORM = 0.2
"""Weight of the query and key norms with which random projections attend to all positions about equally."""


def write_initial_model(recipe: Recipe, data: TrainingData, folder: Path) -> None:
    """Write the checkpoint that the first stage starts from.

    Raises:
        CheckpointError: The recipe's checkpoint cannot be trained.
        ValueError: Sizes or word pieces that do not fit together.
    """
    if isinstance(recipe.model, PretrainedModel):
        _copy_pretrained(recipe.model, recipe.thinks, folder)
        return
    new = recipe.model
    if new.hidden % new.heads or new.heads % new.key_value_heads:
        raise ValueError(
            f"hidden={new.hidden} must be a multiple of heads={new.heads}, and heads of "
            f"key_value_heads={new.key_value_heads}"
        )
    if new.begin_as_mean and new.heads != new.key_value_heads:
        raise ValueError(
            f"begin_as_mean needs as many key_value_heads as heads={new.heads}, got {new.key_value_heads}: with fewer, "
            "attention cannot pass on a whole embedding"
        )
    torch.manual_seed(recipe.seed)
    if new.wordpieces is None:
        tokenizer = train_tokenizer(_vocabulary_texts(data), new.vocabulary)
        model = _qwen3(new, tokenizer)
    else:
        tokenizer, source_ids = prune_wordpieces(new.wordpieces, _vocabulary_texts(data), new.vocabulary)
        model = _qwen3(new, tokenizer)
        _copy_embeddings(model, new.wordpieces, source_ids)
    if new.begin_as_mean:
        _init_mean_pooling(model)
    log.info("created a model with %d parameters and %d tokens", model.num_parameters(), len(tokenizer))
    save_checkpoint(model, tokenizer, new_spec(new, thinks=recipe.thinks), folder)


def _copy_pretrained(pretrained: PretrainedModel, thinks: bool, folder: Path) -> None:
    model, tokenizer, spec = load_checkpoint(Checkpoint.load(pretrained.path).path)
    if pretrained.decoding is not None:
        spec = spec.model_copy(update={"decoding": pretrained.decoding})
    spec = spec.with_overrides(pretrained.overrides)
    if thinks and not spec.thinks:
        raise CheckpointError(f"{pretrained.path} does not think: set thinks: false, or start from another model")
    if spec.thinks and not thinks:
        prompt = spec.query_prompt if spec.query_prompt_no_think is None else spec.query_prompt_no_think
        spec = spec.model_copy(update={"thinks": False, "query_prompt": prompt})
    save_checkpoint(model, tokenizer, spec, folder)


def _vocabulary_texts(data: TrainingData) -> Iterator[str]:
    """Yield every document, and examples from the whole file at even intervals."""
    yield from data.documents.values()
    for example in data.examples[:: max(1, len(data.examples) // VOCABULARY_EXAMPLES)]:
        yield example.query
        if example.thought:
            yield example.thought


def _qwen3(new: NewModel, tokenizer: Any) -> Any:  # noqa: ANN401 - transformers'
    """Create a Qwen3 model with tied embeddings, in float32."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=new.hidden,
        intermediate_size=new.intermediate,
        num_hidden_layers=new.layers,
        num_attention_heads=new.heads,
        num_key_value_heads=new.key_value_heads,
        head_dim=new.hidden // new.heads,
        max_position_embeddings=new.max_length,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config)


def _copy_embeddings(model: Any, folder: Path, source_ids: list[int | None]) -> None:  # noqa: ANN401 - transformers'
    """Copy another model's embeddings, projected on their principal components if the model has fewer dimensions."""
    from safetensors.torch import load_file

    file = folder / "model.safetensors"
    tensors = load_file(file) if file.is_file() else {}
    source = next((t for name, t in tensors.items() if name.endswith("embeddings.word_embeddings.weight")), None)
    if source is None:
        raise ValueError(f"{file} has no word embeddings: use a BERT-like model such as all-MiniLM-L6-v2")
    weight = model.get_input_embeddings().weight
    have, want = source.shape[1], weight.shape[1]
    if have < want:
        raise ValueError(f"the embeddings of {folder} have {have} dimensions: set hidden to {have} or less")
    rows = [row for row, number in enumerate(source_ids) if number is not None]
    vectors = source[[number for number in source_ids if number is not None]].float()
    if have > want:
        centred = vectors - vectors.mean(0)
        vectors = centred @ torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -want:]
    with torch.no_grad():
        weight[rows] = vectors


def _init_mean_pooling(model: Any) -> None:  # noqa: ANN401 - transformers'
    """Make the last layer's attention average the tokens before it, and everything else add nothing."""
    *_, last = layers = model.get_decoder().layers
    with torch.no_grad():
        for layer in layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        for norm in (last.self_attn.q_norm, last.self_attn.k_norm):
            norm.weight.fill_(UNIFORM_NORM)
        torch.nn.init.eye_(last.self_attn.v_proj.weight)
        torch.nn.init.eye_(last.self_attn.o_proj.weight)


_LEAST_TOKENS = 8
"""Of a query, for ``CheckpointSpec``."""


def new_spec(new: NewModel, *, thinks: bool) -> CheckpointSpec:
    """Return the specification of a new model; with ``thinks=False``, of the static twin.

    Its limits are 512 tokens for queries and documents, or what its positions allow beside a thought.

    Raises:
        ValueError: A thought leaves no place for a query.
    """
    # Beside a thought, there is the emb token that closes it.
    left = new.max_length - (new.thought_tokens + 1 if thinks else 0)
    if left < _LEAST_TOKENS:
        raise ValueError(
            f"max_length={new.max_length} leaves {left} tokens for a query beside a thought of "
            f"thought_tokens={new.thought_tokens}: raise max_length, or lower thought_tokens"
        )
    plain = f"{QUERY}{{text}}"
    return CheckpointSpec(
        emb_token=EMB,
        thinks=thinks,
        query_prompt=f"{plain}{THINK}" if thinks else plain,
        query_prompt_no_think=plain,
        document_prompt=f"{DOCUMENT}{{text}}",
        max_query_tokens=min(512, left),
        max_document_tokens=min(512, new.max_length),
        decoding=Decoding(max_tokens=new.thought_tokens),
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

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EMB,
        additional_special_tokens=[QUERY, DOCUMENT, THINK],
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
