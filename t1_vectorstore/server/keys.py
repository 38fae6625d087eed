"""API keys: who may read and write which indexes. A file holds their hashes, never the keys.

The hash is SHA-256. Slow password hashes protect words that people choose against guessing; a key has 256 random bits,
which nobody guesses, and a slow hash would only make each request slow.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from t1_vectorstore.engines.embedded.locks import wait_for

Scope: TypeAlias = Literal["read", "write"]

_PREFIX = "t1_"
_ENTROPY_BYTES = 32


class Key(BaseModel):
    """One API key, without the key itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=100)
    """Name in logs and metrics, unique in a file."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$", repr=False)
    """Hash of the key (hex)."""
    scopes: frozenset[Scope] = frozenset({"read"})
    """``read``: search, embed and read documents; ``write``: add and delete documents."""
    indexes: frozenset[str] | None = None
    """Names of the indexes that the key opens; ``None`` for all."""
    created: AwareDatetime
    """Time of creation."""
    expires: AwareDatetime | None = None
    """Time after which the key is refused."""

    def expired(self) -> bool:
        """Return whether the key has expired."""
        return self.expires is not None and datetime.now(timezone.utc) >= self.expires


class KeyFile(BaseModel):
    """The contents of a file of API keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[Key, ...] = ()

    @classmethod
    def read(cls, path: Path) -> KeyFile:
        """Read a file.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is not a file of keys.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise FileNotFoundError(
                f"there is no file of API keys {path}; create it with: t1 keys add {path} NAME"
            ) from None
        except ValidationError as error:
            problem = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, problem["loc"]))
            raise ValueError(f"{path} is not a file of API keys: {place} {problem['msg']}".replace("  ", " ")) from None

    def write(self, path: Path) -> None:
        """Replace a file, readable by its owner only; a reader sees either the old or the new contents.

        Raises:
            FileNotFoundError: Its folder does not exist.
        """
        if not path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.parent} for {path.name}; create it first")
        new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
        keys = [key.model_dump(mode="json") | {"scopes": sorted(key.scopes)} for key in self.keys]
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps({"keys": keys}, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)


@contextmanager
def changing_keys(path: Path, *, create: bool = False) -> Iterator[list[Key]]:
    """Change the keys of a file: it gets those that the block leaves in the list. Other processes that change it wait.

    Raises:
        FileNotFoundError: There is no such file, unless it may be created, or its folder does not exist.
        ValueError: It is not a file of keys.
    """
    keys = [] if create and not path.exists() else list(KeyFile.read(path).keys)
    if not path.parent.is_dir():
        KeyFile(keys=tuple(keys)).write(path)  # which says so
    with path.with_name(f"{path.name}.lock").open("ab+", buffering=0) as handle:  # the file itself is replaced
        wait_for(handle, shared=False)
        keys = list(KeyFile.read(path).keys) if path.exists() else []
        yield keys
        KeyFile(keys=tuple(keys)).write(path)


def new_key(
    name: str,
    *,
    scopes: Iterable[Scope] = ("read",),
    indexes: Iterable[str] | None = None,
    expires: datetime | None = None,
) -> tuple[str, Key]:
    """Create a key; return it, which is not stored anywhere, and its entry for a file."""
    secret = _PREFIX + secrets.token_urlsafe(_ENTROPY_BYTES)
    entry = Key(
        name=name,
        sha256=_digest(secret),
        scopes=frozenset(scopes),
        indexes=None if indexes is None else frozenset(indexes),
        created=datetime.now(timezone.utc),
        expires=expires,
    )
    return secret, entry


def find_key(secret: str, keys: Sequence[Key]) -> Key | None:
    """Return the entry of a key. The time that this takes does not depend on the key, only on the number of entries."""
    digest = _digest(secret)
    found = None
    for key in keys:
        if hmac.compare_digest(key.sha256, digest):
            found = key
    return found


class WatchedKeys:
    """The keys of a file, read again whenever it changes. If it cannot be read, no key is accepted. Thread-safe."""

    def __init__(self, path: Path) -> None:
        """Read the file; see ``KeyFile.read``."""
        self._path = path
        self._lock = threading.Lock()
        self._stamp = self._now()
        self._keys = KeyFile.read(path).keys

    def find(self, secret: str) -> Key | None:
        """Return the entry of a key, also if it has expired.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is not a file of keys any more.
        """
        with self._lock:
            stamp = self._now()
            if stamp != self._stamp:
                self._keys = KeyFile.read(self._path).keys
                self._stamp = stamp
            keys = self._keys
        return find_key(secret, keys)

    def _now(self) -> tuple[int, int, int]:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return 0, 0, 0
        return status.st_mtime_ns, status.st_size, status.st_ino


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
