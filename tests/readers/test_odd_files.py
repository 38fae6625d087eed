"""Files as they are in the world: each odd one is named, and costs no other file its place."""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from t1_vectorstore import T1Embedder, T1VectorStore
from t1_vectorstore.cli import app
from t1_vectorstore.errors import CorpusError
from t1_vectorstore.readers import Fields, read
from t1_vectorstore.types import Document

TEXT = "Llamas live in Peru."
PNG = "iVBORw0KGgo" + "A" * 4000


@dataclass(frozen=True)
class Odd:
    """A file, and what becomes of it: the text that is stored, or a part of the message that names it."""

    make: Callable[[Path], object]
    text: str | None = None
    message: str | None = None


def content(data: bytes | str) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data.encode() if isinstance(data, str) else data)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket may have 100 characters only
        try:
            opened.bind(path.name)
        finally:
            os.chdir(here)


ODD: dict[str, Odd] = {
    # Encodings.
    "utf8.txt": Odd(content(TEXT), TEXT),
    "utf8-mark.txt": Odd(content(b"\xef\xbb\xbf" + TEXT.encode()), TEXT),
    "utf16-mark.txt": Odd(content(TEXT.encode("utf-16")), TEXT),
    "utf16-le.txt": Odd(content(TEXT.encode("utf-16-le")), TEXT),
    "utf16-be.txt": Odd(content(TEXT.encode("utf-16-be")), TEXT),
    "utf32.txt": Odd(content(TEXT.encode("utf-32")), TEXT),
    "utf16.md": Odd(content(TEXT.encode("utf-16")), TEXT),
    "utf16.txt.gz": Odd(content(gzip.compress(TEXT.encode("utf-16"))), TEXT),
    "latin1.txt": Odd(content("caf\u00e9".encode("latin-1")), message="not UTF-8: byte 0xe9 at offset 3"),
    "binary.txt": Odd(content(bytes(range(256)) * 4), message="not UTF-8"),
    "nul.txt": Odd(content("a text\0with a zero"), message="character 6 is NUL"),
    "half-utf16.txt": Odd(content(TEXT.encode("utf-16-le")[:-1]), message="not utf-16-le"),
    "surrogate.txt": Odd(content(b"a \xed\xa0\x80 b"), message="not UTF-8"),
    "crlf.txt": Odd(content("one\r\ntwo\r\n"), "one\r\ntwo\r\n"),
    "controls.txt": Odd(content("bell \x07 and escape \x1b[31m"), "bell \x07 and escape \x1b[31m"),
    "right-to-left.txt": Odd(content("\u05e9\u05dc\u05d5\u05dd \u202e x"), "\u05e9\u05dc\u05d5\u05dd \u202e x"),
    "emoji.txt": Odd(content("\U0001f999 llama"), "\U0001f999 llama"),
    "chinese.txt": Odd(content("\u79d8\u9c81" * 900), "\u79d8\u9c81" * 900),
    # Nothing, and too much.
    "empty.txt": Odd(content(""), message="empty"),
    "spaces.txt": Odd(content(" \n\t "), message="white space"),
    "mark-only.txt": Odd(content(b"\xef\xbb\xbf"), message="empty"),
    "one-line.txt": Odd(content(TEXT + " word" * 3000), TEXT),
    # Embedded files and blobs.
    "image.md": Odd(content(f"Before ![a map](data:image/png;base64,{PNG}) after."), "Before ![a map]() after."),
    "broken-image.md": Odd(
        content("Before ![m](data:image/png;base64,\n" + "\n".join(["B" * 76] * 9) + ") after."), "Before ![m]() after."
    ),
    "font.html": Odd(
        content(f"<p>Before <img src='data:image/png;base64,{PNG}' alt='a map'> after.</p>"), "Before a map after."
    ),
    "style.html": Odd(
        content(f"<style>@font-face{{src:url(data:font/woff2;base64,{PNG})}}</style><p>{TEXT}</p>"), TEXT
    ),
    "svg.md": Odd(content(f"Before ![m](data:image/svg+xml,{'%3Csvg' * 90}) after."), "Before ![m]() after."),
    "minified.txt": Odd(content(f"{TEXT} {'var(a)=b;' * 400} end"), f"{TEXT}  end"),
    "only-image.md": Odd(content(f"data:image/png;base64,{PNG}"), message="empty"),
    "long-address.md": Odd(content(f"see https://example.org/{'a' * 700}"), f"see https://example.org/{'a' * 700}"),
    # Compressed files.
    "good.txt.gz": Odd(content(gzip.compress(TEXT.encode())), TEXT),
    "not-gzip.txt.gz": Odd(content(TEXT), message="cannot be read"),
    "cut.txt.gz": Odd(content(gzip.compress(TEXT.encode() * 1000)[:-9]), message="cannot be read"),
    "empty.txt.gz": Odd(content(b""), message="empty"),
    "twice.txt.gz": Odd(content(gzip.compress(gzip.compress(TEXT.encode()))), message="not UTF-8"),
    # HTML and PDF.
    "page.html": Odd(content(f"<html><body><p>{TEXT}</p></body></html>"), TEXT),
    "page.xhtml": Odd(content(f"<html xmlns='http://www.w3.org/1999/xhtml'><p>{TEXT}</p></html>"), TEXT),
    "utf16.html": Odd(content(f"<p>{TEXT}</p>".encode("utf-16")), TEXT),
    "unclosed.html": Odd(content(f"<div><p>{TEXT}<b>"), TEXT),
    "no-tags.html": Odd(content(TEXT), message="not HTML"),
    "scripts.html": Odd(content("<script>alert(1)</script>"), message="without text"),
    "xml.html": Odd(content("<?xml version='1.0'?><feed><a/></feed>"), message="XML, but not HTML"),
    "encoding.html": Odd(content(b"<meta charset=nonsense><p>x \xff</p>"), message="unknown encoding"),
    "not-pdf.pdf": Odd(content(TEXT), message="cannot be read as PDF"),
    "empty.pdf": Odd(content(b""), message="cannot be read as PDF"),
    "cut.pdf": Odd(content(b"%PDF-1.7\n1 0 obj\n<<"), message="PDF"),
    # Names and kinds.
    "name with spaces.txt": Odd(content(TEXT), TEXT),
    "UPPER.TXT": Odd(content(TEXT), TEXT),
    "\u00fcml\u00e4ut.txt": Odd(content(TEXT), TEXT),
    "quote'\"name.txt": Odd(content(TEXT), TEXT),
    "new\nline.txt": Odd(content(TEXT), TEXT),
    "no-suffix": Odd(content(TEXT), message="a file of this kind is not read"),
    "records.csv": Odd(content("text\nrow"), message="records in a folder are not read"),
    "archive.zip": Odd(content(b"PK\x05\x06" + b"\0" * 18), message="an archive without files"),
    "image.png": Odd(content(b"\x89PNG"), message="a file of this kind is not read"),
    # What is not a file.
    "to-nothing.txt": Odd(lambda path: path.symlink_to(path.parent / "missing"), message="No such file"),
    "to-itself.txt": Odd(lambda path: path.symlink_to(path), message="symbolic links"),
    "to-a-folder": Odd(lambda path: path.symlink_to(path.parent, target_is_directory=True), message="link to a folder"),
    "to-a-file.txt": Odd(lambda path: path.symlink_to(path.parent / "utf8.txt"), TEXT),
    "pipe.txt": Odd(pipe, message="a pipe, a socket or a device"),
    "socket.txt": Odd(listener, message="a pipe, a socket or a device"),
    "device.txt": Odd(lambda path: path.symlink_to("/dev/zero"), message="a pipe, a socket or a device"),
    "folder.txt": Odd(lambda path: (path.mkdir(), (path / "inner.txt").write_text(TEXT)), TEXT),
    "empty-folder": Odd(lambda path: path.mkdir(), None, None),
}


