"""Copies of an index: to read it while another process writes, and to optimise it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from t1_vectorstore.engines.embedded.folder import CHANGES, LOCK, MIB, SHARD, SPACE_TO_OPEN, IndexFolder, disk_bytes
from t1_vectorstore.engines.embedded.locks import take, wait_for
from t1_vectorstore.engines.embedded.tempdir import temporary_folder
from t1_vectorstore.engines.schema import Schema
from t1_vectorstore.errors import CollectionLocked, StoreUnavailable

_TMPDIR = "the environment variable TMPDIR names another place for temporary folders"


class FolderCopy(IndexFolder):
    """A copy of an index in a temporary folder, to read it. It is as the index was between two changes.

    Another process may have the index open. It has written each change to the engine's log, so the copy is what a crash
    between two changes would leave, which loses nothing.
    """

    def __init__(self, path: Path) -> None:
        """Copy the index.

        Raises:
            CollectionNotFound: There is no index.
            CollectionLocked: A process with an earlier version of this package has it open.
            StoreUnavailable: It cannot be read, or the disk of the temporary folder is too small.
        """
        self.path = path
        self.key = None
        self._shard = SHARD
        self._pid = os.getpid()
        self._check(create=False)
        self._temporary = ExitStack()
        try:
            self._copy = self._temporary.enter_context(temporary_folder(Path(tempfile.gettempdir())))
            with self._unchanged():
                self._schema = super().load_schema(complete=False)
                self._check_copy()
                shutil.copytree(self.path / self._shard, self.shard, copy_function=copy_sparsely)
        except OSError as error:
            self.close()
            raise StoreUnavailable(
                f"cannot copy the index in {path} into {tempfile.gettempdir()}, to read it: {error.strerror or error}; "
                f"{_TMPDIR}"
            ) from error
        except BaseException:
            self.close()
            raise

    @property
    def shard(self) -> Path:
        """The folder of the copied files."""
        return self._copy / SHARD

    def load_schema(self, *, complete: bool = False) -> Schema | None:
        """Return the description as it was when the index was copied."""
        return self._schema

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Nobody else copies the copy."""
        yield

    def close(self) -> None:
        """Delete the copy; a forked child leaves it to its parent."""
        if os.getpid() == self._pid:
            self._temporary.close()

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Let nobody change the index within the block."""
        with ExitStack() as stack:
            try:
                changes = stack.enter_context((self.path / CHANGES).open("rb"))
            except FileNotFoundError:
                # No process of this version has ever had it open.
                try:
                    take(stack.enter_context((self.path / LOCK).open("rb")), shared=True)
                except FileNotFoundError:
                    pass
                except BlockingIOError as error:
                    raise CollectionLocked(
                        f"{self.path} is open in a process with an earlier version of this package, which does not say "
                        "when it changes files; close it there"
                    ) from error
            else:
                wait_for(changes, shared=True)
            yield

    def _check_copy(self) -> None:
        need = disk_bytes(self.path / self._shard) + SPACE_TO_OPEN
        if (free := shutil.disk_usage(self._copy).free) < need:
            raise StoreUnavailable(
                f"the disk of {self._copy} has {free // MIB} MiB left, and a copy of the index in {self.path} "
                f"takes {need // MIB + 1} MiB; {_TMPDIR}"
            )


def copy_sparsely(source: str, target: str) -> None:
    """Copy a file; the engine's files are mostly holes, which a plain copy would fill."""
    with Path(source).open("rb") as reader, Path(target).open("wb") as writer:
        while block := reader.read(MIB):
            if block.count(0) == len(block):
                writer.seek(len(block), os.SEEK_CUR)
            else:
                writer.write(block)
        writer.truncate()
