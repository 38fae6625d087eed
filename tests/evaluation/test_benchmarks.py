"""Reading benchmarks, and refusing those whose errors would only look like bad retrieval."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.evaluation.beir import read_beir, read_qrels
from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.evaluation.bright import instruction, read_bright


def beir(folder: Path, *, qrels: str, corpus: str = '{"_id": "a", "title": "T", "text": "x"}\n') -> Path:
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(corpus)
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "one"}\n{"_id": "r", "text": "two"}\n')
    (folder / "qrels" / "test.tsv").write_text(qrels)
    return folder


def test_beir_title_is_part_of_the_text_and_queries_are_those_of_the_split(tmp_path: Path) -> None:
    benchmark = read_beir(beir(tmp_path / "b", qrels="query-id\tcorpus-id\tscore\nq\ta\t2\nq\tz\t0\n"))
    assert dict(benchmark.queries) == {"q": "one"}
    assert benchmark.relevant == {"q": {"a": 2, "z": 0}}
    assert [(document.id, document.text) for document in benchmark.documents()] == [("a", "T x")]
    assert [document.id for document in benchmark.documents()] == ["a"]  # read again from the beginning


def test_split_files_beside_the_corpus(tmp_path: Path) -> None:
    folder = beir(tmp_path / "b", qrels="q\ta\t1\n")
    (folder / "queries.dev.jsonl").write_text('{"_id": "d", "text": "dev"}\n')
    (folder / "qrels.dev.tsv").write_text("query-id\tcorpus-id\tscore\nd\ta\t1\n")
    assert dict(read_beir(folder, "dev").queries) == {"d": "dev"}


def test_qrels_in_trec_format(tmp_path: Path) -> None:
    (tmp_path / "qrels").write_text("q 0 a 1\nq 0 b 0\n")
    assert read_qrels(tmp_path / "qrels") == {"q": {"a": 1, "b": 0}}


def test_qrels_with_spaces_in_ids(tmp_path: Path) -> None:
    (tmp_path / "qrels").write_text("query-id\tcorpus-id\tscore\nq 1\tbrain disease/signs\t1\n")
    assert read_qrels(tmp_path / "qrels") == {"q 1": {"brain disease/signs": 1}}


@pytest.mark.parametrize(
    ("qrels", "words"),
    [
        ("query-id\tcorpus-id\tscore\nq\ta\n", r"test\.tsv:2: expected .*'q\\ta'"),
        ("q\ta\thigh\n", r"test\.tsv:1"),
        ("query-id\tcorpus-id\tscore\n", "no judgements: the split is empty"),
        ("stranger\ta\t1\n", "judges the query 'stranger'"),
        ("q\ta\t0\n", "query 'q' has no relevant document"),
    ],
)
def test_malformed_qrels_are_refused(tmp_path: Path, qrels: str, words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        read_beir(beir(tmp_path / "b", qrels=qrels))


def test_missing_relevant_document_is_refused(tmp_path: Path) -> None:
    benchmark = read_beir(beir(tmp_path / "b", qrels="q\ta\t1\nq\tlost\t1\n"))
    with pytest.raises(CorpusError, match="the relevant document 'lost' is not in the corpus"):
        list(benchmark.documents())


def test_malformed_document_is_named_by_line(tmp_path: Path) -> None:
    benchmark = read_beir(beir(tmp_path / "b", qrels="q\ta\t1\n", corpus='{"_id": "a", "text": "x"}\n{"_id": \n'))
    with pytest.raises(CorpusError, match=r"corpus\.jsonl:2: not JSON"):
        list(benchmark.documents())


def test_folder_without_a_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"has no corpus\.jsonl"):
        read_beir(tmp_path)


def test_query_that_excludes_its_relevant_document_is_refused() -> None:
    with pytest.raises(CorpusError, match="query 'q' excludes its relevant document 'a'"):
        Benchmark("b", None, {"q": "?"}, {"q": {"a": 1}}, {"q": frozenset("a")})


@pytest.fixture
def bright(tmp_path: Path) -> Path:
    """A copy of BRIGHT in the hub's layout, with two queries."""
    documents = [{"id": name, "content": f"text of {name}"} for name in ("a", "b", "c")]
    example = {"reasoning": "r", "gold_answer": "g"}
    examples = [
        {"id": "0", "query": "first", "excluded_ids": ["N/A"], "gold_ids": ["a"], "gold_ids_long": ["L"], **example},
        {
            "id": "1",
            "query": "second",
            "excluded_ids": ["b"],
            "gold_ids": ["c", "c"],
            "gold_ids_long": ["L"],
            **example,
        },
    ]
    for kind, rows in (
        ("documents", documents),
        ("long_documents", [{"id": "L", "content": "long"}]),
        ("examples", examples),
    ):
        for task in ("biology", "leetcode"):
            (tmp_path / kind).mkdir(exist_ok=True)
            table = pyarrow.Table.from_pylist(rows)
            pyarrow.parquet.write_table(table, tmp_path / kind / f"{task}-00000-of-00001.parquet")
    return tmp_path


def test_bright_excludes_ids_and_counts_a_gold_id_once(bright: Path) -> None:
    benchmark = read_bright(bright, "biology")
    assert dict(benchmark.queries) == {"0": "first", "1": "second"}
    assert benchmark.relevant == {"0": {"a": 1}, "1": {"c": 1}}
    assert benchmark.excluded == {"0": frozenset(), "1": frozenset({"b"})}
    assert [document.text for document in benchmark.documents()] == ["text of a", "text of b", "text of c"]
    assert benchmark.instruction == "Given a biology post, retrieve relevant passages that help answer the post"


def test_bright_long_track(bright: Path) -> None:
    benchmark = read_bright(bright, "biology", long=True)
    assert benchmark.relevant == {"0": {"L": 1}, "1": {"L": 1}}
    assert [document.id for document in benchmark.documents()] == ["L"]
    with pytest.raises(ValueError, match="no long track 'leetcode'"):
        read_bright(bright, "leetcode", long=True)


def test_bright_unknown_or_missing_tasks_are_refused(bright: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no task 'biologie'; it has biology"):
        read_bright(bright, "biologie")
    with pytest.raises(CorpusError, match=r"no file pony-\*"):
        read_bright(bright, "pony")


def test_bright_instructions() -> None:
    assert instruction("leetcode") == "Given a coding problem, retrieve relevant examples that help answer the problem"
    assert instruction("aops") == "Given a Math problem, retrieve relevant examples that help answer the problem"
    assert (
        instruction("pony", long=True)
        == "Given a pony question, retrieve relevant documents that help answer the question"
    )


def test_files_of_another_data_set_are_refused(bright: Path) -> None:
    rows = [{"id": "0", "query": "first", "gold_ids": ["a"]}]
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(rows), bright / "examples" / "leetcode-00000-of-00001.parquet"
    )
    with pytest.raises(CorpusError, match="no list 'excluded_ids'"):
        read_bright(bright, "leetcode")


def test_a_query_does_not_find_itself_unless_it_is_judged_relevant(tmp_path: Path) -> None:
    """As in BEIR, where the queries of ArguAna are among its documents."""
    benchmark = read_beir(beir(tmp_path / "b", qrels="q\ta\t1\nr\tr\t1\nr\tq\t0\n"))
    assert benchmark.excluded == {"q": {"q"}}
