"""Files are read lazily; each error names the file, the line and the reason."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import tracemalloc
from datetime import datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.readers import Fields, check, read, read_csv, read_folder, read_jsonl, total_bytes
from t1_vectorstore.types import Document

BOM = b"\xef\xbb\xbf"


def put(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = data.encode() if isinstance(data, str) else data
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def lines(*records: Any) -> str:
    return "".join((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records)


def collected(path: Path, **settings: Any) -> tuple[list[Document], list[str]]:
    errors: list[str] = []

    def note(error: CorpusError) -> None:
        errors.append(str(error))

    documents = list(read(path, on_error=note, on_skip=note, **settings))
    return documents, [error.replace(str(path), "FILE") for error in errors]


def test_a_folder_is_read_in_order_with_relative_ids(tmp_path: Path) -> None:
    put(tmp_path / "b.md", "bee")
    put(tmp_path / "a" / "z.TXT", "zed\r\nnext")
    put(tmp_path / "a" / "deep" / "y.txt.gz", "why")
    put(tmp_path / ".hidden.txt", "no")
    put(tmp_path / ".git" / "config.txt", "no")
    assert list(read(tmp_path)) == [
        Document("why", "a/deep/y.txt.gz", {"source": (tmp_path / "a/deep/y.txt.gz").as_posix()}),
        Document("zed\r\nnext", "a/z.TXT", {"source": (tmp_path / "a/z.TXT").as_posix()}),
        Document("bee", "b.md", {"source": (tmp_path / "b.md").as_posix()}),
    ]


def test_other_files_in_a_folder_are_reported(tmp_path: Path) -> None:
    put(tmp_path / "a.txt", "a")
    put(tmp_path / "data.jsonl", "{}")
    with pytest.warns(UserWarning, match=r"skipped .*data\.jsonl: .* give this file itself"):
        assert [d.text for d in read_folder(tmp_path)] == ["a"]
    documents, errors = collected(tmp_path)
    assert len(documents) == 1
    assert len(errors) == 1


def test_links_to_folders_are_reported_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)
    put(tmp_path / "a.txt", "a")
    documents, errors = collected(tmp_path)
    assert [d.id for d in documents] == ["a.txt"]
    assert "link to a folder" in errors[0]


def test_the_id_of_a_single_text_file_is_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "docs" / "a.md", BOM + b"text")
    monkeypatch.chdir(tmp_path)
    assert list(read("docs/a.md")) == [Document("text", "docs/a.md", {"source": "docs/a.md"})]


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".jsonl.gz"])
def test_jsonl(tmp_path: Path, suffix: str) -> None:
    path = put(
        tmp_path / f"corpus{suffix}",
        lines(
            {"id": "a", "text": "one", "metadata": {"k": 1}},
            "",
            {"_id": 7, "title": "Title", "text": "two", "metadata": {}},
            {"text": "three", "url": "u", "id": None},
        ),
    )
    assert list(read(path)) == [
        Document("one", "a", {"k": 1}),
        Document("Title two", "7", {"title": "Title"}),
        Document("three", None, {"url": "u"}),
    ]


def test_the_fields_can_be_chosen(tmp_path: Path) -> None:
    path = put(tmp_path / "c.jsonl", lines({"key": "x", "body": "b", "title": "t", "more": {"n": 1}}))
    fields = Fields(text="body", id="key", metadata="more")
    assert list(read(path, fields=fields)) == [Document("b", "x", {"title": "t", "n": 1})]


def test_bad_lines_are_reported_and_the_others_are_read(tmp_path: Path) -> None:
    bad = [
        "{",
        "[1]",
        {"body": "b"},
        {"text": 1},
        {"text": "a", "id": 1.5},
        {"text": "a", "id": True},
        {"text": "a", "metadata": 3},
        '{"text": "a", "x": NaN}',
        "[" * 100_000,
    ]
    path = put(tmp_path / "c.jsonl", lines(*bad, {"text": "good"}))
    documents, errors = collected(path)
    assert [d.text for d in documents] == ["good"]
    reasons = [
        "FILE:1: not JSON: ",
        "FILE:2: a line must hold a JSON object, got list",
        "FILE:3: no field 'text'; the record has 'body'; say which one holds the text (--text-field)",
        "FILE:4: field 'text' must be a string, got int",
        "FILE:5: field 'id' must be a string or an integer, got float",
        "FILE:6: field 'id' must be a string or an integer, got bool",
        "FILE:7: field 'metadata' must be an object, got int",
        "FILE:8: NaN is not JSON",
        "FILE:9: ",
    ]
    assert len(errors) == len(reasons)
    for error, reason in zip(errors, reasons, strict=True):
        assert error.startswith(reason)


def test_the_first_bad_line_raises_without_a_handler(tmp_path: Path) -> None:
    path = put(tmp_path / "c.jsonl", lines({"text": "good"}, "{"))
    documents = read_jsonl(path)
    assert next(documents).text == "good"
    with pytest.raises(CorpusError, match=r"c\.jsonl:2: not JSON"):
        next(documents)


@pytest.mark.parametrize("prefix", [b"", BOM])
def test_invalid_utf8_is_reported_with_its_offset(tmp_path: Path, prefix: bytes) -> None:
    offset = len(prefix)
    path = put(tmp_path / "c.jsonl", prefix + b'{"text": "a"}\n{"text": "\xff"}\n{"text": "b"}\n')
    documents, errors = collected(path)
    assert [d.text for d in documents] == ["a", "b"]
    assert errors[0].startswith(f"FILE:2: not UTF-8: byte 0xff at offset {24 + offset}")
    path = put(tmp_path / "t.txt", prefix + b"abc\xe9d")
    with pytest.raises(CorpusError, match=rf"t\.txt: not UTF-8: byte 0xe9 at offset {3 + offset}"):
        list(read(path))


def test_csv(tmp_path: Path) -> None:
    path = put(tmp_path / "c.csv", BOM + b'id,text,year\n1,"two\nlines, ""quoted""",1999\n\n2,plain,\n')
    assert list(read(path)) == [
        Document('two\nlines, "quoted"', "1", {"year": 1999}),
        Document("plain", "2", {"year": None}),
    ]
    path = put(tmp_path / "c.tsv.gz", "key\tbody\nx\ta, b\n")
    assert list(read(path, fields=Fields(text="body", id="key"))) == [Document("a, b", "x")]


