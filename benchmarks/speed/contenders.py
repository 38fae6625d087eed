"""The contenders: this package, other libraries that can run the model, and the limits of the machine.

Each is a class ``(workload, dtype, device)``. Its methods do one kind of work, and return arrays by name: documents
give ``vectors (n, dimension)`` of length 1; thoughts give ``ids (n, budget)``, and ``vectors`` if the library has them.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import t1_vectorstore
from benchmarks.speed.limits import Bandwidth, Gemm
from benchmarks.speed.workload import Workload

Ids = Sequence[Sequence[int]]


class Ours:
    """This package."""

    version = t1_vectorstore.__version__

    def __init__(self, workload: Workload, dtype: str, device: str) -> None:
        """Load the model."""
        threads = torch.get_num_threads() if device == "cpu" else None
        self._embedder = t1_vectorstore.T1Embedder.load(workload.folder, dtype=dtype, device=device, threads=threads)
        self._work = workload

    def documents(self) -> dict[str, Any]:
        """Embed the texts."""
        return {"vectors": self._embedder.embed_documents(self._work.texts).vectors}

    def thoughts(self, prompts: Ids, budget: int) -> dict[str, Any]:
        """Generate thoughts; their vectors come from the same cache."""
        decoding = self._embedder.spec.decoding.model_copy(update={"max_tokens": budget})
        trajectories = self._embedder._backend.think(prompts, decoding)
        vectors = _unit(np.stack([trajectory.state for trajectory in trajectories]))
        return {"ids": _table([trajectory.ids for trajectory in trajectories], budget), "vectors": vectors}

    def vector(self, prompts: Ids, tokens: int, *, closed: bool) -> dict[str, Any]:
        """Measure the work after a thought's last token, in decode steps (the mean time from token to token).

        Args:
            prompts: Prompts of queries.
            tokens: Length of each thought.
            closed: Whether the model closes the thoughts with the last token; otherwise the budget ends them.
        """
        loop, chosen = self._embedder._backend.loop, _Clock(len(prompts), tokens if closed else tokens + 1)
        decoding = self._embedder.spec.decoding.model_copy(update={"max_tokens": tokens})
        sampler, loop.sampler = loop.sampler, replace(loop.sampler, stop_ids=chosen)
        try:
            self._embedder._backend.think(prompts, decoding)
        finally:
            loop.sampler = sampler
        ended = time.process_time()
        first, last = chosen.at[len(prompts) - 1], chosen.at[len(prompts) * tokens - 1]
        return {"steps": (ended - last) / ((last - first) / (tokens - 1))}

    def memory(self, tokens: int) -> dict[str, Any]:
        """Embed a corpus of ``tokens`` tokens in one call; return the peak memory beyond the loaded model, in bytes."""
        size = sum(map(len, self._work.documents))
        self._embedder.embed_documents(self._work.texts[:1])
        before = _resident()
        repeated = self._work.texts * -(-tokens // size)
        self._embedder.embed_documents(repeated)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {"tokens": size * -(-tokens // size), "bytes": peak - before}


class SentenceTransformers:
    """sentence-transformers with the same weights: batches of 32, sorted by length, padded."""

    def __init__(self, workload: Workload, dtype: str, device: str) -> None:
        """Load the model."""
        import sentence_transformers
        from sentence_transformers.sentence_transformer import modules

        self.version = sentence_transformers.__version__
        transformer = modules.Transformer(workload.folder, model_kwargs={"dtype": getattr(torch, dtype)})
        pooling = modules.Pooling(transformer.get_embedding_dimension(), pooling_mode="lasttoken")
        self._model = sentence_transformers.SentenceTransformer(
            modules=[transformer, pooling, modules.Normalize()], device=device
        )
        self._texts = [f"<document>{text}<emb_token>" for text in workload.texts]

    def documents(self) -> dict[str, Any]:
        """Embed the texts."""
        return {"vectors": self._model.encode(self._texts, show_progress_bar=False).astype(np.float32)}


class Transformers:
    """``generate`` of transformers, then a forward pass over prompt, thought and emb token for the vector."""

    def __init__(self, workload: Workload, dtype: str, device: str) -> None:
        """Load the model."""
        import transformers

        self.version = transformers.__version__
        transformers.logging.set_verbosity_error()
        loader: Any = transformers.AutoModelForCausalLM
        self._model = loader.from_pretrained(workload.folder, dtype=getattr(torch, dtype)).to(device).eval()
        self._device, self._work = device, workload

    @torch.inference_mode()
    def thoughts(self, prompts: Ids, budget: int) -> dict[str, Any]:
        """Generate thoughts, and compute their vectors by a second pass."""
        ids = torch.tensor(prompts, device=self._device)
        made = self._model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=budget, min_new_tokens=budget, do_sample=False
        )
        whole = torch.cat([made, torch.full_like(made[:, :1], self._work.emb_id)], dim=1)
        states = self._model.model(input_ids=whole, use_cache=False).last_hidden_state[:, -1]
        return {"ids": made[:, ids.shape[1] :].cpu().numpy(), "vectors": _unit(states.float().cpu().numpy())}

    @torch.inference_mode()
    def read(self, prompts: Ids) -> dict[str, Any]:
        """Compute reference vectors: one sequence at a time, without a cache."""
        states = [
            self._model.model(input_ids=torch.tensor([ids], device=self._device), use_cache=False)
            .last_hidden_state[0, -1]
            .float()
            .cpu()
            for ids in prompts
        ]
        return {"vectors": _unit(torch.stack(states).numpy())}

    @torch.inference_mode()
    def regret(self, prompts: Ids, thoughts: Ids) -> dict[str, Any]:
        """Return how far a chosen token was below the likeliest one, at worst, in standard deviations of the logits."""
        worst = 0.0
        for prompt, thought in zip(prompts, thoughts, strict=True):
            logits = self._model(torch.tensor([[*prompt, *thought]], device=self._device)).logits[0].float()
            logits = logits[len(prompt) - 1 : -1]
            chosen = logits.gather(1, torch.tensor(thought, device=self._device)[:, None])[:, 0]
            worst = max(worst, float(((logits.max(1).values - chosen) / logits.std(1)).max()))
        return {"regret": worst}


class VllmPooling:
    """vLLM as in an embedding server. It is given token ids, so it does not tokenise."""

    def __init__(self, workload: Workload, dtype: str, device: str) -> None:
        """Start the engine."""
        import vllm

        self.version = vllm.__version__
        self._engine = vllm.LLM(
            workload.folder,
            runner="pooling",
            convert="embed",
            pooler_config=vllm.config.PoolerConfig(seq_pooling_type="LAST"),
            enable_prefix_caching=False,  # each round embeds the same documents
            **_vllm_options(dtype),
        )
        self._prompts = [{"prompt_token_ids": ids} for ids in workload.documents]

    def documents(self) -> dict[str, Any]:
        """Embed token ids."""
        outputs = self._engine.embed(self._prompts, use_tqdm=False)
        return {"vectors": _unit(np.array([output.outputs.embedding for output in outputs], np.float32))}


class VllmGenerate:
    """vLLM's generation, which returns no vectors."""

    def __init__(self, workload: Workload, dtype: str, device: str) -> None:
        """Start the engine."""
        import vllm

        self.version = vllm.__version__
        self._vllm = vllm
        self._engine = vllm.LLM(workload.folder, enable_prefix_caching=True, **_vllm_options(dtype))

    def thoughts(self, prompts: Ids, budget: int) -> dict[str, Any]:
        """Generate thoughts without vectors."""
        self._engine.reset_prefix_cache()
        sampling = self._vllm.SamplingParams(temperature=0, max_tokens=budget, ignore_eos=True, detokenize=False)
        outputs = self._engine.generate([{"prompt_token_ids": ids} for ids in prompts], sampling, use_tqdm=False)
        return {"ids": _table([output.outputs[0].token_ids for output in outputs], budget)}


