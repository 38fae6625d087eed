"""The names that systems are asked for by, and what each of them is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from t1_vectorstore.evaluation.baselines import Bm25System, SentenceTransformerSystem, check_model
from t1_vectorstore.evaluation.systems import Kept, System, T1System
from t1_vectorstore.evaluation.thoughts import gold, swapped

if TYPE_CHECKING:
    from t1_vectorstore.types import Document
    from t1_vectorstore.vectorstore import T1VectorStore

GIVEN = {"gold": gold, "swapped": swapped}
"""Systems that need a split's right thoughts, and what they make of them."""


@dataclass(frozen=True)
class Parts:
    """What systems are made of.

    Attributes:
        store: the index, with the model that is measured.
        documents: starts reading what is ranked.
        other: an index of the same documents by another model, given the model's name or folder.
        kept: what the systems of ``store`` have embedded.
    """

    store: T1VectorStore
    documents: Callable[[], Iterator[Document]]
    other: Callable[[str], T1VectorStore]
    kept: Kept = field(default_factory=dict)


Maker = Callable[[str, str, Parts], System]
"""Makes a system of its whole name, what stands in it after the colon, and the parts."""

_KINDS: dict[str, Maker] = {
    "thinking": lambda name, _, parts: T1System(name, _thinker(name, parts), {}, kept=parts.kept),
    "no-thinking": lambda name, _, parts: T1System(name, parts.store, {"think": False}, kept=parts.kept),
    "gold": lambda name, _, parts: T1System(name, _thinker(name, parts), {}, given=gold),
    "swapped": lambda name, _, parts: T1System(name, _thinker(name, parts), {}, given=swapped),
    "hybrid": lambda name, _, parts: T1System(name, _with_words(parts), {}, hybrid=True, kept=parts.kept),
    "bm25": lambda _, __, parts: Bm25System(parts.documents()),
}
_KINDS_OF: dict[str, tuple[str, Maker]] = {
    "hybrid": ("WEIGHT", lambda name, value, parts: _weighed(name, value, parts)),
    "rt": ("STEPS[:last]", lambda name, _, parts: T1System(name, parts.store, _refining(name))),
    "t1": ("FOLDER", lambda name, model, parts: T1System(name, parts.other(model), {})),
    "st": ("MODEL", lambda _, model, parts: SentenceTransformerSystem(model, parts.documents())),
}

NAMES = (*_KINDS, *(f"{kind}:{what}" for kind, (what, _) in _KINDS_OF.items()))
"""All names there are, with a word for what is to be filled in."""


def check_names(names: Iterable[str]) -> list[str]:
    """See that there are such systems, before anything is loaded.

    Raises:
        ValueError: there is no such system, or none is named, or one twice, or its folder is not there.
    """
    checked = [_as_known(name.strip()) for name in names if name.strip()]
    for name in checked:
        if not _known(name):
            raise ValueError(f"there is no system {name!r}; it is one of {', '.join(NAMES)}")
        if name.startswith("st:"):
            check_model(name.removeprefix("st:"))
    if not checked or len(set(checked)) < len(checked):
        raise ValueError(f"systems to compare have different names, such as thinking,bm25; got {','.join(checked)!r}")
    return checked


def need_words(names: Iterable[str]) -> bool:
    """Whether any of these systems ranks by the words that an index holds."""
    return any(name.partition(":")[0] == "hybrid" for name in names)


def refine_steps(names: Iterable[str]) -> int:
    """The most steps that any of these systems refines by."""
    return max(int(_refining(name).get("refine_steps", 0)) for name in names)


def other_models(names: Iterable[str]) -> list[str]:
    """The checkpoints that are to be compared with the one that is measured."""
    return [name.partition(":")[2] for name in names if name.startswith("t1:")]


def make(names: Sequence[str], parts: Parts) -> list[System]:
    """Make the systems of checked names, in order.

    Raises:
        ValueError: the model does not think, or the index holds no words, and a system needs it.
    """
    return [_make(name, parts) for name in names]


def _as_known(name: str) -> str:
    """The one way to write a name that can be written in several: ``hybrid:.70`` is ``hybrid:0.7``."""
    kind, _, value = name.partition(":")
    weight = _vector_weight(value) if kind == "hybrid" else None
    return name if weight is None else f"hybrid:{weight:g}"


def _known(name: str) -> bool:
    kind, _, value = name.partition(":")
    if kind == "rt":
        return bool(_refining(name))
    if kind == "hybrid" and value:
        return _vector_weight(value) is not None
    return name in _KINDS or bool(kind in _KINDS_OF and value)


def _make(name: str, parts: Parts) -> System:
    kind, _, value = name.partition(":")
    maker = _KINDS[name] if name in _KINDS else _KINDS_OF[kind][1]
    return maker(name, value, parts)


def _vector_weight(value: str) -> float | None:
    """The vector's share in a hybrid ranking, if it is one."""
    return float(value) if re.fullmatch(r"0|1|0?\.\d+", value) else None


def _refining(name: str) -> dict[str, Any]:
    """The options of a system that refines; none of any other, or if it says neither ``STEPS`` nor ``STEPS:last``."""
    found = re.fullmatch(r"rt:([1-9]\d*)(?::(mean|last))?", name)
    return {"refine_steps": int(found[1]), "refine": found[2]} if found else {}


def _thinker(name: str, parts: Parts) -> T1VectorStore:
    if not parts.store.embedder.spec.thinks:
        model = parts.store.embedder.identity.model
        raise ValueError(f"{model} does not think: leave {name} out, or measure --systems no-thinking,bm25")
    return parts.store


def _weighed(name: str, value: str, parts: Parts) -> T1System:
    weight = _vector_weight(value)
    return T1System(name, _with_words(parts), {}, hybrid=True, vector_weight=weight, kept=parts.kept)


def _with_words(parts: Parts) -> T1VectorStore:
    if not parts.store.collection.hybrid:
        raise ValueError("the index holds no words to rank by; make it with t1 index --hybrid, or leave hybrid out")
    return parts.store
