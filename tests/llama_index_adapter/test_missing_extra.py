"""Missing packages are reported with the pip command."""

from __future__ import annotations

import sys

import pytest

from t1_vectorstore.errors import MissingExtraError


def test_without_llama_index_the_import_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("t1_vectorstore.llama_index")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "llama_index.core", None)
    with pytest.raises(MissingExtraError, match=r"pip install 't1-vectorstore\[llama-index\]'"):
        import t1_vectorstore.llama_index  # noqa: F401


def test_without_torch_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    from t1_vectorstore.llama_index import T1Embedding

    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("downloaded from the hub"))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 't1-vectorstore\[local\]'"):
        T1Embedding(model_name="ForwardAILabs/MRE-T1")
