"""``T1Embeddings``: vectors, options, pickles and copies, the event loop, and other vector stores."""

from __future__ import annotations

import asyncio
import copy
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_qdrant import QdrantVectorStore

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.fake import FakeBackend
from t1_vectorstore.errors import InvalidText, TextTooLong, TruncationWarning
from t1_vectorstore.langchain import T1Embeddings, T1QdrantVectorStore
from tests.backends.stub_vllm import stub_vllm
from tests.langchain_adapter.conftest import DOCUMENTS


@pytest.fixture
def thinking() -> T1Embeddings:
    return T1Embeddings.from_embedder(T1Embedder.fake())


def test_splitters_can_count_the_tokens_of_the_model() -> None:
    embeddings = T1Embeddings.from_embedder(T1Embedder.fake())
    assert embeddings.count_tokens("four") == 4, "the fake model's tokens are bytes"


def test_vectors_are_those_of_the_embedder_as_built_in_floats(tiny: Path) -> None:
    embeddings = T1Embeddings(model=tiny, dtype="float32", budget=4)
    embedder = T1Embedder.load(tiny, dtype="float32")
    assert embeddings.embed_documents(["a", "b"]) == embedder.embed_documents(["a", "b"]).vectors.tolist()
    vector = embeddings.embed_query("a")
    assert vector == embedder.embed_query("a", budget=4).vector.tolist()
    assert {type(value) for value in vector} == {float}
    assert embeddings.embed_query_with_thought("a").thoughts[0].tokens <= 4
    assert embeddings.embed_documents([]) == []


@pytest.mark.enable_socket
def test_other_backends_can_run_the_model(tiny: Path) -> None:
    local = T1Embedder.load(tiny, dtype="float32")
    with stub_vllm(local) as stub:
        options = {"generate_url": stub.url, "embed_url": stub.url, "api_key": "top-secret"}
        embeddings = T1Embeddings(model=tiny, backend="remote", engine_options=options, budget=4)
        assert "top-secret" not in repr(embeddings)
        vector = embeddings.embed_query("a")
        assert vector == pytest.approx(local.embed_query("a", budget=4).vector.tolist(), abs=1e-4)
        embeddings.embedder.close()
    with pytest.raises(ValueError, match="give one of them"):
        T1Embeddings(model=tiny, device="cpu", devices=["cpu", "cpu"], threads=1).embed_query("a")


def test_options_of_a_call_override_the_fields() -> None:
    embeddings = T1Embeddings.from_embedder(T1Embedder.fake(), budget=3)
    assert embeddings.embed_query_with_thought("capital").thoughts[0].text == "lat"
    assert embeddings.embed_query_with_thought("capital", budget=1).thoughts[0].text == "l"
    assert embeddings.embed_query_with_thought("capital", think=False).thoughts == ()
    refined = T1Embeddings.from_embedder(T1Embedder.fake(), refine_steps=2, refine="last")
    plain = T1Embedder.fake().embed_query
    assert refined.embed_query("capital") == plain("capital", refine_steps=2, refine="last").vector.tolist()
    for given in ({"refine_steps": 0}, {"refine_steps": 1, "refine": "mean"}):
        vector = refined.embed_query_with_thought("capital", **given).vector  # type: ignore[arg-type]
        assert (vector == plain("capital", **given).vector).all()  # type: ignore[arg-type]
    quiet = T1Embeddings.from_embedder(T1Embedder.fake(), think=False)
    assert quiet.embed_query_with_thought("capital", think=True).thoughts[0].text == "latipac"


@pytest.mark.parametrize(
    "fields",
    [
        *({"modle": "t1-mini"}, {"budget": -1}, {"deadline": 0}, {"truncation": "silent"}, {"batch_tokens": 0}),
        *({"refine_steps": -1}, {"refine_steps": True}, {"refine_steps": 65}, {"refine": "max"}, {"backend": "vlm"}),
    ],
)
def test_fields_are_checked(fields: dict[str, Any]) -> None:
    [(name, value)] = fields.items()
    wrong_type = name == "modle" or value is True
    with pytest.raises(TypeError if wrong_type else ValueError, match=f"{name}.* (got {value!r}|The options are)"):
        T1Embeddings(**fields)


def test_errors_do_not_show_the_token() -> None:
    with pytest.raises(ValueError, match="give one of them") as raised:
        T1Embeddings(token="hf_secret", device="cpu", devices=["cpu"])
    assert "hf_secret" not in str(raised.value)


def test_texts_that_cannot_be_embedded_are_refused(thinking: T1Embeddings) -> None:
    with pytest.raises(InvalidText):
        thinking.embed_query(" ")
    with pytest.raises(InvalidText, match="document text 1"):
        thinking.embed_documents(["a", ""])


def test_truncation_is_reported_unless_allowed(tiny: Path) -> None:
    options: dict[str, Any] = {"model": tiny, "overrides": {"max_document_tokens": 8}, "dtype": "float32"}
    with pytest.warns(TruncationWarning):
        T1Embeddings(**options).embed_documents(["a long document"])
    with pytest.raises(TextTooLong):
        T1Embeddings(**options, truncation="raise").embed_documents(["a long document"])
    T1Embeddings(**options, truncation="allow").embed_documents(["a long document"])


def test_the_token_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "hf_secret" not in repr(T1Embeddings(token="hf_secret"))
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    token = T1Embeddings().token
    assert token is not None
    assert token.get_secret_value() == "hf_other"


