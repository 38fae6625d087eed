"""The work that all contenders do: the same checkpoints, documents and prompts."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import t1_vectorstore
from t1_vectorstore.backends.fake import SPEC, byte_tokenizer
from t1_vectorstore.checkpoints.checkpoint import BUNDLED, SPEC_FILE, Checkpoint
from t1_vectorstore.embedding.prompts import Prompter

SHAPES: dict[str, dict[str, int]] = {
    "46M": {"vocab_size": 8192, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 10}
    | {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64},
    "300M": {"vocab_size": 16_384, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 18}
    | {"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128},
    "4B": {"vocab_size": 151_936, "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36}
    | {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128},
}
"""Three sizes of Qwen3. The weights are random, as speed does not depend on their values."""

FACTS = Path(t1_vectorstore.__file__).parent / "cli" / "demo_corpus.jsonl.gz"
THOUGHT_TOKENS = 64
QUERY_TOKENS = 32


@dataclass(frozen=True)
class Workload:
    """A checkpoint, and texts for it.

    Attributes:
        model: ``t1-mini`` or a key of ``SHAPES``.
        folder: The checkpoint.
        texts: Documents of different lengths.
        documents: The documents' prompts, in token ids.
        queries: Prompts of queries up to the thought, of ``QUERY_TOKENS`` tokens each.
        emb_id: The emb token.
    """

    model: str
    folder: str
    texts: list[str]
    documents: list[list[int]]
    queries: list[list[int]]
    emb_id: int

    @classmethod
    def read(cls, file: Path) -> Workload:
        """Read a file that ``write`` has written."""
        return cls(**json.loads(file.read_text(encoding="utf-8")))

    def write(self, file: Path) -> None:
        """Write the workload to a file, for other processes."""
        file.write_text(json.dumps(vars(self)), encoding="utf-8")


def prepare(model: str, folder: Path, *, documents: int, seed: int = 0) -> Workload:
    """Create a checkpoint in ``folder`` (t1-mini is bundled), and texts for it."""
    path = BUNDLED / model if model == "t1-mini" else random_qwen3(folder / model, SHAPES[model])
    prompter = Prompter.load(Checkpoint.load(path))
    rng = random.Random(seed)
    texts = [_text(rng, model, rng.randrange(14, 478)) for _ in range(documents)]
    prompts = [prompt.ids[:480] for prompt in prompter.documents(texts)]
    queries = [_exactly(prompter, _text(rng, model, 4 * QUERY_TOKENS), QUERY_TOKENS) for _ in range(64)]
    return Workload(model, str(path), texts, prompts, queries, prompter.emb_id)


def random_qwen3(folder: Path, shape: dict[str, int]) -> Path:
    """Save a random Qwen3 that hardly ever closes a thought, so all contenders generate the same number of tokens."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    fixed: dict[str, Any] = {"max_position_embeddings": 4096, "tie_word_embeddings": True, "initializer_range": 0.05}
    config = AutoConfig.for_model("qwen3", **shape, **fixed, bos_token_id=None, eos_token_id=4, pad_token_id=0)
    dtype = torch.bfloat16 if shape["num_hidden_layers"] > 30 else torch.float32
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    with torch.no_grad():
        model.get_input_embeddings().weight[4] *= 0.1
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=byte_tokenizer(), pad_token="<pad>", eos_token="<emb_token>"
    ).save_pretrained(folder)
    (folder / SPEC_FILE).write_text(SPEC.model_dump_json(exclude_defaults=True), encoding="utf-8")
    return folder


def _text(rng: random.Random, model: str, tokens: int) -> str:
    """Return a text of about this many tokens: letters for the byte tokenizer, facts for that of t1-mini."""
    if model != "t1-mini":
        return "".join(rng.choices("abcdefgh ", k=tokens)) + "."
    facts = [json.loads(line)["text"] for line in gzip.decompress(FACTS.read_bytes()).splitlines()]
    chosen, letters = "", round(4.8 * tokens)  # a token has 4.8 letters on average in these facts
    while len(chosen) < letters:
        chosen += rng.choice(facts) + " "
    return chosen[:letters].strip()


def _exactly(prompter: Prompter, text: str, tokens: int) -> list[int]:
    [prompt] = prompter.queries([text], think=True)
    return [prompt.ids[0], *prompt.ids[-tokens:][1:]]