def test_bad_rows_are_reported_and_the_others_are_read(tmp_path: Path) -> None:
    path = put(tmp_path / "c.csv", b'id,text\n1,a,b\n2\n3,"c\n\xff"\n4,"x"y\n5,good\n6,"open')
    documents, errors = collected(path)
    assert [d.text for d in documents] == ["good"]
    assert [error.split("; ")[0] for error in errors] == [
        "FILE:2: 3 cells under a header of 2",
        "FILE:3: 1 cells under a header of 2",
        "FILE:5: not UTF-8: byte 0xff at offset 21 (invalid start byte)",
        "FILE:6: ',' expected after '\"'",
        "FILE:8: unexpected end of data",
    ]


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        (b"id,body", "FILE:1: no column 'text'; the header has 'id', 'body'"),
        (b"text,a,text", "FILE:1: column 'text' is in the header more than once"),
        (b"text,\xff", "FILE:1: not UTF-8"),
        (b'"text"x', "FILE:1: ',' expected"),
    ],
)
def test_an_unusable_header_is_reported_once(tmp_path: Path, header: bytes, complaint: str) -> None:
    documents, errors = collected(put(tmp_path / "c.csv", header + b"\n1,2,3\n4,5,6\n"))
    assert not documents
    assert len(errors) == 1
    assert errors[0].startswith(complaint)


def test_a_cell_may_be_a_megabyte(tmp_path: Path) -> None:
    path = put(tmp_path / "c.csv", "text\n" + "x " * 500_000 + "\n")
    assert [len(d.text) for d in read_csv(path)] == [10**6]


def test_a_truncated_file_is_reported_after_its_complete_lines(tmp_path: Path) -> None:
    whole = gzip.compress(lines(*({"text": str(n) * 50, "id": n} for n in range(20_000))).encode())
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    documents, errors = collected(path)
    assert 5_000 < len(documents) < 20_000
    assert all(d.text == str(d.id) * 50 for d in documents)
    assert errors == ["FILE: cannot be read: Compressed file ended before the end-of-stream marker was reached"]
    path = put(tmp_path / "not.txt.gz", "x")
    path.write_bytes(b"not gzip")
    with pytest.raises(CorpusError, match="cannot be read: Not a gzipped file"):
        list(read(path))


def test_paths_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    good = put(tmp_path / "a.txt", "a")
    with pytest.raises(CorpusError, match="no such file"):
        read([good, tmp_path / "none.txt"])
    with pytest.raises(CorpusError, match=r"no reader for '.odt'; known: .txt, .*\.parquet"):
        read([good, put(tmp_path / "a.odt", b"PK")])
    with pytest.raises(CorpusError, match="no reader for 'a file without a suffix'"):
        check([put(tmp_path / "noname", "")])


def test_reading_is_lazy_and_needs_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows((n, f"{n} " * 200) for n in range(5_000))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read(path)) == 5_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
    assert [d.id for d in islice(read(path), 2)] == ["0", "1"]


def test_dates_and_decimals_in_parquet_become_json(tmp_path: Path) -> None:
    moment = datetime(2020, 1, 2, 3, 4, 5)
    record = {
        "text": "a",
        "when": moment,
        "days": [moment.date()],
        "more": {"at": moment.time()},
        "price": Decimal("1.50"),
    }
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([record]), tmp_path / "a.parquet")
    (document,) = read(tmp_path / "a.parquet")
    iso = {"when": "2020-01-02T03:04:05", "days": ["2020-01-02"], "more": {"at": "03:04:05"}, "price": 1.5}
    assert document.metadata == iso


