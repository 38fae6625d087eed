"""PDF files become one document per page; errors name the page and the reason."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import pytest
from fpdf import FPDF
from fpdf.enums import EncryptionMethod
from PIL import Image

from t1_vectorstore.errors import CorpusError, MissingExtraError
from t1_vectorstore.readers import check, read, read_pdf
from t1_vectorstore.types import Document

AES = EncryptionMethod.AES_256


def pdf(*pages: str, **encryption: Any) -> bytes:
    file = FPDF()
    file.set_font("helvetica", size=12)
    for text in pages:
        file.add_page()
        if text:
            file.multi_cell(0, 8, text)
    if encryption:
        file.set_encryption(**encryption)
    return bytes(file.output())


def scan() -> bytes:
    file = FPDF()
    file.add_page()
    file.image(Image.new("RGB", (40, 40), "gray"))
    return bytes(file.output())


def with_damaged_first_page() -> bytes:
    data = bytearray(pdf("one", "two"))
    start = data.index(b"stream\n") + 10
    data[start : start + 20] = b"\xff" * 20
    return bytes(data)


def collected(path: Path) -> tuple[list[Document], list[str], list[str]]:
    errors: list[str] = []
    skipped: list[str] = []
    documents = list(read(path, on_error=lambda e: errors.append(str(e)), on_skip=lambda e: skipped.append(str(e))))
    return documents, [e.replace(str(path), "FILE") for e in errors], [s.replace(str(path), "FILE") for s in skipped]


def test_each_page_is_a_document_with_its_page_in_the_id(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf("Llamas in a café.", "Camels."))
    source = (tmp_path / "a.pdf").as_posix()
    assert list(read(tmp_path)) == [
        Document("Llamas in a café.", "a.pdf#page=1", {"source": source, "page": 1, "pages": 2}),
        Document("Camels.", "a.pdf#page=2", {"source": source, "page": 2, "pages": 2}),
    ]
    assert [d.id for d in read(tmp_path / "a.pdf")] == [f"{source}#page=1", f"{source}#page=2"]


def test_a_gzipped_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf.gz"
    path.write_bytes(gzip.compress(pdf("Llamas.")))
    assert [d.text for d in read(path)] == ["Llamas."]


def test_an_encrypted_file_that_needs_no_password_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf("for all to read", owner_password="o", encryption_method=AES))
    assert [d.text for d in read(path)] == ["for all to read"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pdf("x", owner_password="o", user_password="u", encryption_method=AES), "FILE: needs a password"),
        (scan(), "FILE: no text on any of its 1 pages; a scan needs OCR first"),
        (pdf("one", "two")[:900], "FILE: cannot be read as PDF: "),
        (pdf("one").replace(b"/Type /Page\n", b"/Type /Pest\n"), "FILE: has no pages"),
        (b"%PDF-1.7\njunk", "FILE: cannot be read as PDF: "),
        (b"only text", "FILE: cannot be read as PDF: "),
        (b"", "FILE: cannot be read as PDF: "),
    ],
    ids=["locked", "scan", "incomplete", "no pages", "junk", "text", "empty"],
)
def test_an_unreadable_file_is_reported_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, reason: str
) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(data)
    documents, errors, skipped = collected(path)
    assert (documents, skipped, len(errors)) == ([], [], 1)
    assert errors[0].startswith(reason)
    assert capsys.readouterr().err == ""
    with pytest.raises(CorpusError):
        list(read_pdf(path))


def test_a_damaged_page_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(with_damaged_first_page())
    documents, errors, skipped = collected(tmp_path / "a.pdf")
    assert [d.text for d in documents] == ["two"]
    assert len(errors) == 1
    assert errors[0].startswith("FILE#page=1: cannot be read: Error -3 while decompressing")
    assert not skipped


def test_pages_without_text_are_reported(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf("one", "", "three", ""))
    documents, errors, skipped = collected(tmp_path / "a.pdf")
    assert [d.metadata["page"] for d in documents] == [1, 3]
    assert (errors, skipped) == ([], ["FILE: no text on page 2, 4 of 4"])
    with pytest.warns(UserWarning, match="no text on page 2, 4 of 4"):
        list(read(tmp_path))


@pytest.mark.parametrize(("module", "name"), [("pypdf", "a.pdf"), ("markdownify", "a.html"), ("bs4", "a.htm.gz")])
def test_a_missing_extra_is_an_error_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "docs" / "a.txt").write_text("text")
    (tmp_path / "docs" / "deep" / name).write_bytes(b"")
    monkeypatch.setitem(sys.modules, module, None)
    for path in (tmp_path / "docs", tmp_path / "docs" / "deep" / name):
        with pytest.raises(MissingExtraError, match=rf"{name} needs the .*t1-vectorstore\[documents\]"):
            check([path])
    assert [d.text for d in read(tmp_path / "docs" / "a.txt")] == ["text"]
