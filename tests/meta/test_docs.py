"""The documentation shows what the code does: its drawing, its notebook, its generated pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from docs.hooks import imports_drawing
from tests.meta.readme import ROOT

NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"


def test_the_drawing_shows_the_allowed_imports() -> None:
    assert imports_drawing.FILE.read_text(encoding="utf-8") == imports_drawing.draw()


def test_an_import_that_points_up_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="engines imports collection, which is not drawn below it"):
        imports_drawing.draw({"engines": {"collection"}, "collection": set()})


def outputs(notebook: Any) -> list[list[str]]:
    """The text that each code cell shows."""
    shown = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
            shown.append(["".join(text) for text in texts])
    return shown


@pytest.mark.process
@pytest.mark.filterwarnings("default")  # of the kernel's own libraries
def test_the_tutorial_runs_and_shows_its_stored_outputs(tmp_path: Path) -> None:
    stored = nbformat.read(NOTEBOOK, as_version=4)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    folder = {"metadata": {"path": tmp_path}}
    # One print may arrive in two parts if the machine is busy, so parts are joined.
    NotebookClient(notebook, timeout=240, kernel_name="python3", coalesce_streams=True, resources=folder).execute()
    assert outputs(notebook) == outputs(stored)
