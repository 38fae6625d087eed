"""``t1 search``, ``t1 info`` and ``t1 delete``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from t1_vectorstore.cli import app
from t1_vectorstore.cli.options import parse_filters
from t1_vectorstore.collection import Collection
from t1_vectorstore.types import ModelIdentity
from tests.collection.processes import python

RECORDS = [
    {"id": "andes", "text": "Llamas live in the Andes.", "year": 1999, "lang": "en"},
    {"id": "desert", "text": "Camels live in the desert.", "year": "2001", "lang": "en"},
    {"id": "evil", "text": "\x1b[31mred\x1b[0m [bold]bold[/bold] \u202egnp.exe :smile:", "lang": "xx", "safe": False},
]


@pytest.fixture
def index(run: Any, corpus: Any) -> str:
    run("index", corpus(*RECORDS), "--to", "idx")
    return "idx"


def found(result: Any) -> list[str]:
    return [hit["id"] for hit in json.loads(result.stdout)["hits"]]


def test_thought_is_printed_before_the_hits(run: Any, index: str) -> None:
    shown = run("search", index, "where do llamas live").stdout
    assert shown.index("thought  ") < shown.index(" 1  ") < shown.index(" 2  ")
    assert "Llamas live in the Andes." in shown
    assert "year=1999" in shown
    assert "thought  " not in run("search", index, "llamas", "--no-think").stdout
    assert "3 tokens, cut by the budget" in run("search", index, "llamas", "--budget", "3").stdout
    assert " 2  " not in run("search", index, "llamas", "--limit", "1").stdout
    assert run("search", index, "llamas", "--min-score", "1").stdout.strip().endswith("nothing found")


def test_json_is_the_only_output(run: Any, index: str) -> None:
    result = run("search", index, "llamas", "--json")
    answer = json.loads(result.stdout)
    assert answer["query"] == "llamas"
    assert answer["thoughts"][0]["stop"] == "emb_token"
    assert answer["timings"]["total"] == pytest.approx(answer["timings"]["embed"] + answer["timings"]["search"])
    fields = {"id", "score", "text", "metadata", "document_id", "start", "end", "explanation"}
    assert fields == answer["hits"][0].keys()
    assert result.stderr == ""


def test_adaptive_thinking_says_why(run: Any, index: str) -> None:
    always = run("search", index, "llamas", "--think-auto", "--think-threshold", "0").stdout
    assert always.startswith("thought: the threshold 0 always thinks (score ")
    assert "threshold 0.00)" in " ".join(always.split())
    assert "thought  " in always
    never = run("search", index, "llamas", "--think-auto", "--think-threshold", "1").stdout
    assert never.startswith("not thought: the threshold 1 never thinks")
    assert "thought  " not in never
    answer = json.loads(run("search", index, "llamas", "--think-auto", "--json").stdout)
    assert answer["decision"].keys() == {"thought", "score", "threshold", "reason"}
    assert json.loads(run("search", index, "llamas", "--json").stdout)["decision"] is None
    for flags, message in (
        (["--think-auto", "--no-think"], "leave --no-think out"),
        (["--think-threshold", "0.3"], "--think-threshold 0.3 is for --think-auto"),
    ):
        refused = run("search", index, "llamas", *flags, code=2)
        assert message in refused.stderr


def test_refine_steps_change_the_scores(run: Any, index: str) -> None:
    asked = ([], ["--refine-steps", "0"], ["--refine-steps", "2"])
    hits = [json.loads(run("search", index, "llamas", "--json", *options).stdout)["hits"] for options in asked]
    plain, none, refined = ([hit["score"] for hit in each] for each in hits)
    assert plain == none != refined


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["lang=en"], {"andes", "desert"}),
        (["year=1999"], {"andes"}),
        (["year=2001"], {"desert"}),
        (["year=1999", "year=2001"], {"andes", "desert"}),
        (["lang=en", "year=1999"], {"andes"}),
        (["safe=false"], {"evil"}),
        (['{"year": {"gte": 1990}, "lang": "en"}'], {"andes"}),
    ],
)
def test_filters_select_hits(run: Any, index: str, filters: list[str], expected: set[str]) -> None:
    options = [word for text in filters for word in ("--filter", text)]
    assert set(found(run("search", index, "x", "--json", *options))) == expected


def test_hybrid_diverse_and_grouped_searches(run: Any, corpus: Any) -> None:
    crowd = [{"id": f"n{n}", "text": f"{n} is a number", "year": n} for n in range(60)]
    made = ("--hybrid", "--index-field", "year=integer", "--index-field", "lang=keyword", "--tenant", "customer")
    run("index", corpus(*crowd, *RECORDS), "--to", "words", *made)
    query = ("search", "words", "a camels number", "--no-think", "--json", "--limit", "9")
    assert "desert" in found(run(*query))
    assert found(run(*query)) == found(run(*query, "--hybrid")) != found(run(*query, "--no-hybrid"))
    assert len(found(run(*query, "--diverse", "0.5", "--group"))) == 9
    assert found(run(*query, "--vector-weight", "1")) == found(run(*query, "--no-hybrid"))
    assert found(run(*query, "--vector-weight", "0")) != found(run(*query))
    assert "no words" in run(*query, "--no-hybrid", "--vector-weight", ".5", code=2).output
    assert "--diverse" in run(*query, "--diverse", "2", code=2).output
    again = run("index", "corpus.jsonl", "--to", "words", "--json")
    assert json.loads(again.stdout)["unchanged"] == 63
    assert (
        "hybrid=True and is opened with False"
        in run("index", "corpus.jsonl", "--to", "words", "--no-hybrid", code=1).output
    )
    with Collection.open("words") as collection:
        assert collection.count({"year": {"lt": 10}}) == 10


def test_hybrid_search_needs_stored_words(run: Any, index: str) -> None:
    assert "t1 reindex --hybrid stores them" in run("search", index, "llamas", "--hybrid", code=2).output


@pytest.mark.parametrize("given", ["year", "year=number", "=keyword"])
def test_malformed_index_fields_are_refused(run: Any, corpus: Any, folder: Path, given: str) -> None:
    assert "FIELD=KIND" in run("index", corpus(*RECORDS), "--to", "idx", "--index-field", given, code=2).output
    assert not (folder / "idx").exists()


def test_filter_values_are_strings_and_also_numbers_or_booleans() -> None:
    assert parse_filters(None) is None
    assert parse_filters(["a=b=c"]) == {"a": ["b=c"]}
    assert parse_filters(["a=NaN", "b="]) == {"a": ["NaN"], "b": [""]}
    with pytest.raises(ValueError, match="neither"):
        parse_filters(["a"])
    with pytest.raises(ValueError, match="not JSON"):
        parse_filters(["{a"])


@pytest.mark.parametrize(
    "given",
    [
        ['{"year": {"gte": 2000}}', '{"year": {"lt": 2010}}'],
        ["year=2000", '{"year": {"lt": 2010}}'],
        ['{"year": 2000}', "year=2010"],
    ],
)
def test_conditions_on_one_key_replace_none(given: list[str]) -> None:
    with pytest.raises(ValueError, match="has 'year' twice, once as JSON: give all conditions on it in one object"):
        parse_filters(given)
    assert parse_filters(['{"year": {"gte": 2000}}', "lang=en", "lang=de"]) == {
        "year": {"gte": 2000},
        "lang": ["en", "de"],
    }


def test_control_characters_and_markup_have_no_effect(run: Any, index: str) -> None:
    shown = run("search", index, "\x1b]0;title\x07red").stdout + run("search", index, "red", "--full").stdout
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "␛[31mred␛[0m [bold]bold[/bold]" in shown
    assert ":smile:" in shown


def test_long_query_is_truncated_with_a_note(run: Any, index: str) -> None:
    result = run("search", index, "word " * 10_000, "--no-think")
    assert "note: the query has 50000 tokens, and the model did not read the last " in result.stderr
    assert " 1  " in result.stdout


def test_info_prints_facts(run: Any, index: str) -> None:
    shown = run("info", index).stdout
    assert "model       fake" in shown
    assert "chunks      3" in shown
    assert json.loads(run("info", index, "--json").stdout)["points"] == 3


def test_delete_by_id_deletes_all_chunks_of_a_document(run: Any, folder: Path) -> None:
    (folder / "long.txt").write_text("word " * 100)
    run("index", "long.txt", "--to", "idx", "--chunk-size", "100")
    assert run("delete", "idx", "--id", "long.txt").stdout == "5 chunks deleted\n"


def test_delete_by_filter_or_all_needs_confirmation(run: Any, index: str) -> None:
    assert "Delete 3 chunks? Confirm it with --yes" in run("delete", index, "--all", code=2).stderr
    assert "Delete 2 chunks? Confirm it" in run("delete", index, "--filter", "lang=en", code=2).stderr
    assert run("delete", index, "--filter", "lang=en", "--yes").stdout == "2 chunks deleted\n"
    assert run("delete", index, "--all", "--yes").stdout == "1 chunk deleted\n"
    assert "chunks      0" in run("info", index).stdout


def test_filter_that_finds_nothing_names_fields_that_no_document_has(run: Any, index: str) -> None:
    missing = "no document has the metadata field 'lnag'"
    assert missing in run("search", index, "llamas", "--filter", "lnag=en").stderr
    assert missing in run("delete", index, "--filter", "lnag=en", "--yes").stderr
    assert "no document has" not in run("search", index, "llamas", "--filter", "lang=xx").stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["search", "idx", ""], 2, "error: the query is empty: there is nothing to embed"),
        (["search", "idx", "q", "--min-score", "2"], 2, "--min-score"),
        (["search", "idx", "q", "--limit", "0"], 2, "--limit"),
        (["search", "idx", "q", "--filter", "x"], 2, "neither key=value"),
        (["search", "idx", "q", "--filter", "year>=2000"], 2, "comparisons are given as JSON"),
        (["search", "idx", "q", "--filter", "year!=2001"], 2, "comparisons are given as JSON"),
        (["search", "idx", "q", "--filter", "year<5"], 2, "comparisons are given as JSON"),
        (["delete", "idx", "--filter", "year==5", "--yes"], 2, "comparisons are given as JSON"),
        (["search", "idx", "q", "--filter", '{"year": {"near": 3}}'], 2, "no operator 'near'"),
        (["search"], 2, "Missing argument"),
        (["search", "nowhere", "q"], 1, "there is no index at nowhere"),
        (["search", ".", "q"], 1, "is not an index"),
        (["info", "nowhere"], 1, "there is no index at nowhere"),
        (["delete", "idx"], 2, "--id, --filter or --all"),
        (["delete", "idx", "--id", "a", "--all"], 2, "only one of them"),
        (["delete", "idx", "--filter", "{}", "--yes"], 2, "--id, --filter or --all"),
        (["unknown"], 2, "No such command"),
    ],
)
def test_errors_are_one_line(run: Any, index: str, arguments: list[str], code: int, message: str) -> None:
    result = run(*arguments, code=code)
    assert message in result.stderr
    assert result.stdout == ""
    assert len([line for line in result.stderr.splitlines() if line.lower().startswith("error: ")]) == 1


def test_debug_raises_the_exception(run: Any, index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(app, ["--debug", "info", "nowhere"])
    assert type(result.exception).__name__ == "CollectionNotFound"
    monkeypatch.setenv("T1_DEBUG", "1")
    assert type(CliRunner().invoke(app, ["info", "nowhere"]).exception).__name__ == "CollectionNotFound"


def test_unexpected_exception_is_one_line_that_names_debug(
    run: Any, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Collection, "info", lambda self: 1 / 0)
    assert run("info", index, code=1).stderr == "error: ZeroDivisionError: division by zero (--debug shows where)\n"


def test_index_of_another_model_is_refused_with_both_names(run: Any, folder: Path) -> None:
    Collection.open(folder / "other", identity=ModelIdentity("someone-elses", "f00", 16)).close()
    message = run("search", "other", "q", code=1).stderr
    assert "someone-elses" in message
    assert "fake" in message


def test_index_finds_its_checkpoint_from_another_folder(
    folder: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a real checkpoint: the index records the model's folder, and a search loads it from there."""
    (folder / "a.txt").write_text("Llamas live in the Andes.")
    monkeypatch.chdir(tiny.parent)
    command = ["index", str(folder / "a.txt"), "--to", str(folder / "idx"), "--model", tiny.name]
    assert CliRunner().invoke(app, command).exit_code == 0
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["search", "idx", "llamas", "--budget", "8", "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["hits"][0]["text"] == "Llamas live in the Andes."
    assert answer["thoughts"][0]["tokens"] <= 8


def test_index_made_with_overrides_needs_the_same_overrides(tiny: Path, folder: Path, corpus: Any) -> None:
    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, arguments)

    source = corpus({"id": "a", "text": "Llamas live in the Andes."})
    made = run("index", source, "--to", "index", "--model", str(tiny), "--override", "truncate_dim=16")
    assert made.exit_code == 0, made.output
    assert made.stdout.endswith("\nsearch it with --override truncate_dim=16\n")
    refused = run("search", "index", "llamas", "--no-think")
    assert refused.exit_code == 1
    assert "give the same ones" in refused.output
    same = run("search", "index", "llamas", "--no-think", "--override", "truncate_dim=16")
    assert same.exit_code == 0, same.output
    assert run("search", "index", "llamas", "--override", "truncate_dim").exit_code == 2


