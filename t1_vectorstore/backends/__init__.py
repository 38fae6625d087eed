"""Backends run the model: in this process, on several devices, in vLLM, or on servers."""

from t1_vectorstore.backends.base import Backend
from t1_vectorstore.backends.loading import check_backend, check_installed, load_backend

__all__ = ["Backend", "check_backend", "check_installed", "load_backend"]