def test_parquet_needs_constant_memory_for_row_groups_of_any_size(tmp_path: Path) -> None:
    table = pyarrow.table({"id": range(20_000), "text": [f"{n} " * 300 for n in range(20_000)]})
    path = tmp_path / "large.parquet"
    pyarrow.parquet.write_table(table, path, row_group_size=10_000, use_dictionary=False, compression="none")
    del table
    before = pyarrow.total_allocated_bytes()
    most = 0
    for number, document in enumerate(read(path)):
        assert document.id == str(number)
        if number % 1000 == 0:
            most = max(most, pyarrow.total_allocated_bytes() - before)
    assert number == 19_999
    assert most < path.stat().st_size / 5


def test_standard_input_is_json_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO(lines({"id": "a", "text": "one"}, "broken", {"id": "b", "text": "two"}).encode())
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=data))
    documents, errors = collected(Path("-"))
    assert [d.id for d in documents] == ["a", "b"]
    assert errors == ["FILE:2: not JSON: Expecting value at column 1"]
    assert total_bytes("-") is None


def test_a_folder_in_beirs_layout_is_read_as_its_corpus(tmp_path: Path) -> None:
    put(tmp_path / "corpus.jsonl", lines({"_id": "d", "title": "Title", "text": "text"}))
    put(tmp_path / "queries.jsonl", lines({"_id": "q", "text": "no document"}))
    put(tmp_path / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\nq\td\t1\n")
    assert list(read(tmp_path)) == [Document("Title text", "d", {"title": "Title"})]
    assert total_bytes(tmp_path) == (tmp_path / "corpus.jsonl").stat().st_size


def test_the_reported_bytes_add_up_to_the_total(tmp_path: Path) -> None:
    records = [{"id": str(n), "text": str(n) * 9} for n in range(5_000)]
    sources = [
        put(tmp_path / "a.jsonl", lines(*records)),
        put(tmp_path / "b.jsonl.gz", lines(*records)),
        put(tmp_path / "c.csv", BOM + b"text\nx\n\n\xff\nlast"),
        put(tmp_path / "docs" / "d.txt", "text").parent,
        put(tmp_path / "docs" / "e.html", "<p>page"),
        tmp_path / "f.parquet",
    ]
    put(tmp_path / "docs" / "image.png", "not counted")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), sources[-1])
    reached = [0]
    for _ in read(sources, on_error=ignore, on_skip=ignore, on_bytes=lambda more: reached.append(reached[-1] + more)):
        pass
    assert reached[-1] == total_bytes(sources)
    assert reached == sorted(reached)
    assert len(reached) > 5_000


def ignore(_: CorpusError) -> None:
    pass


def test_csv_with_another_delimiter_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id;text\n1;llama\n")
    with pytest.raises(CorpusError, match=r"no column 'text'; .* its cells are separated by ';': save it with commas"):
        list(read(tmp_path / "a.csv"))


def test_numbers_too_large_for_floats_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"text,bits,size\none,{'10' * 200},1e999\ntwo,1,2\n")
    first, second = read(path)
    assert (first.metadata["bits"], first.metadata["size"]) == ("10" * 200, "1e999")
    assert (second.metadata["bits"], second.metadata["size"]) == ("1", "2")


def test_metadata_of_a_table_is_json_in_its_cells(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text,metadata\n1,one,"{""year"": 2020}"\n2,two,\n3,three,[]\n')
    errors: list[CorpusError] = []
    first, second = read(path, on_error=errors.append)
    assert (first.metadata, second.metadata) == ({"year": 2020}, {})
    assert "a.csv:4: field 'metadata' must be an object, got list" in str(errors[0])


def test_decimals_of_parquet_keep_their_digits(tmp_path: Path) -> None:
    long = 1234567890123456789
    columns = {
        "id": pyarrow.array([Decimal(long), Decimal(long + 1)], pyarrow.decimal128(19, 0)),
        "text": ["one", "two"],
        "number": pyarrow.array([Decimal(long), Decimal(7)], pyarrow.decimal128(38, 0)),
        "price": pyarrow.array([Decimal("2.00"), Decimal("2.50")], pyarrow.decimal128(10, 2)),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    first, second = read(tmp_path / "a.parquet")
    assert [first.id, second.id] == [str(long), str(long + 1)]
    assert (first.metadata, second.metadata) == ({"number": long, "price": 2.0}, {"number": 7, "price": 2.5})
    assert isinstance(second.metadata["number"], int)


def test_a_value_of_parquet_that_python_does_not_have_costs_its_row(tmp_path: Path) -> None:
    invalid = pyarrow.Array.from_buffers(pyarrow.binary(), 3, pyarrow.array([b"one", b"\xff", b"three"]).buffers())
    table = pyarrow.table({"text": invalid.view(pyarrow.string())})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    errors: list[CorpusError] = []
    assert [document.text for document in read(tmp_path / "a.parquet", on_error=errors.append)] == ["one", "three"]
    assert "a.parquet, row 2" in str(errors[0])
