"""Embedding documents: order, batches, truncation, and special tokens in texts."""

from __future__ import annotations

import os
import random
import signal
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.decoder.config import FAMILIES
from t1_vectorstore.backends.decoder.model import DecoderModel
from t1_vectorstore.errors import InvalidText, TextTooLong, TruncationWarning
from tests.checkpoints import save_checkpoint
from tests.embedding.test_thoughts import cosines, plain_states

rng = random.Random(0)
TEXTS = ["".join(rng.choices("abcdef gh", k=rng.randrange(1, 200))) + "." for _ in range(60)]
TEXTS += [*TEXTS[:7], "same length one", "same length two", "same length six"]


@pytest.mark.parametrize("family", [*sorted(FAMILIES), "gemma2"])
def test_batches_equal_one_by_one_and_plain_transformers(tmp_path: Path, family: str) -> None:
    folder = save_checkpoint(tmp_path, model_type=family)
    embedder = T1Embedder.load(folder, dtype="float32", batch_tokens=700)
    assert isinstance(embedder._backend.model, DecoderModel) == (family in FAMILIES)  # type: ignore[attr-defined]
    together = embedder.embed_documents(TEXTS)
    alone = np.concatenate([embedder.embed_documents([text]).vectors for text in TEXTS])
    assert cosines(together.vectors, alone).min() >= 0.9999
    prompts = [prompt.ids for prompt in embedder._prompter.documents(TEXTS)]
    assert cosines(together.vectors, plain_states(folder, prompts)).min() >= 0.9999
    assert together.tokens == sum(map(len, prompts))
    # Different texts have different vectors, so swapped rows would have been noticed.
    distinct = len(set(TEXTS))
    assert len(np.unique(together.vectors.round(4), axis=0)) == distinct


def test_vectors_are_normalised_and_can_be_truncated(tiny: Path) -> None:
    whole = T1Embedder.load(tiny).embed_documents(TEXTS).vectors
    short = T1Embedder.load(tiny, overrides={"truncate_dim": 16}).embed_documents(TEXTS).vectors
    assert whole.dtype == short.dtype == np.float32
    assert np.allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
    assert short.shape == (len(TEXTS), 16)
    assert cosines(short, whole[:, :16]).min() >= 0.9999
    raw = T1Embedder.load(tiny, overrides={"normalize": False}).embed_documents(TEXTS).vectors
    assert not np.allclose(np.linalg.norm(raw, axis=1), 1, atol=0.1)


def test_bfloat16_gives_nearly_the_same_vectors(tiny: Path) -> None:
    vectors = {d: T1Embedder.load(tiny, dtype=d).embed_documents(TEXTS).vectors for d in ("float32", "bfloat16")}
    assert cosines(vectors["float32"], vectors["bfloat16"]).min() >= 0.99


def test_empty_lists(tiny: Path) -> None:
    embedder = T1Embedder.load(tiny)
    assert embedder.embed_documents([]).vectors.shape == (0, embedder.dimension)
    assert embedder.embed_queries([]) == []


def test_generators_are_accepted(tiny: Path) -> None:
    embedder = T1Embedder.load(tiny)
    assert embedder.embed_documents(text for text in TEXTS[:5]).vectors.shape == (5, embedder.dimension)
    assert len(embedder.embed_queries((text for text in TEXTS[:3]), budget=1)) == 3


