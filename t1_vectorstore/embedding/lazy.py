"""Loading a model on first use, for objects that are copied and pickled."""

from __future__ import annotations

import json
from typing import Any

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.forks import ForkSafeLock
from t1_vectorstore.options import ModelOptions


class LazyEmbedders:
    """The models that an object and its copies have loaded: shared by copies, left out of pickles.

    Attributes:
        given: A model that was already loaded, which is used instead.
    """

    def __init__(self) -> None:
        self.given: T1Embedder | None = None
        self._loaded: dict[str, T1Embedder] = {}
        self._lock = ForkSafeLock()

    def get(self, options: ModelOptions) -> T1Embedder:
        """Return the model that the options describe, loaded once."""
        if self.given is not None:
            return self.given
        key = json.dumps(dict(options), sort_keys=True, default=repr)
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = T1Embedder.from_options(options)
            return self._loaded[key]

    def check_picklable(self) -> None:
        """Raise ``TypeError`` if the model is only in memory."""
        if self.given is not None:
            raise TypeError(
                "an object created by from_embedder cannot be pickled, since its model is only in memory; create it "
                "with the model's name"
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyEmbedders:
        return self

    def __eq__(self, other: object) -> bool:
        """Objects with equal fields are equal, whichever of them has loaded its model."""
        return isinstance(other, LazyEmbedders) and self.given is other.given

    def __hash__(self) -> int:
        return id(self.given)

    def __reduce__(self) -> tuple[type[LazyEmbedders], tuple[()]]:
        self.check_picklable()
        return LazyEmbedders, ()
