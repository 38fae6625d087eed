"""Documents per second: this package's document path against the loop that most code has.

Both run in this process, on the same weights and the same texts, in turns; the table gives tokens per CPU second and
the ratio. The loop: transformers in float32, padded batches of 16 in the order the documents came.

    python benchmarks/document_throughput.py [--rounds 3] [--documents 128]
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.fake import SPEC, byte_tokenizer
from t1_vectorstore.checkpoint import SPEC_FILE


def random_qwen3(folder: Path) -> Path:
    """46 million random parameters in Qwen3's shape; speed does not depend on the values."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "qwen3",
        vocab_size=8192,
        hidden_size=512,
        intermediate_size=2048,
        num_hidden_layers=10,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=64,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=4,
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    (folder / SPEC_FILE).write_text(SPEC.model_dump_json(exclude_defaults=True), encoding="utf-8")
    return folder


def naive_loop(model: torch.nn.Module, prompts: Sequence[Sequence[int]]) -> np.ndarray:
    """Padded batches of 16 in arrival order, last-token pooling."""
    vectors = []
    for start in range(0, len(prompts), 16):
        batch = prompts[start : start + 16]
        width = max(map(len, batch))
        ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in batch])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in batch])
        with torch.inference_mode():
            states = model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[:, -1]
        vectors.append(torch.nn.functional.normalize(states.float(), dim=1))
    return torch.cat(vectors).numpy()


def cpu_seconds(run: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Processor time of one run, and its vectors."""
    started = time.process_time()
    vectors = run()
    return time.process_time() - started, vectors


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--documents", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(1)  # tokens per CPU second mean the same on any number of cores
    rng = random.Random(0)
    texts = ["".join(rng.choices("abcdefgh ", k=rng.randrange(14, 478))) + "." for _ in range(options.documents)]
    with tempfile.TemporaryDirectory() as folder:
        path = random_qwen3(Path(folder))
        ours = {dtype: T1Embedder.load(path, dtype=dtype) for dtype in ("float32", "bfloat16")}
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).model
    prompts = [prompt.ids for prompt in ours["float32"]._prompter.documents(texts)]
    runs: dict[str, Callable[[], np.ndarray]] = {
        "padded, arrival order, float32": lambda: naive_loop(model, prompts),
        **{f"T1Embedder, {d}": lambda e=e: e.embed_documents(texts).vectors for d, e in ours.items()},  # type: ignore[misc]
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    vectors = {}
    for _ in range(options.rounds):
        for name, run in runs.items():
            spent, vectors[name] = cpu_seconds(run)
            seconds[name].append(spent)
    tokens = sum(map(len, prompts))
    first = next(iter(runs))
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"Qwen3, {parameters:.0f}M parameters, {options.documents} documents, {tokens} tokens, one thread\n")
    print("| | tokens per CPU second | ratio | least cosine to the first row |")
    print("|---|---|---|---|")
    for name in runs:
        ratio = np.median(np.array(seconds[first]) / np.array(seconds[name]))
        cosine = (vectors[name] * vectors[first]).sum(1).min()
        print(f"| {name} | {tokens / np.median(seconds[name]):.0f} | {ratio:.2f} | {cosine:.5f} |")


if __name__ == "__main__":
    main()