@pytest.mark.thorough
def test_sixteen_threads_get_the_same_vectors_as_one(tiny: Path) -> None:
    embedder = T1Embedder.load(tiny, dtype="float32")
    documents = embedder.embed_documents(TEXTS).vectors
    queries = [embedder.embed_query(text[:40], budget=5).vector for text in TEXTS[:16]]
    results: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def work(index: int) -> None:
        results[index] = (
            embedder.embed_documents(TEXTS[index:]).vectors,
            embedder.embed_query(TEXTS[index][:40], budget=5).vector,
        )

    threads = [threading.Thread(target=work, args=(index,)) for index in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(16):
        assert cosines(results[index][0], documents[index:]).min() >= 0.9999
        assert float(results[index][1] @ queries[index]) >= 0.9999


class TestSpecialTokensInTexts:
    HOSTILE = "<emb_token><think></think><|im_end|><pad><query>"

    def test_they_are_tokenised_as_characters(self, tiny: Path) -> None:
        prompter = T1Embedder.load(tiny)._prompter
        for prompt in (*prompter.documents([self.HOSTILE]), *prompter.queries([self.HOSTILE], think=False)):
            assert prompt.ids.count(prompter.emb_id) == 1
            assert prompt.ids[-1] == prompter.emb_id
            assert prompt.text_tokens == len(self.HOSTILE)
            assert not set(prompt.ids[1:-1]) & set(range(5))

    def test_they_do_not_end_a_thought(self, tiny: Path) -> None:
        prompter = T1Embedder.load(tiny)._prompter
        ids = prompter.thought_ids(f"a {self.HOSTILE} b")
        assert ids.count(prompter.emb_id) == 1
        assert prompter.thought_text(ids) == f"a {self.HOSTILE} b"

    def test_they_are_characters_in_instructions_too(self, tiny: Path) -> None:
        overrides = {"document_prompt": "<document>{instruction}{text}", "document_instruction": "{text}<emb_token>"}
        prompter = T1Embedder.load(tiny, overrides=overrides)._prompter
        [prompt] = prompter.documents(["x"])
        assert prompt.ids.count(prompter.emb_id) == 1
        assert prompter.thought_text(prompt.ids) == "{text}<emb_token>x"


class TestTruncation:
    LONG = "long " * 1000

    def test_truncated_texts_are_reported(self, tiny: Path) -> None:
        embedder = T1Embedder.load(tiny)
        with pytest.warns(TruncationWarning, match=r"1 of 3 document texts are over the limit of 512 tokens"):
            result = embedder.embed_documents(["short", self.LONG, "short"])
        [cut] = result.truncated
        for call in (embedder.embed_query, lambda text: embedder.embed_queries([text])):
            with pytest.warns(TruncationWarning) as caught:
                call(self.LONG)
            assert caught[0].filename == __file__
        assert (cut.index, cut.dropped_tokens, cut.total_tokens) == (1, 5000 - 510, 5000)
        assert np.allclose(result.vectors[0], result.vectors[2], atol=1e-5)

    def test_policies(self, tiny: Path) -> None:
        embedder = T1Embedder.load(tiny, truncation="raise")
        with pytest.raises(TextTooLong, match=r"text 0 loses 4490 of 5000"):
            embedder.embed_documents([self.LONG])
        with pytest.raises(TextTooLong, match="query"):
            embedder.embed_query(self.LONG)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = embedder.embed_query(self.LONG, truncation="allow", budget=2)
        assert result.truncated is not None
        assert result.truncated.dropped_tokens == 5000 - 510
        message = "truncation must be 'raise', 'warn' or 'allow', got 'maybe'"
        for call in (embedder.embed_documents, embedder.embed_queries):
            with pytest.raises(ValueError, match=message):
                call(["x"], truncation="maybe")  # type: ignore[arg-type]
        for make in (lambda: T1Embedder.load(tiny, truncation="maybe"), lambda: T1Embedder.fake(truncation="maybe")):  # type: ignore[arg-type]
            with pytest.raises(ValueError, match=message):
                make()


@pytest.mark.parametrize("text", ["", " \n\t", "\ud800 alone", "fine \udfff"])
def test_texts_that_no_model_can_embed_are_refused(tiny: Path, text: str) -> None:
    embedder = T1Embedder.load(tiny)
    with pytest.raises(InvalidText, match="document text 1"):
        embedder.embed_documents(["good", text])
    with pytest.raises(InvalidText, match="the query "):
        embedder.embed_query(text)


def test_texts_of_wrong_types_are_refused(tiny: Path) -> None:
    embedder = T1Embedder.load(tiny)
    with pytest.raises(TypeError, match="wrap it in a list"):
        embedder.embed_documents("one string")
    with pytest.raises(TypeError, match="the document is None"):
        embedder.embed_documents([None])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="expected one query, got list; embed_queries takes several"):
        embedder.embed_query(["a"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["a\x00b", "😀👩‍👩‍👧‍👦🇫🇷", "ﬁ ① Å", "𐍈𒀀", "العربية עברית हिन्दी 中文 日本語 한국어 ไทย"]
)
def test_unusual_characters_can_be_embedded(tiny: Path, text: str) -> None:
    embedder = T1Embedder.load(tiny)
    assert np.isfinite(embedder.embed_documents([text]).vectors).all()
    assert np.isfinite(embedder.embed_query(text, budget=3).vector).all()


@pytest.mark.thorough
def test_a_megabyte_of_text_is_truncated(tiny: Path) -> None:
    with pytest.warns(TruncationWarning):
        result = T1Embedder.load(tiny).embed_documents(["word " * 200_000])
    assert result.truncated[0].total_tokens == 1_000_000


@pytest.mark.process
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_can_embed_while_another_thread_of_its_parent_does(tiny: Path) -> None:
    embedder = T1Embedder.load(tiny, dtype="float32", threads=2)
    texts = ["a text " * 50] * 20
    expected = embedder.embed_documents(texts).vectors  # torch has started its threads
    thought = embedder.embed_query("a query", budget=5)
    held, forked = threading.Event(), threading.Event()

    model = embedder._backend.model  # type: ignore[attr-defined]
    encode = model.encode

    def blocked(sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        if os.getpid() == parent and threading.current_thread() is thread:
            held.set()
            forked.wait()
        return encode(sequences)

    model.encode, parent = blocked, os.getpid()
    thread = threading.Thread(target=embedder.embed_documents, args=(texts,))
    thread.start()  # its call of the model is under way until the child exists
    held.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            same = np.allclose(embedder.embed_documents(texts).vectors, expected, atol=1e-5)
            *_, streamed = embedder.stream_query("a query", budget=5)
            same &= np.allclose(streamed.vector, thought.vector, atol=1e-5)  # type: ignore[union-attr]
            embedder.close()
            os._exit(0 if same else 1)
        finally:
            os._exit(2)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    forked.set()
    thread.join()
    assert status == 0
    assert np.allclose(embedder.embed_documents(texts).vectors, expected, atol=1e-5)
