"""What a model's name says about it, before anything is read or loaded."""

from __future__ import annotations

from pathlib import Path

from t1_vectorstore.types import BackendName

DEFAULT_MODEL = "t1-mini"


def names_gguf(model: str | Path) -> bool:
    """Return whether a model's name is that of a GGUF file, here or on the hub."""
    return str(model).lower().endswith(".gguf")


def names_service(model: str | Path) -> bool:
    """Return whether a model's name is the URL of a T1 service."""
    return isinstance(model, str) and model.lower().startswith(("http://", "https://"))


def backend_of(model: str | Path) -> BackendName | None:
    """Return the backend that a model's name asks for, if it does."""
    return "llama-cpp" if names_gguf(model) else "service" if names_service(model) else None
