"""The drop zone: files are read in the browser, indexed, and found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, Serve, ask, hits
from tests.browser.services import ScriptedService, Service, t1

pytestmark = pytest.mark.browser

TEXT = "The zorblax of Quandary eats purple moss."


def file(name: str, content: str | bytes) -> Any:
    return {"name": name, "mimeType": "", "buffer": content.encode() if isinstance(content, str) else content}


def drop(page: Page, name: str, content: str) -> None:
    """Drop a file on the page, as a mouse does."""
    page.wait_for_selector("#drop")  # the page knows by then whether the key may write
    transfer = page.evaluate_handle(
        """([name, content]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([content], name));
            return transfer;
        }""",
        [name, content],
    )
    for event in ("dragover", "drop"):
        page.dispatch_event("#drop", event, {"dataTransfer": transfer})


def test_files_are_indexed_and_found(own_index: Path, open_page: Open, serve: Serve) -> None:
    service = serve(f"own={own_index}")
    page = open_page(service.url)
    drop(page, "note.txt", TEXT)
    report = page.locator("#load-report")
    expect(report).to_contain_text("1 document in 1 chunk: 1 stored, 0 unchanged")
    ask(page, "which animal eats purple moss")
    assert "note.txt" in hits(page)

    lines = ['{"id": 7, "text": "Gold is mined.", "metadata": {"year": 2020}}', "", "nope", '{"body": "x"}']
    page.set_input_files("#files", [file("facts.jsonl", "\n".join(lines)), file("note.txt", TEXT), file("b.pdf", "%")])
    expect(report).to_contain_text("2 documents in 2 chunks: 1 stored, 1 unchanged · 3 failed")
    failures = report.locator("li").all_inner_texts()
    assert failures[0].startswith("facts.jsonl, line 3: Not JSON: ")
    assert failures[1] == "facts.jsonl, line 4: No field “text”."
    assert failures[2].startswith("b.pdf: Only .txt, .md and .jsonl are read here")
    expect(page.locator("#index")).to_contain_text("own · ")


def test_text_that_is_not_utf8_is_refused(own_index: Path, open_page: Open, serve: Serve) -> None:
    service = serve(f"own={own_index}")
    page = open_page(service.url)
    files = [file("latin.txt", "caf\xe9".encode("latin-1")), file("wide.md", "\ufeffcafé".encode("utf-16-le"))]
    page.set_input_files("#files", files)
    report = page.locator("#load-report")
    expect(report).to_contain_text("1 document in 1 chunk: 1 stored")
    expect(report.locator("li")).to_have_text("latin.txt: The file is not text in UTF-8; save it as UTF-8.")


def test_a_service_that_only_reads_has_no_drop_zone(service: Service, open_page: Open) -> None:
    page = open_page(service.url)
    ask(page)
    expect(page.locator("#documents")).to_be_hidden()


def test_an_empty_index_asks_for_documents(tmp_path: Path, open_page: Open, serve: Serve) -> None:
    (tmp_path / "one.jsonl").write_text('{"id": "one", "text": "One text."}\n')
    t1("index", "one.jsonl", "--to", "empty", cwd=tmp_path)
    t1("delete", "empty", "--id", "one", cwd=tmp_path)
    service = serve("empty")
    page = open_page(service.url)
    expect(page.locator("#message")).to_contain_text("has no documents yet. Add some below")
    drop(page, "note.md", TEXT)
    expect(page.locator("#load-report")).to_contain_text("1 stored")
    expect(page.locator("#message")).to_be_empty()
    expect(page.locator(".example")).to_have_text([TEXT])


def test_a_busy_service_is_asked_again(scripted: ScriptedService, open_page: Open) -> None:
    scripted.result, scripted.headers = (429, {"error": {"message": "full"}}), {"Retry-After": "1"}
    page = open_page(scripted.url, expected=("429",))
    drop(page, "note.txt", TEXT)
    expect(page.locator("#load-count")).to_have_text("The service is busy; waiting 1 s.")
    page.click("#load-stop")
    expect(page.locator("#load-report")).to_contain_text("Stopped.")
    expect(page.locator("#load-report")).to_contain_text("1 not sent")