def test_index_made_with_a_preset_asks_for_the_same_preset(tiny: Path, folder: Path, corpus: Any) -> None:
    bare = shutil.copytree(tiny, folder / "bare")
    (bare / "t1_config.json").unlink()
    source = corpus({"id": "a", "text": "Llamas live in the Andes."})
    options = ["--model", str(bare), "--preset", "Qwen/Qwen3-Embedding-0.6B", "--override", "emb_token=<emb_token>"]
    options += ["--override", "max_query_tokens=512", "--override", "max_document_tokens=512"]
    made = CliRunner().invoke(app, ["index", source, "--to", "index", *options])
    assert made.exit_code == 0, made.output
    refused = CliRunner().invoke(app, ["search", "index", "llamas"])
    assert "give the same --preset here" in refused.output
    assert CliRunner().invoke(app, ["search", "index", "llamas", *options]).exit_code == 0


@pytest.mark.process
def test_an_index_that_another_process_has_open_is_read(run: Any, index: str) -> None:
    expected = found(run("search", index, "llamas", "--json"))
    holder = python(
        "c = Collection.open(sys.argv[1]); print('open', flush=True); sys.stdin.read()", Path(index).absolute()
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        for command in (["search", index, "llamas", "--json"], ["info", index, "--json"]):
            result = run(*command)
            assert result.stderr == f"note: {index} is in use, so a copy of its present state is read (--read-only)\n"
            assert run(*command, "--read-only").stderr == ""
        assert json.loads(result.stdout)["points"] == 3
        assert found(run("search", index, "llamas", "--json", "--read-only")) == expected
    finally:
        holder.communicate()


def test_read_only_does_not_create_an_index(run: Any) -> None:
    assert "there is no index at nowhere" in run("info", "nowhere", "--read-only", code=1).stderr
    assert not Path("nowhere").exists()


def test_hits_are_explained_on_request(run: Any, index: str) -> None:
    shown = run("search", index, "Where do llamas live?", "--explain").stdout
    assert "without thinking: rank " in shown
    assert "  thought: " in shown
    hit = json.loads(run("search", index, "llamas", "--explain", "--json").stdout)["hits"][0]
    assert hit["explanation"]["rank_without_thinking"] >= 1
    plain = run("search", index, "llamas", "--explain", "--no-think").stdout
    assert "without thinking" not in plain
