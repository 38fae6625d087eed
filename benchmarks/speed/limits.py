"""The limits of the machine for the model's sizes: times that no program could beat.

For documents the limit is the time of the linear layers alone, each with the fastest kernel and batch size tried here.
For a decode step of one sequence, which reads every weight once, it is the bandwidth of the memory.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.workload import Workload


class Gemm:
    """The linear layers alone."""

    version = torch.__version__

    def __init__(self, workload: Workload, dtype: str, device: str) -> None:
        """Create the weights of a layer."""
        self._layers, shapes = _linears(Path(workload.folder))
        self._weights = [torch.randn(shape, dtype=getattr(torch, dtype), device=device) for shape in shapes]
        self._tokens = sum(map(len, workload.documents))

    @torch.inference_mode()
    def documents(self) -> dict[str, Any]:
        """Return the seconds of the linear layers over all documents, from the fastest of several calls of each."""
        each = [min(_second_per_token(w, rows) for rows in (512, 1024, 2048)) for w in self._weights]
        seconds = self._layers * self._tokens * sum(each)
        operations = 2 * self._layers * self._tokens * sum(weight.numel() for weight in self._weights)
        return {"cpu": seconds, "wall": seconds, "gflops": operations / seconds / 1e9}


class Bandwidth:
    """Reading the weights once for each token."""

    version = torch.__version__

    def __init__(self, workload: Workload, dtype: str, device: str) -> None:
        """Create data that is too large for the CPU's caches."""
        layers, shapes = _linears(Path(workload.folder))
        config = _config(Path(workload.folder))
        weights = layers * sum(n * k for n, k in shapes) + config["vocab_size"] * config["hidden_size"]
        self._bytes = weights * getattr(torch, dtype).itemsize
        self._data = torch.ones(2**28, dtype=torch.uint8, device=device).view(torch.int32)

    @torch.inference_mode()
    def thoughts(self, prompts: list[list[int]], budget: int) -> dict[str, Any]:
        """Return the seconds of ``budget`` decode steps."""
        rate = self._data.nbytes / _fastest(lambda: self._data.sum(dtype=torch.int32), calls=3)
        seconds = budget * self._bytes / rate
        return {"cpu": seconds, "wall": seconds, "gigabytes_per_second": rate / 1e9}


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config


def _linears(folder: Path) -> tuple[int, list[tuple[int, int]]]:
    """Return the number of layers, and the shape (outputs, inputs) of each linear layer in one of them."""
    config = _config(folder)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries, keys = (config[name] * config["head_dim"] for name in ("num_attention_heads", "num_key_value_heads"))
    attention = [(queries, hidden), (keys, hidden), (keys, hidden), (hidden, queries)]
    return config["num_hidden_layers"], [*attention, (inner, hidden), (inner, hidden), (hidden, inner)]


def _second_per_token(weight: torch.Tensor, rows: int) -> float:
    inputs = torch.randn(rows, weight.shape[1], dtype=weight.dtype, device=weight.device)
    kernels: list[Callable[[], object]] = [lambda: torch.nn.functional.linear(inputs, weight)]
    if weight.device.type == "cpu" and torch.backends.mkldnn.is_available():
        onednn: Any = torch.ops.mkldnn
        packed = onednn._reorder_linear_weight(weight, rows)
        kernels.append(lambda: onednn._linear_pointwise(inputs, packed, None, "none", [], ""))
    return min(_fastest(kernel, calls=3) for kernel in kernels) / rows


def _fastest(call: Callable[[], object], calls: int) -> float:
    """Return the seconds of the fastest of several calls, after a warm-up."""
    seconds = []
    for _ in range(calls + 1):
        started = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
