"""Documents of offices, books, notebooks, source code and archives."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path

import pytest

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.readers import check, read


def zipped(files: dict[str, str | bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


_XML = '<?xml version="1.0"?>'
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_TYPES = (
    f'{_XML}<Types xmlns="{_PACKAGE}/content-types"><Default Extension="xml" ContentType="application/xml"/>'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/></Types>'
)


def relation(kind: str, target: str) -> str:
    """Return the XML that relates a part of a document to another one."""
    entry = f'<Relationship Id="r1" Type="{_OFFICE}/{kind}" Target="{target}"/>'
    return f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">{entry}</Relationships>'


def docx() -> bytes:
    def paragraph(text: str, style: str = "") -> str:
        return f"<w:p>{style}<w:r><w:t>{text}</w:t></w:r></w:p>"

    heading = paragraph("Llamas", '<w:pPr><w:pStyle w:val="Heading1"/></w:pPr>')
    row = "".join(f"<w:tc>{paragraph(text)}</w:tc>" for text in ("llama", "Peru"))
    table = f"<w:tbl><w:tr>{row}</w:tr></w:tbl>"
    body = f"<w:body>{heading}{paragraph('They live in Peru.')}{table}</w:body>"
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    return zipped(
        {
            "[Content_Types].xml": _TYPES,
            "_rels/.rels": relation("officeDocument", "word/document.xml"),
            "word/document.xml": f"{_XML}<w:document {space}>{body}</w:document>",
        }
    )


def pptx() -> bytes:
    spaces = (
        'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
        f'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" xmlns:r="{_OFFICE}"'
    )
    text = "<p:sp><p:txBody><a:p><a:r><a:t>Llamas live in Peru.</a:t></a:r></a:p></p:txBody></p:sp>"
    slides = '<p:sldIdLst><p:sldId id="256" r:id="r1"/></p:sldIdLst>'
    return zipped(
        {
            "[Content_Types].xml": _TYPES,
            "_rels/.rels": relation("officeDocument", "ppt/presentation.xml"),
            "ppt/presentation.xml": f"{_XML}<p:presentation {spaces}>{slides}</p:presentation>",
            "ppt/_rels/presentation.xml.rels": relation("slide", "slides/slide1.xml"),
            "ppt/slides/slide1.xml": f"{_XML}<p:sld {spaces}><p:cSld><p:spTree>{text}</p:spTree></p:cSld></p:sld>",
        }
    )


def xlsx() -> bytes:
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    cells = {"A1": "animal", "B1": "country", "A2": "llama", "B2": "Peru"}
    written = {name: f'<c r="{name}" t="inlineStr"><is><t>{text}</t></is></c>' for name, text in cells.items()}
    rows = "".join(f'<row r="{n}">{written[f"A{n}"]}{written[f"B{n}"]}</row>' for n in (1, 2))
    sheets = '<sheets><sheet name="Animals" sheetId="1" r:id="r1"/></sheets>'
    return zipped(
        {
            "[Content_Types].xml": _TYPES,
            "_rels/.rels": relation("officeDocument", "xl/workbook.xml"),
            "xl/workbook.xml": f'{_XML}<workbook {space} xmlns:r="{_OFFICE}">{sheets}</workbook>',
            "xl/_rels/workbook.xml.rels": relation("worksheet", "worksheets/sheet1.xml"),
            "xl/worksheets/sheet1.xml": f"{_XML}<worksheet {space}><sheetData>{rows}</sheetData></worksheet>",
        }
    )


def epub() -> bytes:
    container = "urn:oasis:names:tc:opendocument:xmlns:container"
    root = '<rootfiles><rootfile full-path="c.opf" media-type="application/oebps-package+xml"/></rootfiles>'
    item = '<manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": f'{_XML}<container version="1.0" xmlns="{container}">{root}</container>',
            "c.opf": f'{_XML}<package xmlns="http://www.idpf.org/2007/opf" version="3.0">{item}'
            '<spine><itemref idref="a"/></spine></package>',
            "a.xhtml": '<html xmlns="http://www.w3.org/1999/xhtml"><h1>Llamas</h1><p>They live in Peru.</p></html>',
        }
    )


def notebook() -> bytes:
    image = {"output_type": "display_data", "data": {"image/png": "A" * 4000}, "metadata": {}}
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Llamas\n", "They live in Peru."]},
        {"cell_type": "code", "metadata": {}, "source": "count = 3", "outputs": [image], "execution_count": 1},
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.docx", docx(), ["# Llamas", "They live in Peru.", "| llama | Peru |"]),
        ("a.pptx", pptx(), ["Llamas live in Peru."]),
        ("a.xlsx", xlsx(), ["Animals", "| animal | country |", "| llama | Peru |"]),
        ("a.epub", epub(), ["# Llamas", "They live in Peru."]),
        ("a.ipynb", notebook(), ["# Llamas", "They live in Peru.", "count = 3"]),
        ("a.rst", b"Llamas\n======\n\nThey live in Peru.", ["Llamas\n======", "They live in Peru."]),
        ("a.py", b"def llama() -> str:\n    return 'Peru'\n", ["def llama() -> str:\n    return 'Peru'"]),
    ],
)
def test_each_kind_is_read_alone_gzipped_in_a_folder_and_in_an_archive(
    tmp_path: Path, name: str, content: bytes, expected: list[str]
) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / name).write_bytes(content)
    [alone] = read(folder / name)
    assert all(part in alone.text for part in expected), alone.text
    assert "AAAA" not in alone.text
    assert alone.id == alone.metadata["source"] == (folder / name).as_posix()
    (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    (folder / "z.zip").write_bytes(zipped({f"inner/{name}": content, f"inner/{name}.gz": gzip.compress(content)}))
    found = {document.id: document.text for document in read(folder)}
    assert found == dict.fromkeys([name, f"{name}.gz", f"z.zip/inner/{name}", f"z.zip/inner/{name}.gz"], alone.text)


@pytest.mark.parametrize("suffix", ["docx", "pptx", "xlsx", "epub", "ipynb"])
@pytest.mark.parametrize("content", [b"", b"no such file", docx()[:400]])
def test_a_damaged_file_is_reported_once(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    errors: list[str] = []
    assert list(read(path, on_error=lambda error: errors.append(str(error)))) == []
    assert len(errors) == 1
    assert errors[0].startswith(f"{path}: ")


def test_an_archive_is_read_like_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    inner = zipped({"x.txt": "x"})
    files: dict[str, str | bytes] = {
        "a.txt": "one",
        "../outside.txt": "two",
        "deep/er/b.md": "three",
        "c.jsonl": json.dumps({"id": "own", "text": "four", "year": 1}) + "\nnot json\n",
        "d.csv": "id,text,year\nrow,five,2001\n",
        ".hidden/e.txt": "no",
        "__MACOSX/a.txt": "no",
        "inner.zip": inner,
        "picture.png": b"no",
        "bad.txt": b"caf\xe9",
    }
    path.write_bytes(zipped(files))
    errors: list[str] = []
    skips: list[str] = []
    documents = list(read(path, on_error=lambda e: errors.append(str(e)), on_skip=lambda e: skips.append(str(e))))
    assert {document.id: (document.text, document.metadata) for document in documents} == {
        f"{path}/a.txt": ("one", {"source": f"{path}/a.txt"}),
        f"{path}/../outside.txt": ("two", {"source": f"{path}/../outside.txt"}),
        f"{path}/deep/er/b.md": ("three", {"source": f"{path}/deep/er/b.md"}),
        "own": ("four", {"year": 1}),
        "row": ("five", {"year": 2001}),
    }
    assert [error.partition(": ")[0] for error in errors] == [f"{path}/bad.txt", f"{path}/c.jsonl:2"]
    assert [skip.partition(": ")[0] for skip in skips] == [f"{path}/inner.zip", f"{path}/picture.png"]
    assert sorted(tmp_path.iterdir()) == [path]


def test_odd_archives_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[CorpusError] = []
    whole = zipped({"a.txt": "one " * 100, "b.txt": "two " * 100})
    for name, content in (("cut.zip", whole[:60]), ("empty.zip", b""), ("text.zip", b"not a zip")):
        (tmp_path / name).write_bytes(content)
        assert list(read(tmp_path / name, on_error=errors.append)) == []
        assert "cannot be read as a zip archive" in str(errors[-1])
    damaged = bytearray(whole)
    damaged[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "damaged.zip").write_bytes(damaged)
    assert [d.text[:3] for d in read(tmp_path / "damaged.zip", on_error=errors.append)] == ["two"]
    assert "damaged.zip/a.txt: cannot be unpacked" in str(errors[-1])
    monkeypatch.setattr("t1_vectorstore.readers.archives.MAX_MEMBER", 1000)
    (tmp_path / "bomb.zip").write_bytes(zipped({"big.txt": "0 " * 5000, "good.txt": "good"}))
    assert [d.text for d in read(tmp_path / "bomb.zip", on_error=errors.append)] == ["good"]
    assert "big.txt: too large to be unpacked (10,000 bytes)" in str(errors[-1])
    assert len(errors) == 5


def test_what_cannot_be_read_is_refused_before_anything_is(tmp_path: Path) -> None:
    (tmp_path / "a.odt").write_bytes(b"x")
    with pytest.raises(CorpusError, match=r"no reader for '.odt'"):
        check([tmp_path / "a.odt"])
