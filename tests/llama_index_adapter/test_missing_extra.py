"""Without LlamaIndex, the error says what to install."""

from __future__ import annotations

import sys

import pytest

from t1_vectorstore.errors import MissingExtraError


def test_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("t1_vectorstore.llama_index")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "llama_index.core", None)
    with pytest.raises(MissingExtraError, match=r"pip install 't1-vectorstore\[llama-index\]'"):
        import t1_vectorstore.llama_index  # noqa: F401


def test_without_torch_no_checkpoint_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    from t1_vectorstore.llama_index import T1Embedding

    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("the hub is asked"))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 't1-vectorstore\[local\]'"):
        T1Embedding(model_name="ForwardAILabs/MRE-T1")
