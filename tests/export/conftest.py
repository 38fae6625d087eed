"""The fixture of llama.cpp, which these tests share with those of the backend."""

from tests.llama_cpp_backend.conftest import llama_cpp

__all__ = ["llama_cpp"]