def test_the_hubs_token_is_not_sent_to_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's client finds the variable by itself, so it is not passed on; a given token is."""
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    given: list[Any] = []
    monkeypatch.setattr(T1Embedder, "from_options", lambda options: given.append(options.token) or T1Embedder.fake())
    T1Embeddings().embed_query("a")
    T1Embeddings(token="a key").embed_query("a")
    assert given[0] is None
    assert given[1].get_secret_value() == "a key"


@pytest.mark.process
def test_pickles_do_not_contain_the_model(tiny: Path, tmp_path: Path) -> None:
    embeddings = T1Embeddings(model=tiny, dtype="float32")
    before = embeddings.embed_query("a")
    pickled = pickle.dumps(embeddings)
    assert len(pickled) < 4096
    (tmp_path / "pickle").write_bytes(pickled)
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).embed_query('a'))"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "pickle"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(before)
    with pytest.raises(
        TypeError, match=r"created by from_embedder cannot be pickled.* create it with the model's name"
    ):
        pickle.dumps(T1Embeddings.from_embedder(T1Embedder.fake()))


def test_copies_share_the_model_unless_they_load_another(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings = T1Embeddings(model=tiny, dtype="float32")
    embedder = embeddings.embedder
    assert copy.deepcopy(embeddings).embedder is embedder
    assert embeddings.model_copy(update={"budget": 2}).embedder is embedder
    assert embeddings.model_copy(update={"overrides": {"truncate_dim": 8}}).embedder.dimension == 8
    assert embeddings.embedder is embedder
    assert embeddings == T1Embeddings(model=tiny, dtype="float32")


def test_the_model_is_loaded_once_by_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[T1Embedder] = []

    def load(*_: object, **__: object) -> T1Embedder:
        time.sleep(0.05)
        loaded.append(T1Embedder.fake())
        return loaded[-1]

    monkeypatch.setattr(T1Embedder, "from_options", load)
    embeddings = T1Embeddings()
    with ThreadPoolExecutor(8) as pool:
        vectors = list(pool.map(embeddings.embed_query, ["a"] * 16))
    assert len(loaded) == 1
    assert all(vector == vectors[0] for vector in vectors)


async def test_the_event_loop_is_not_blocked(monkeypatch: pytest.MonkeyPatch, thinking: T1Embeddings) -> None:
    """The model waits for the event loop in every call, so a call that blocks the loop would never return."""
    running = threading.Event()

    def wait(original: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            assert running.wait(30), "the event loop was blocked"
            return original(*arguments, **options)

        return call

    for verb in ("encode", "think"):
        monkeypatch.setattr(FakeBackend, verb, wait(getattr(FakeBackend, verb)))
    store = T1QdrantVectorStore.open(thinking, location=":memory:")
    retriever = store.as_retriever()
    for call in (
        lambda: thinking.aembed_query("a"),
        lambda: thinking.aembed_documents(["a"]),
        lambda: store.aadd_documents(DOCUMENTS),
        lambda: store.aadd_texts(["a"]),
        lambda: store.asimilarity_search("a"),
        lambda: store.asimilarity_search_with_score("a"),
        lambda: store.asimilarity_search_with_thought("a"),
        lambda: store.asimilarity_search_with_relevance_scores("a"),
        lambda: store.amax_marginal_relevance_search("a"),
        lambda: retriever.ainvoke("a"),
        lambda: T1QdrantVectorStore.afrom_texts(["b"], thinking, location=":memory:"),
        lambda: T1QdrantVectorStore.afrom_documents(DOCUMENTS, thinking, location=":memory:"),
    ):
        running.clear()
        task = asyncio.ensure_future(call())
        for _ in range(3):
            await asyncio.sleep(0.001)
        running.set()
        await task
    store.close()


def test_progress_is_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    embeddings = T1Embeddings.from_embedder(T1Embedder.fake(), show_progress=True)
    embeddings.embed_documents(["a", "b"])
    assert "2/2" in capsys.readouterr().err
    with T1QdrantVectorStore.from_texts(["a", "b", "c"], embeddings, location=":memory:"):
        assert "3text" in capsys.readouterr().err
    T1Embeddings.from_embedder(T1Embedder.fake()).embed_documents(["a"])
    assert capsys.readouterr().err == ""


def _stock_qdrant(documents: Sequence[Document], embeddings: Embeddings) -> QdrantVectorStore:
    return QdrantVectorStore.from_documents(
        [Document(d.page_content) for d in documents], embeddings, location=":memory:"
    )


def _in_memory(documents: Sequence[Document], embeddings: Embeddings) -> InMemoryVectorStore:
    return InMemoryVectorStore.from_documents(list(documents), embeddings)


@pytest.mark.parametrize("make", [_stock_qdrant, _in_memory])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_other_vector_stores_can_use_it(make: Any, embeddings: T1Embeddings) -> None:
    [found] = make(DOCUMENTS, embeddings).similarity_search("the capital of France", k=1)
    assert found.page_content == "Paris is the capital of France."


def test_the_namespace_identifies_the_model(tiny: Path) -> None:
    whole, cut = (T1Embeddings(model=tiny, overrides={"truncate_dim": dim}, dtype="float32") for dim in (64, 8))
    assert whole.namespace != cut.namespace
    assert whole.namespace == whole.model_copy(update={"budget": 3}).namespace
