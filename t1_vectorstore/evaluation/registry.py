"""The systems that ``t1 eval --systems`` knows by name.

``gold`` and ``swapped`` embed queries with thoughts that they are given. ``gold`` is the upper bound of thinking.
``swapped`` shows whether vectors depend on their thoughts: if they do, it finds the documents of the query that the
thought belongs to. Queries without a known right thought are embedded without one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from t1_vectorstore.evaluation.baselines import Bm25, SentenceTransformerSystem, check_model_name
from t1_vectorstore.evaluation.systems import EmbeddingCache, System, T1System

if TYPE_CHECKING:
    from t1_vectorstore.evaluation.benchmark import Benchmark
    from t1_vectorstore.types import Document
    from t1_vectorstore.vectorstore import T1VectorStore


def gold(task: Benchmark) -> dict[str, str]:
    """Return the first right thought of each query, by query id.

    Raises:
        ValueError: None is known.
    """
    if not task.thoughts:
        raise ValueError(
            f"{task.name} has no right thoughts to give: t1 data writes them to SPLIT.jsonl, beside "
            "queries.SPLIT.jsonl; leave gold and swapped out"
        )
    return {query: task.thoughts[query][0] for query in task.queries if query in task.thoughts}


def swapped(task: Benchmark) -> dict[str, str]:
    """Return for each query the right thought of the next query whose thought differs, by query id.

    Raises:
        ValueError: None is known, or all are the same.
    """
    right = gold(task)
    names = list(right)
    other: dict[str, str] = {}
    for place, query in enumerate(names):
        following = (right[name] for name in [*names[place + 1 :], *names[:place]])
        thought = next((thought for thought in following if thought not in task.thoughts[query]), None)
        if thought is None:
            raise ValueError(f"{task.name} has no other thought than {right[query]!r}: there is nothing to swap")
        other[query] = thought
    return other


GIVEN_THOUGHTS = {"gold": gold, "swapped": swapped}
"""Functions that return the thoughts of a benchmark's queries, by system name."""


@dataclass(frozen=True)
class Resources:
    """What systems are created from.

    Attributes:
        store: Index of the documents, with the model to evaluate.
        documents: Function that starts reading the documents.
        open_other: Function that opens an index of the same documents with another model, by its name or folder.
        cache: Query embeddings that the systems of ``store`` share.
    """

    store: T1VectorStore
    documents: Callable[[], Iterator[Document]]
    open_other: Callable[[str], T1VectorStore]
    cache: EmbeddingCache = field(default_factory=dict)


NAMES = (
    *("thinking", "no-thinking", "gold", "swapped", "hybrid", "bm25"),
    *("hybrid:WEIGHT", "rt:STEPS[:last]", "t1:FOLDER", "st:MODEL"),
)
"""The names of all systems, with placeholders for their arguments."""

_NAME = re.compile(
    r"thinking|no-thinking|gold|swapped|bm25|hybrid(:(0|1|0?\.\d+))?|rt:[1-9]\d*(:(mean|last))?|(t1|st):.+", re.DOTALL
)


def check_names(names: Iterable[str]) -> list[str]:
    """Check the names before anything is loaded, and return them in one form: ``hybrid:.70`` becomes ``hybrid:0.7``.

    Raises:
        ValueError: An unknown system, no system, the same one twice, or a model folder that does not exist.
    """
    given = [name.strip() for name in names if name.strip()]
    for name in given:
        if not _NAME.fullmatch(name):
            raise ValueError(f"there is no system {name!r}; it is one of {', '.join(NAMES)}")
        if name.startswith("st:"):
            check_model_name(name.removeprefix("st:"))
    checked = [f"hybrid:{float(name[7:]):g}" if name.startswith("hybrid:") else name for name in given]
    if not checked or len(set(checked)) < len(checked):
        raise ValueError(f"systems to compare have different names, such as thinking,bm25; got {','.join(checked)!r}")
    return checked


def need_words(names: Iterable[str]) -> bool:
    """Return whether any of these systems ranks by the words that an index stores."""
    return any(name.partition(":")[0] == "hybrid" for name in names)


def refine_steps(names: Iterable[str]) -> int:
    """Return the largest number of refine steps of any of these systems."""
    return max(int(_refine_options(name).get("refine_steps", 0)) for name in names)


def other_models(names: Iterable[str]) -> list[str]:
    """Return the checkpoints that are compared with the model of the index."""
    return [name.removeprefix("t1:") for name in names if name.startswith("t1:")]


def create(names: Sequence[str], resources: Resources) -> list[System]:
    """Create the systems of checked names, in order.

    Raises:
        ValueError: A system needs a model that thinks, or an index that stores words.
    """
    return [_create(name, resources) for name in names]


def _create(name: str, resources: Resources) -> System:
    kind, _, argument = name.partition(":")
    store, cache = resources.store, resources.cache
    match kind:
        case "bm25":
            return Bm25(resources.documents())
        case "st":
            return SentenceTransformerSystem(argument, resources.documents())
        case "t1":
            return T1System(name, resources.open_other(argument), {})
        case "rt":
            return T1System(name, store, _refine_options(name))
        case "no-thinking":
            return T1System(name, store, {"think": False}, cache=cache)
        case "hybrid":
            if not store.collection.hybrid:
                raise ValueError(
                    "the index stores no words to rank by: create it with t1 index --hybrid, or leave hybrid out"
                )
            weight = float(argument) if argument else None
            return T1System(name, store, {}, hybrid=True, vector_weight=weight, cache=cache)
    if not store.embedder.spec.thinks:
        model = store.embedder.identity.model
        raise ValueError(f"{model} does not think: leave {name} out, or use --systems no-thinking,bm25")
    # Systems with the same options share their embeddings, so that "hybrid" and "thinking" cost one where it can be.
    options = {} if store.embedder.spec.think_by_default else {"think": True}
    return T1System(name, store, options, given_thoughts=GIVEN_THOUGHTS.get(name), cache=cache)


def _refine_options(name: str) -> dict[str, Any]:
    """Return the query options of a system such as ``rt:4:last``; other systems have none."""
    kind, _, argument = name.partition(":")
    steps, _, aggregation = argument.partition(":")
    return {"refine_steps": int(steps), "refine": aggregation or None} if kind == "rt" else {}
