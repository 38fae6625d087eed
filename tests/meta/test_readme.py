"""What the README and the pages in docs show is what happens: their blocks run as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation import small_benchmark
from tests.meta.readme import ROOT, blocks, run

PAGES = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", ["README.md", *(pytest.param(page, marks=pytest.mark.thorough) for page in PAGES)])
def test_every_block_of_the_pages_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page may speak of a folder ``docs``, a file ``corpus.jsonl`` and a benchmark ``questions``."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "llama.md").write_text("# Llamas\n\nLlamas are raised in the Andes.\n")
    (tmp_path / "corpus.jsonl").write_text(
        '{"id": "a", "text": "Llamas live in the Andes.", "metadata": {"lang": "en"}}\n'
    )
    small_benchmark.write(tmp_path / "questions")
    monkeypatch.chdir(tmp_path)
    run((ROOT / page).read_text(encoding="utf-8"))


PAGE = """
```python
x = 1
```

```python
assert x == 1
```

<!-- not run: there is no such server -->

```python
connect("there")
```

<!-- not run: a reason -->
Prose in between ends the exemption.

```console
$ make demo  # a comment
what it prints
$ pip install \\
    thing
```

```text
not code
```
"""


def test_blocks_are_found_with_their_exemptions() -> None:
    found = list(blocks(PAGE))
    assert [block.not_run for block in found] == [None, None, "there is no such server", None]
    assert list(found[3].commands()) == ["make demo  # a comment", "pip install      thing"]
    run(PAGE)


@pytest.mark.parametrize(
    "page",
    [
        "```python\n1 / 0\n```",
        "<!-- not run: reason -->\n\n```python\ndef (\n```",
        "```bash\nmake no-such-target\n```",
        "```bash\nrm -rf something\n```",
        "```bash\nt1 no-such-command\n```",
        "<!-- not run: reason -->\n\n```bash\nt1 'unclosed\n```",
    ],
)
def test_a_block_that_does_not_work_is_seen(page: str) -> None:
    with pytest.raises(Exception):  # noqa: B017 - each fails in its own way
        run(page)