def test_a_folder_of_sixty_odd_files_is_loaded_with_each_bad_one_named(tmp_path: Path) -> None:
    folder, index = tmp_path / "d", tmp_path / "index"
    folder.mkdir()
    assert len(ODD) >= 60
    for name, odd in ODD.items():
        odd.make(folder / name)
    done = CliRunner().invoke(app, ["index", str(folder), "--to", str(index), "--json", "--chunk-size", "20000"])
    assert done.exit_code == 1, done.output
    report = json.loads(done.stdout)
    named = [failure["reason"] if failure["id"] is None else f"{failure['id']}: {failure['reason']}"
             for failure in report["failures"]] + report["skips"]  # fmt: skip
    from t1_vectorstore.collection import Collection

    with Collection.open(index, create=False) as collection:
        chunks = sorted(collection.scroll(), key=lambda chunk: chunk.index)
    stored: dict[str, str] = defaultdict(str)
    for chunk in chunks:
        stored[chunk.document_id] += chunk.text
    for name, odd in ODD.items():
        own = [line for line in named if line.startswith((f"{name}:", f"{folder / name}:"))]
        message = [line for line in own if "left out" not in line]
        if odd.text is not None:
            key = f"{name}/inner.txt" if name == "folder.txt" else name
            assert stored[key].startswith(odd.text.strip()), (name, stored.get(key, named)[:300])
            assert message == [], name
        elif odd.message is not None:
            assert len(message) == 1, (name, message)
            assert odd.message in message[0], (name, message)
            assert name not in stored
    assert sum("left out 1 embedded file" in line for line in named) == 5


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_the_encoding_of_text_files_can_be_named(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("caf\u00e9".encode(encoding))
    (tmp_path / "b.csv").write_bytes("text,name\ncaf\u00e9,\u00fc\n".encode(encoding))
    (tmp_path / "c.jsonl").write_bytes('{"text": "caf\u00e9"}\n'.encode(encoding))
    for name in ("a.txt", "b.csv", "c.jsonl"):
        [document] = read(tmp_path / name, fields=Fields(encoding=encoding))
        assert document.text == "caf\u00e9"
    with pytest.raises(ValueError, match="unknown encoding 'utf8000'"):
        Fields(encoding="utf8000")


def test_records_in_utf16_are_read(tmp_path: Path) -> None:
    table = "id,text,year\na,caf\u00e9,2001\nb,two,1999\n"
    for name, encoding in (("mark.csv", "utf-16"), ("le.csv", "utf-16-le"), ("be.csv", "utf-16-be")):
        (tmp_path / name).write_bytes(table.encode(encoding))
        found = list(read(tmp_path / name))
        assert found == [Document("caf\u00e9", "a", {"year": 2001}), Document("two", "b", {"year": 1999})]
    (tmp_path / "a.jsonl").write_bytes('{"text": "caf\u00e9"}\n{"text": "x"}\n'.encode("utf-16"))
    assert [document.text for document in read(tmp_path / "a.jsonl")] == ["caf\u00e9", "x"]


def test_an_unclosed_quote_costs_one_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,text\n1,good\n2,"never closed\n3,three\n4,"four\nlines"\n5,"again\n6,six\n')
    errors: list[str] = []
    documents = list(read(tmp_path / "a.csv", on_error=lambda error: errors.append(str(error))))
    assert [document.id for document in documents] == ["1", "3", "4", "6"]
    assert [error.partition(".csv:")[2] for error in errors] == [
        "3: a quote that this row opens is not closed, or not written twice",
        "7: a quote that this row opens is not closed, or not written twice",
    ]


def test_columns_that_are_numbers_throughout_are_numbers(tmp_path: Path) -> None:
    rows = [
        "text,whole,real,mixed,code,phone,flag,empty,partly",
        "a,1,1.5,1,007,+41,true,,",
        "b,-20,2,x,12,5,FALSE,,7",
        "c,30,1e3,3,13,6,false,,",
    ]
    (tmp_path / "a.csv").write_text("\n".join(rows) + "\n")
    found = [document.metadata for document in read(tmp_path / "a.csv")]
    assert [row["whole"] for row in found] == [1, -20, 30]
    assert [row["real"] for row in found] == [1.5, 2.0, 1000.0]
    assert [row["mixed"] for row in found] == ["1", "x", "3"]
    assert [row["code"] for row in found] == ["007", "12", "13"]
    assert [row["phone"] for row in found] == ["+41", "5", "6"]
    assert [row["flag"] for row in found] == [True, False, False]
    assert [row["empty"] for row in found] == ["", "", ""]
    assert [row["partly"] for row in found] == [None, 7, None]


def test_declared_fields_are_parsed_and_each_misfit_is_named(tmp_path: Path) -> None:
    kinds = {"year": "integer", "price": "float", "open": "bool", "day": "datetime", "by.born": "integer"}
    fields = Fields(kinds=kinds)  # type: ignore[arg-type]
    good = {"text": "a", "year": "2001", "price": "1.5", "open": "true", "day": "2024-05-01", "by": {"born": "1815"}}
    bad = [{"text": "b", name: "x"} for name in ("year", "price", "open", "day")] + [{"text": "c", "by": {"born": 1.5}}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, [good, *bad])) + "\n")
    errors: list[CorpusError] = []
    [document] = read(tmp_path / "a.jsonl", fields=fields, on_error=errors.append)
    expected = {"year": 2001, "price": 1.5, "open": True, "day": "2024-05-01", "by": {"born": 1815}}
    assert document.metadata == expected
    assert [str(error).partition(".jsonl:")[2] for error in errors] == [
        "2: field 'year' must be a whole number (--index-field), got 'x'",
        "3: field 'price' must be a number (--index-field), got 'x'",
        "4: field 'open' must be true or false (--index-field), got 'x'",
        "5: field 'day' must be an ISO 8601 date (--index-field), got 'x'",
        "6: field 'by.born' must be a whole number (--index-field), got 1.5",
    ]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("2024-05-01", "2024-05-01"),
        ("2024-05-01T12:00:00.5+02:00", "2024-05-01T12:00:00.5+02:00"),
        ("2024-05-01 12:00:00", "2024-05-01 12:00:00"),
        ("2024-05-01T12:00", "2024-05-01T12:00:00"),
        ("2024-05-01T12", "2024-05-01T12:00:00"),
    ],
)
def test_a_date_is_stored_in_a_spelling_that_a_filter_finds(tmp_path: Path, given: str, stored: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": "a", "text": "a", "day": given}) + "\n")
    fields = Fields(kinds={"day": "datetime"})
    with T1VectorStore.open(tmp_path / "index", T1Embedder.fake(), indexes={"day": "datetime"}) as store:
        store.add(read(tmp_path / "a.jsonl", fields=fields))
        assert [chunk.metadata["day"] for chunk in store.collection.scroll()] == [stored]
        assert store.collection.count({"day": {"gte": "2024-04-30", "lt": "2024-05-02"}}) == 1


def test_a_numeric_filter_finds_the_rows_of_a_csv_file(tmp_path: Path) -> None:
    """With a declared field and without, as in the help of ``t1 search``; a rerun changes nothing."""
    (tmp_path / "a.csv").write_text("id,text,year\na,old things,1999\nb,new things,2001\nc,no year,\n")
    for number, options in enumerate(([], ["--index-field", "year=integer"])):
        command = ["index", str(tmp_path / "a.csv"), "--to", str(tmp_path / f"i{number}"), "--json"]
        assert CliRunner().invoke(app, [*command, *options]).exit_code == 0
        again = CliRunner().invoke(app, command)
        assert json.loads(again.stdout)["unchanged"] == 3
        search = ["search", str(tmp_path / f"i{number}"), "things", "--filter", '{"year": {"gte": 2000}}', "--json"]
        found = CliRunner().invoke(app, search)
        assert [hit["id"] for hit in json.loads(found.stdout)["hits"]] == ["b"], found.output


def test_long_ids_keep_their_digits(tmp_path: Path) -> None:
    """Whole numbers of 64 bits are integers; longer ones would lose digits as floats, and stay text."""
    ids = ["1234567890123456789", "1234567890123456788"]
    (tmp_path / "a.csv").write_text("text,snowflake,longer\n" + "".join(f"x,{each},{each}0\n" for each in ids))
    found = [document.metadata for document in read(tmp_path / "a.csv")]
    assert [row["snowflake"] for row in found] == [int(each) for each in ids]
    assert [row["longer"] for row in found] == [f"{each}0" for each in ids]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0)
    (tmp_path / "a.txt").write_text(TEXT)
    errors: list[str] = []
    assert [d.text for d in read(tmp_path, on_error=lambda error: errors.append(str(error)))] == [TEXT]
    assert errors == [f"{tmp_path / 'locked'}: cannot be read: Permission denied"]


def test_standard_input_can_have_another_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("cp1252", "utf-16"):
        source = io.TextIOWrapper(io.BytesIO('{"text": "caf\u00e9"}\n'.encode(encoding)))
        monkeypatch.setattr("sys.stdin", source)
        assert [document.text for document in read("-", fields=Fields(encoding=encoding))] == ["caf\u00e9"]
