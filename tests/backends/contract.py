"""The behaviour that all backends share. A test class inherits it, and provides the embedder under test."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.vllm.generation import EngineBackend
from t1_vectorstore.checkpoints.spec import Decoding, Refining
from t1_vectorstore.types import QueryEmbedding
from tests.checkpoints import save_checkpoint

_rng = random.Random(0)
TEXTS = ["".join(_rng.choices("abcdef gh", k=_rng.randrange(1, 300))) + "." for _ in range(40)]
TEXTS += [*TEXTS[:3], "same length one", "same length two", "x" * 510]
QUERIES = [f"query number {i} " * (i % 5 + 1) for i in range(12)]
SAMPLED = Decoding(temperature=1.0, top_p=0.9, top_k=40, max_tokens=12)


def save_model(folder: Path) -> Path:
    """Save a random Qwen3 that closes some of its thoughts, one of them at once. vLLM supports its head size."""
    return save_checkpoint(folder, closes=3, seed=3, hidden=128)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


class BackendContract:
    """Needs the fixtures ``embedder``, under test, and ``reference``, the local backend in float32."""

    def test_documents(self, embedder: T1Embedder, reference: T1Embedder) -> None:
        done: list[int] = []
        result = embedder.embed_documents(TEXTS, on_done=done.append)
        expected = reference.embed_documents(TEXTS)
        assert cosines(result.vectors, expected.vectors).min() >= 0.9999
        assert result.vectors.dtype == np.float32
        assert result.tokens == expected.tokens
        assert sum(done) == len(TEXTS)
        # Different texts have different vectors, so a swapped row would have failed above.
        assert len(np.unique(expected.vectors.round(4), axis=0)) == len(set(TEXTS))

    @pytest.mark.parametrize("budget", [0, 1, 20])
    def test_thoughts(self, embedder: T1Embedder, reference: T1Embedder, budget: int) -> None:
        results = embedder.embed_queries(QUERIES, budget=budget)
        expected = reference.embed_queries(QUERIES, budget=budget)
        assert [result.thoughts for result in results] == [result.thoughts for result in expected]
        assert all(float(r.vector @ e.vector) >= 0.9999 for r, e in zip(results, expected, strict=True))

    def test_these_thoughts_end_in_every_way(self, reference: T1Embedder) -> None:
        thoughts = [result.thoughts[0] for result in reference.embed_queries(QUERIES, budget=20)]
        assert {thought.stop for thought in thoughts} == {"emb_token", "budget"}
        assert {0, 20} < {thought.tokens for thought in thoughts}

    def test_queries_without_a_thought(self, embedder: T1Embedder, reference: T1Embedder) -> None:
        results = embedder.embed_queries(QUERIES, think=False)
        expected = reference.embed_queries(QUERIES, think=False)
        assert all(float(r.vector @ e.vector) >= 0.9999 for r, e in zip(results, expected, strict=True))

    @pytest.mark.parametrize("refining", [Refining(steps=2, aggregate="last"), Refining(steps=3)], ids=str)
    def test_refining(self, embedder: T1Embedder, reference: T1Embedder, refining: Refining) -> None:
        """Another vector for the same thoughts, or an error from a backend that accepts only tokens."""
        how: dict[str, Any] = {"refine_steps": refining.steps, "refine": refining.aggregate}
        for asked in ({"think": False}, {"budget": 9}):
            if isinstance(embedder._backend, EngineBackend):
                with pytest.raises(ValueError, match=rf"refine_steps={refining.steps} .* use backend='transformers'"):
                    embedder.embed_queries(QUERIES, **asked, **how)  # type: ignore[arg-type]
                continue
            results = embedder.embed_queries(QUERIES, **asked, **how)  # type: ignore[arg-type]
            expected = reference.embed_queries(QUERIES, **asked, **how)  # type: ignore[arg-type]
            plain = reference.embed_queries(QUERIES, **asked)  # type: ignore[arg-type]
            assert [r.thoughts for r in results] == [p.thoughts for p in plain]
            assert all(float(r.vector @ e.vector) >= 0.9999 for r, e in zip(results, expected, strict=True))
            assert all(float(r.vector @ p.vector) < 0.999 for r, p in zip(results, plain, strict=True))

    def test_zero_refine_steps(self, embedder: T1Embedder) -> None:
        for asked in ({"think": False}, {"budget": 9}):
            plain = embedder.embed_queries(QUERIES, **asked)  # type: ignore[arg-type]
            none = embedder.embed_queries(QUERIES, refine_steps=0, **asked)  # type: ignore[arg-type]
            assert all(float(n.vector @ p.vector) >= 0.9999 for n, p in zip(none, plain, strict=True))

    def test_empty_input(self, embedder: T1Embedder) -> None:
        assert embedder.embed_documents([]).vectors.shape == (0, embedder.dimension)
        assert embedder.embed_queries([]) == []

    def test_deadline_already_passed(self, embedder: T1Embedder) -> None:
        results = embedder.embed_queries(QUERIES[:4], deadline=1e-9)
        same = embedder.embed_queries(QUERIES[:4], budget=0)
        assert {result.thoughts[0].stop for result in results} == {"deadline"}
        assert all(float(r.vector @ s.vector) >= 0.9999 for r, s in zip(results, same, strict=True))

    @pytest.mark.parametrize("deadline", [0.02, 0.1, 60.0])
    def test_deadline_during_generation(self, embedder: T1Embedder, reference: T1Embedder, deadline: float) -> None:
        """Whatever was generated in time equals the start of the whole thought, and the vector belongs to it."""
        prompts = [prompt.ids for prompt in embedder._prompter.queries(QUERIES, think=True)]
        decoding = Decoding(max_tokens=60)
        thoughts = embedder._backend.think(prompts, decoding, deadline=time.monotonic() + deadline)
        complete = reference._backend.think(prompts, decoding)
        for thought, whole in zip(thoughts, complete, strict=True):
            assert list(thought.ids) == list(whole.ids[: len(thought.ids)])
            assert thought.stop in (whole.stop, "deadline")
        emb_id = embedder._prompter.emb_id
        closed = [[*prompt, *thought.ids, emb_id] for prompt, thought in zip(prompts, thoughts, strict=True)]
        states = np.stack([thought.state for thought in thoughts])
        assert cosines(states, reference._backend.encode(closed)).min() >= 0.9999
        if deadline == 60.0:
            assert [thought.stop for thought in thoughts] == [thought.stop for thought in complete]

    def test_sampling_depends_on_seed_and_prompt_only(self, embedder: T1Embedder, reference: T1Embedder) -> None:
        prompts = [prompt.ids for prompt in embedder._prompter.queries(QUERIES, think=True)]
        think = embedder._backend.think
        together = think(prompts, SAMPLED)
        alone = [think([prompt], SAMPLED)[0] for prompt in prompts]
        assert [list(t.ids) for t in together] == [list(t.ids) for t in alone]
        other = think(prompts, SAMPLED.model_copy(update={"seed": 1}))
        assert [list(t.ids) for t in other] != [list(t.ids) for t in together]
        greedy = think(prompts, SAMPLED.model_copy(update={"temperature": 0.0}))
        assert [list(t.ids) for t in greedy] != [list(t.ids) for t in together]
        emb_id = embedder._prompter.emb_id
        closed = [[*prompt, *thought.ids, emb_id] for prompt, thought in zip(prompts, together, strict=True)]
        states = np.stack([thought.state for thought in together])
        assert cosines(states, reference._backend.encode(closed)).min() >= 0.9999

    def test_several_thoughts_for_each_prompt(self, embedder: T1Embedder, reference: T1Embedder) -> None:
        prompts = [prompt.ids for prompt in embedder._prompter.queries(QUERIES[:4], think=True)]
        alone = embedder._backend.think(prompts, SAMPLED)
        several = embedder._backend.think(prompts, SAMPLED, samples=3)
        assert len(several) == 3 * len(prompts)
        assert [list(t.ids) for t in several[::3]] == [list(t.ids) for t in alone]
        assert len({tuple(t.ids) for t in several[:3]}) == 3
        emb_id = embedder._prompter.emb_id
        closed = [[*prompts[at // 3], *thought.ids, emb_id] for at, thought in enumerate(several)]
        states = np.stack([thought.state for thought in several])
        assert cosines(states, reference._backend.encode(closed)).min() >= 0.9999

    def test_deadline_with_several_thoughts(self, embedder: T1Embedder) -> None:
        [prompt] = embedder._prompter.queries(QUERIES[:1], think=True)
        thoughts = embedder._backend.think([prompt.ids], SAMPLED, samples=3, deadline=time.monotonic())
        assert [(list(thought.ids), thought.stop) for thought in thoughts] == [([], "deadline")] * 3

    @pytest.mark.parametrize("budget", [0, 20])
    def test_tokens_are_reported_while_they_are_generated(self, embedder: T1Embedder, budget: int) -> None:
        prompts = [prompt.ids for prompt in embedder._prompter.queries(QUERIES, think=True)]
        reported: dict[int, list[int]] = {index: [] for index in range(2 * len(prompts))}
        sampled = SAMPLED.model_copy(update={"max_tokens": budget})
        thoughts = embedder._backend.think(
            prompts, sampled, samples=2, on_tokens=lambda index, new: reported[index].extend(new)
        )
        assert list(reported.values()) == [list(thought.ids) for thought in thoughts]
        assert any(reported.values()) == (budget > 0)

    def test_an_error_in_the_callback_ends_the_call(self, embedder: T1Embedder) -> None:
        def fail(_: int, __: object) -> None:
            raise KeyError("enough")

        prompts = [prompt.ids for prompt in embedder._prompter.queries(QUERIES, think=True)]
        with pytest.raises(KeyError, match="enough"):
            embedder._backend.think(prompts, Decoding(max_tokens=60), on_tokens=fail)

    def test_streamed_query(self, embedder: T1Embedder) -> None:
        for query in QUERIES:
            *pieces, embedding = embedder.stream_query(query, budget=20)
            expected = embedder.embed_query(query, budget=20)
            assert isinstance(embedding, QueryEmbedding)
            assert embedding.thoughts == expected.thoughts
            assert "".join(map(str, pieces)) == expected.thoughts[0].text
            assert all(pieces)
            assert float(embedding.vector @ expected.vector) >= 0.9999

    def test_abandoned_stream(self, embedder: T1Embedder) -> None:
        thinking = embedder.stream_query(QUERIES[0], budget=60)
        assert isinstance(next(thinking), str)
        thinking.close()
        assert next(thinking, None) is None
        assert embedder.embed_query(QUERIES[0], budget=2).thoughts

    def test_documents_and_queries_from_several_threads(self, embedder: T1Embedder) -> None:
        documents = embedder.embed_documents(TEXTS).vectors
        queries = [embedder.embed_query(query, budget=5).vector for query in QUERIES]
        results: dict[int, Any] = {}

        def work(index: int) -> None:
            vectors = embedder.embed_documents(TEXTS[index:]).vectors
            results[index] = vectors, embedder.embed_query(QUERIES[index % len(QUERIES)], budget=5).vector

        threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results) == list(range(6))
        for index, (vectors, vector) in results.items():
            assert cosines(vectors, documents[index:]).min() >= 0.9999
            assert float(vector @ queries[index % len(QUERIES)]) >= 0.9999

    def test_different_calls_at_the_same_time(self, embedder: T1Embedder, reference: T1Embedder) -> None:
        """Budgets, sampling, samples, callbacks and documents of several threads: the same results."""
        backend = embedder._backend
        prompts = [prompt.ids for prompt in embedder._prompter.queries(QUERIES, think=True)]
        calls: list[Callable[[], list]] = []
        for at in range(0, len(prompts), 3):
            some, refining = prompts[at : at + 3], Refining(steps=(at // 3) % 3)
            calls += [
                lambda some=some, at=at: backend.think(some, Decoding(max_tokens=3 * at)),
                lambda some=some: backend.think(some, SAMPLED, samples=2),
                lambda some=some: backend.think(some, SAMPLED, on_tokens=lambda *_: None),
                lambda some=some: list(backend.encode([[*prompt, embedder._prompter.emb_id] for prompt in some])),
            ]
            if backend.refines:
                calls.append(lambda some=some, how=refining: backend.think(some, SAMPLED, refining=how))
        alone = [call() for call in calls]
        with ThreadPoolExecutor(len(calls)) as threads:
            together = [future.result() for future in [threads.submit(call) for call in calls]]
        for one, other in zip(alone, together, strict=True):
            if isinstance(one[0], np.ndarray):
                assert cosines(np.stack(one), np.stack(other)).min() >= 0.9999
                continue
            assert [(list(t.ids), t.stop) for t in one] == [(list(t.ids), t.stop) for t in other]
            assert cosines(*(np.stack([t.state for t in thoughts]) for thoughts in (one, other))).min() >= 0.9999

    def test_identity_does_not_depend_on_the_backend(self, embedder: T1Embedder, reference: T1Embedder) -> None:
        assert embedder.identity == reference.identity
