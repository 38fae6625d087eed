"""Reading a folder, with a line for each file that is left out."""

from __future__ import annotations

from collections.abc import Iterator

from t1_vectorstore.cli.console import one_line
from t1_vectorstore.errors import CorpusError
from t1_vectorstore.readers import read
from t1_vectorstore.types import Document


def read_printing_problems(folder: str) -> Iterator[Document]:
    """Read a folder or file; a file that cannot be read, or is of another kind, is named, and the others are read."""

    def show(problem: CorpusError) -> None:
        print(f"left out {one_line(str(problem))}")

    return read(folder, on_error=show, on_skip=show)
