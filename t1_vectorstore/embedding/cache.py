"""Thoughts and vectors of queries, kept on disk.

An entry is found by everything that decides a query's thoughts and vector: the checkpoint's fingerprint for queries,
what runs the model and in which number type, the prompt's token ids, and how the query is thought about. The deadline
is not a part of it: a thought that it has cut is not stored, and any other one is the same with every deadline. Given
thoughts are not stored, and neither are documents.

The thoughts are stored as text. The query is not stored, only a hash that depends on it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import get_args

import numpy as np

from t1_vectorstore import __version__
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.disk_cache import DiskCache
from t1_vectorstore.embedding.thinking import ThinkingPlan
from t1_vectorstore.options import LoadingOptions
from t1_vectorstore.types import StopReason, Thought, Vector, Vectors

_PLACE = ("backend", "device", "devices", "dtype", "engine_options")
"""The options that decide what runs the model."""


class QueryCache:
    """The thoughts and vectors of one model's queries."""

    def __init__(self, disk: DiskCache, model: str, dimension: int) -> None:
        """Use a cache for one model.

        Args:
            disk: Where the entries are.
            model: What identifies the model, and what runs it.
            dimension: Length of a vector.
        """
        self._disk, self._model, self._dimension = disk, model, dimension

    @classmethod
    def of(cls, disk: DiskCache, checkpoint: Checkpoint, options: LoadingOptions) -> QueryCache:
        """Return the cache for a checkpoint and the options of its model."""
        place = {name: getattr(options, name) for name in _PLACE}
        fingerprint = checkpoint.fingerprint(role="query")
        model = json.dumps([__version__, fingerprint, place], sort_keys=True, default=str)
        return cls(disk, model, checkpoint.dimension)

    def key(self, prompt: Sequence[int], plan: ThinkingPlan) -> bytes:
        """Return the key of a prompt and a plan."""
        decided = [plan.enabled, plan.decoding.model_dump() if plan.enabled else None, plan.refining.model_dump()]
        content = json.dumps([self._model, decided, plan.samples, list(prompt)], sort_keys=True)
        return hashlib.sha256(content.encode()).digest()

    def get(self, key: bytes) -> tuple[Vector, list[Thought], Vectors | None] | None:
        """Return the vector, the thoughts and their vectors that were stored; ``None`` if there are none."""
        stored = self._disk.get(key)
        if stored is None:
            return None
        try:
            head, _, content = stored.partition(b"\n")
            thoughts = [Thought(str(each["text"]), int(each["tokens"]), each["stop"]) for each in json.loads(head)]
            vectors = np.frombuffer(content, "<f4").astype(np.float32).reshape(-1, self._dimension)
        except (ValueError, KeyError, TypeError):  # of another version
            return None
        known = all(thought.stop in get_args(StopReason) for thought in thoughts)
        several = len(thoughts) > 1  # the vector of a single thought is that of the query
        if not known or len(vectors) != 1 + several * len(thoughts):
            return None
        return vectors[0], thoughts, vectors[int(several) :] if thoughts else None

    def put(self, key: bytes, vector: Vector, thoughts: Sequence[Thought], of_thoughts: Vectors | None) -> None:
        """Store a vector and its thoughts, with their vectors, unless a deadline has cut one of them."""
        if all(thought.stop != "deadline" for thought in thoughts):
            head = json.dumps([asdict(thought) for thought in thoughts])
            rows = [vector, *(of_thoughts if of_thoughts is not None and len(thoughts) > 1 else ())]
            self._disk.put(key, head.encode() + b"\n" + np.stack(rows).astype("<f4").tobytes())
