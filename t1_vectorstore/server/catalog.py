"""The indexes and models of a service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.server.errors import Refused
from t1_vectorstore.server.keys import Key
from t1_vectorstore.types import Role
from t1_vectorstore.vectorstore import T1VectorStore

ROLES: tuple[Role, ...] = ("query", "document")


@dataclass(frozen=True)
class Catalog:
    """Everything that the service has.

    Attributes:
        stores: The indexes by name.
        embedders: The models by name: those of the indexes, and further ones.
    """

    stores: Mapping[str, T1VectorStore]
    embedders: Mapping[str, T1Embedder]

    @classmethod
    def of(cls, stores: Mapping[str, T1VectorStore], embedders: Iterable[T1Embedder]) -> Catalog:
        """Collect the models of the stores, and further ones.

        Raises:
            ValueError: Nothing to serve, or two different models of one name.
        """
        found: dict[str, T1Embedder] = {}
        for embedder in (*(store.embedder for store in stores.values()), *embedders):
            name = embedder.identity.model
            if found.setdefault(name, embedder).identity != embedder.identity:
                raise ValueError(
                    f"two models are named {name!r}: {found[name].identity} and {embedder.identity}; serve them by two "
                    "services"
                )
        if not found:
            raise ValueError("a service needs at least one index or model, got none")
        return cls(dict(stores), found)

    def for_key(self, key: Key) -> Catalog:
        """Return the part that a key opens."""
        if key.indexes is None:
            return self
        stores = {name: store for name, store in self.stores.items() if name in key.indexes}
        embedders = {store.embedder.identity.model: store.embedder for store in stores.values()}
        return Catalog(stores, embedders)

    def store(self, index: str | None) -> tuple[str, T1VectorStore]:
        """Return the name and the store of an index, which may be left out if there is one.

        Raises:
            Refused: There is no such index. One that the key does not open looks the same.
        """
        names = ", ".join(map(repr, self.stores)) or "none"
        if index is None:
            if len(self.stores) != 1:
                raise Refused(400, f"choose an index; there are {names}", code="index_missing", param="index")
            return next(iter(self.stores.items()))
        if index not in self.stores:
            raise Refused(404, f"no index {index!r:.100}; there are {names}", code="index_not_found", param="index")
        return index, self.stores[index]

    def model(self, given: str | None) -> tuple[str, T1Embedder, Role | None]:
        """Return a model's name and the model, with the role that its name asks for: ``t1-mini:query``.

        Raises:
            Refused: There is no such model.
        """
        names = ", ".join(map(repr, self.embedders)) or "none"
        if given is None:
            if len(self.embedders) != 1:
                raise Refused(400, f"choose a model; there are {names}", code="model_missing", param="model")
            return (*next(iter(self.embedders.items())), None)
        if given in self.embedders:
            return given, self.embedders[given], None
        for role in ROLES:
            name = given.removesuffix(f":{role}")
            if name != given and name in self.embedders:
                return name, self.embedders[name], role
        message = f"no model {given!r:.100}; there are {names}, each also with ':query' or ':document' at its end"
        raise Refused(404, message, code="model_not_found", param="model")
