"""How a collection keeps its points: in memory or on disk, whole or quantised, on how many machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

Quantization: TypeAlias = Literal["int8", "binary"]
"""A quarter, or a thirty-second, of a vector's bytes for the search; the full vectors then put the best in order."""


@dataclass(frozen=True, slots=True, repr=False)
class Storage:
    """How a collection keeps its points; decided when it is made.

    Attributes:
        on_disk: the full vectors are read from disk instead of being held in memory. With ``quantization`` the small
            ones stay in memory.
        payload_on_disk: the same for texts and metadata. ``None``: as the engine has it, which is on disk.
        quantization: search by smaller copies of the vectors. More candidates than are wanted are taken from them, and
            the full vectors decide: int8 then finds what the full vectors find, near enough; binary is for 1000
            dimensions and more, and should be tried with the model's own vectors first. The embedded engine makes the
            int8 copies when it is optimised; until then it searches by the full vectors.
        m: edges of a node in the graph. ``None``: the engine's choice, 16.
        ef_construct: candidates for a node's edges while the graph is built. ``None``: the engine's choice, 100.
        shards: how many parts a server's collection has, to be spread over the machines of a cluster; with
            ``shard_keys`` how many each key has.
        replicas: on how many machines each shard is.
        write_consistency: how many of them must have a write before it counts.
        shard_keys: the parts by name, each on machines of its own; who writes says with ``Collection.open(shard_key=)``
            into which.
    """

    on_disk: bool = False
    payload_on_disk: bool | None = None
    quantization: Quantization | None = None
    m: int | None = None
    ef_construct: int | None = None
    shards: int | None = None
    replicas: int | None = None
    write_consistency: int | None = None
    shard_keys: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuse what no engine can do."""
        for name in ("on_disk", "payload_on_disk"):
            if not isinstance(given := getattr(self, name), bool) and (given is not None or name == "on_disk"):
                raise TypeError(f"storage.{name} is True or False, got {given!r}")
        if self.quantization is not None and self.quantization not in get_args(Quantization):
            raise ValueError(
                f"storage.quantization is one of {', '.join(get_args(Quantization))}, got {self.quantization!r}"
            )
        for name, least in (("m", 2), ("ef_construct", 4), ("shards", 1), ("replicas", 1), ("write_consistency", 1)):
            given = getattr(self, name)
            if given is not None and (isinstance(given, bool) or not isinstance(given, int)):
                raise TypeError(f"storage.{name} is a whole number, got {given!r}")
            if given is not None and given < least:
                raise ValueError(f"storage.{name} must be at least {least}, got {given!r}")
        if (self.write_consistency or 1) > (self.replicas or 1):
            raise ValueError(
                f"storage.write_consistency={self.write_consistency} asks for more machines than storage.replicas="
                f"{self.replicas or 1} has"
            )
        object.__setattr__(self, "shard_keys", _names(self.shard_keys))

    def __repr__(self) -> str:
        return f"Storage({', '.join(f'{name}={value!r}' for name, value in self.asked().items())})"

    def asked(self) -> dict[str, Any]:
        """What differs from the engines' own choice, by name; JSON."""
        given = ((field.name, getattr(self, field.name), field.default) for field in fields(self))
        return {name: list(value) if name == "shard_keys" else value for name, value, usual in given if value != usual}


def _names(given: Any) -> tuple[str, ...]:  # noqa: ANN401 - checked here
    if isinstance(given, str) or not all(isinstance(key, str) and key for key in given):
        raise TypeError(f"storage.shard_keys is a list of names, got {given!r}")
    if len(set(given)) != len(given):
        raise ValueError(f"storage.shard_keys names a shard twice: {given!r}")
    return tuple(given)
