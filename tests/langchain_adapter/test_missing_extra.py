"""Importing the adapter without langchain-core reports the missing extra."""

from __future__ import annotations

import importlib
import sys

import pytest

from t1_vectorstore.errors import MissingExtraError


@pytest.mark.parametrize("name", ["T1Embeddings", "T1QdrantVectorStore", "T1Retriever"])
def test_the_error_has_the_pip_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [each for each in sys.modules if each.startswith("t1_vectorstore.langchain")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "langchain_core", None)
    with pytest.raises(MissingExtraError, match=r"pip install 't1-vectorstore\[langchain\]'") as raised:
        getattr(importlib.import_module("t1_vectorstore.langchain"), name)
    assert isinstance(raised.value, ImportError)
    assert raised.value.extra == "langchain"
