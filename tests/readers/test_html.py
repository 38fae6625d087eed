"""HTML pages become their visible text, in any encoding; errors name the file and the reason."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.readers import read, read_html
from t1_vectorstore.types import Document

PAGE = """<!DOCTYPE html>
<html><head><title>Animals &amp;
 the Andes</title><style>p { color: red }</style><script>track()</script></head>
<body><nav><a href="/">Home</a></nav>
<h1>Llamas</h1>
<p>They <b>live</b> in <a href="/andes">the Andes</a>, snake_case and 2*3 <img src="a.png" alt="a picture">
<p>An unclosed paragraph,<br>two lines
<ul><li>wool<li>transport</ul>
<table><tr><th>name<th>height<tr><td>llama<td>1.8 m</table>
<script>more()</script><noscript>Turn scripts on</noscript>
</body></html>"""


def test_a_page_becomes_its_visible_text_with_its_structure(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(PAGE)
    (document,) = read(tmp_path)
    assert document.id == "a.html"
    assert document.metadata == {"source": (tmp_path / "a.html").as_posix(), "title": "Animals & the Andes"}
    lines = [line.strip() for line in document.text.splitlines() if line.strip()]
    assert lines == [
        "# Llamas",
        "They live in the Andes, snake_case and 2*3 a picture",
        "An unclosed paragraph,",
        "two lines",
        "* wool",
        "* transport",
        "| name | height |",
        "| --- | --- |",
        "| llama | 1.8 m |",
    ]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("<p>naïve".encode(), "naïve"),
        ("\ufeff<p>naïve".encode(), "naïve"),
        ("<p>naïve".encode("utf-16"), "naïve"),
        ("<meta charset=windows-1251><p>Лама".encode("cp1251"), "Лама"),
        (b"<meta charset='iso-8859-1'><p>\x93caf\xe9\x94", "“café”"),
        (b'<meta http-equiv="Content-Type" content="text/html; charset=Shift_JIS"><p>\x83\x89', "ラ"),
        ("<?xml version='1.0' encoding='utf-8'?><html><body><p>ü</p></body></html>".encode(), "ü"),
        (b"<meta charset=utf-16><p>an impossible claim", "an impossible claim"),
    ],
)
def test_the_encoding_is_detected(tmp_path: Path, data: bytes, text: str) -> None:
    (tmp_path / "a.htm.gz").write_bytes(gzip.compress(data))
    path = (tmp_path / "a.htm.gz").as_posix()
    assert list(read(path)) == [Document(text, path, {"source": path})]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<p>caf\xe9", "not UTF-8: byte 0xe9 at offset 6"),
        (b"<meta charset=euc-jp><p>\xff", "declared to be euc_jp, but byte 0xff at offset 24"),
        (b"<meta charset=klingon><p>x", "declares an unknown encoding 'klingon'"),
        (b"<div id=app></div><script>run()</script>", "a page without text"),
        (b"", "not HTML: it has no tags"),
        (b"only text", "not HTML: it has no tags"),
        (b"<?xml version='1.0'?><rss><title>x</title></rss>", "XML, but not HTML"),
        (b"<div>" * 3000 + b"deep", "nested too deeply"),
    ],
)
def test_an_unreadable_page_is_reported_with_the_reason(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "a.html"
    path.write_bytes(data)
    errors: list[CorpusError] = []
    assert not list(read(path, on_error=errors.append))
    assert len(errors) == 1
    assert str(errors[0]).startswith(f"{path}: ")
    assert reason in str(errors[0])
    with pytest.raises(CorpusError):
        list(read_html(path))


def test_no_text_of_a_large_or_broken_page_is_lost(tmp_path: Path) -> None:
    words = [f"w{n}" for n in range(5_000)]
    (tmp_path / "a.html").write_text("<div>" * 150 + "<p>".join(words) + "</p></html><p>a\x00b</b><div>the end")
    (document,) = read(tmp_path)
    found = document.text.split()
    assert found[: len(words)] == words
    assert found[-2:] == ["the", "end"]


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>10<sup>6</sup> and 10<sup>-3</sup>, in 1990<sup>3</sup></p>", "10^6 and 10^-3, in 1990^3"),
        ("<p>the 19<sup>th</sup>, H<sub>2</sub>O</p>", "the 19th, H2O"),
        ("<details><summary>Warranty</summary>Two years.</details>", "Warranty\n\nTwo years."),
        ("<main>Intro</main><footer>Contact</footer>", "Intro\n\nContact"),
        ("<select><option>A</option><option>B</option></select>", "A\n\nB"),
    ],
)
def test_what_a_page_shows_apart_is_not_joined(tmp_path: Path, markup: str, text: str) -> None:
    (tmp_path / "a.html").write_text(f"<html><body>{markup}</body></html>")
    (document,) = read(tmp_path)
    assert document.text == text


def test_a_heading_in_a_cell_is_not_joined_to_its_text(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<table><tr><td><h3>Price</h3>\n12 EUR</td><td>x</td></tr></table>")
    (document,) = read(tmp_path)
    assert "Price 12 EUR" in " ".join(document.text.split())


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("Shift_JIS", "cp932", "\u2460 \u3231"),
        ("x-sjis", "cp932", "\u65e5\u672c"),
        ("gb2312", "gb18030", "\u9555"),
        ("euc-kr", "cp949", "\ub620 \uac02"),
        ("iso-8859-9", "cp1254", "\u201cquoted\u201d"),
        ("windows-874", "cp874", "\u0e44\u0e17\u0e22"),
    ],
)
def test_labels_mean_what_they_mean_to_browsers(tmp_path: Path, label: str, codec: str, text: str) -> None:
    (tmp_path / "a.html").write_bytes(f'<meta charset="{label}"><p>{text}</p>'.encode(codec))
    (document,) = read(tmp_path)
    assert document.text == text