def _vllm_options(dtype: str) -> dict[str, Any]:
    """Return the fastest options tried: compiled (a fifth faster than eager), with batches that fit a CPU cache."""
    options = {"dtype": dtype, "max_model_len": 1024, "max_num_seqs": 32, "block_size": 32, "disable_log_stats": True}
    return options | {"max_num_batched_tokens": 1024}


class _Clock:
    """Replaces the stop tokens, which random weights hardly ever choose, and records when each token is checked."""

    def __init__(self, rows: int, closing: int) -> None:
        self.at: list[float] = []
        self._before = rows * (closing - 1)

    def __contains__(self, _: int) -> bool:
        self.at.append(time.process_time())
        return len(self.at) > self._before


def _unit(vectors: Any) -> Any:  # noqa: ANN401
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _table(rows: Ids, width: int) -> Any:  # noqa: ANN401
    """Return an array of token ids, padded with -1."""
    return np.array([[*row, *[-1] * (width - len(row))] for row in rows], np.int64)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * resource.getpagesize()


CONTENDERS: dict[str, Any] = {
    "t1": Ours,
    "sentence-transformers": SentenceTransformers,
    "transformers": Transformers,
    "vllm-pooling": VllmPooling,
    "vllm-generate": VllmGenerate,
    "gemm": Gemm,
    "bandwidth": Bandwidth,
}
