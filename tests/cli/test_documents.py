"""``t1 get``, ``t1 list``, ``t1 delete``, and the settings of an index in ``t1 info``."""

from __future__ import annotations

import json
from typing import Any

from t1_vectorstore.engines.ids import point_id


def filled(run: Any, corpus: Any, *options: str) -> None:
    long = " ".join(f"Sentence {number} tells of llamas." for number in range(120))
    run("index", corpus({"id": "a", "text": "Oslo", "year": 2001}, {"id": "b", "text": long}), "--to", "idx", *options)


def test_chunks_and_documents_are_printed_by_id(run: Any, corpus: Any) -> None:
    filled(run, corpus)
    assert "Oslo" in run("get", "idx", "a").stdout
    whole = json.loads(run("get", "idx", "b", "--json").stdout)
    assert [chunk["index"] for chunk in whole] == list(range(len(whole)))
    assert len(whole) > 1
    assert {chunk["document_id"] for chunk in whole} == {"b"}
    assert whole[0]["text"].startswith("Sentence 0 tells of llamas.")
    assert "Sentence 119 tells of llamas." in run("get", "idx", "b").stdout
    [one] = json.loads(run("get", "idx", "b#chunk-1", "--json").stdout)
    assert one["id"] == "b#chunk-1"
    missing = run("get", "idx", "a", "nope", code=1)
    assert "Oslo" in missing.stdout
    assert missing.stderr == "not in the index: nope\n"
    number = str(point_id("a"))  # Qdrant's, which its dashboard shows
    assert run("get", "idx", number, code=1).stderr == f"not in the index: {number}\n"


def test_chunks_are_listed_by_metadata_and_in_part(run: Any, corpus: Any) -> None:
    filled(run, corpus)
    listed = run("list", "idx", "--filter", "year=2001")
    assert "Oslo" in listed.stdout
    assert listed.stderr == "1 of 1 chunk\n"
    few = run("list", "idx", "--limit", "2")
    assert few.stderr.startswith("2 of ")
    assert "--limit shows more than 2" in few.stderr
    assert len(json.loads(run("list", "idx", "--limit", "2", "--json").stdout)) == 2


def test_deleting_says_what_was_not_there(run: Any, corpus: Any) -> None:
    filled(run, corpus)
    nothing = run("delete", "idx", "--id", "nope", "--id", "b#chunk-0")
    assert nothing.stdout == "0 chunks deleted\n"
    assert "not in the index: nope" in nothing.stderr
    assert "b#chunk-0 is a chunk; delete its document: --id b" in nothing.stderr
    assert run("delete", "idx", "--filter", "year=1900").stdout == "0 chunks deleted\n"  # nothing to confirm
    assert run("delete", "idx", "--id", "a").stdout == "1 chunk deleted\n"


def test_info_says_how_an_index_was_made(run: Any, corpus: Any) -> None:
    filled(run, corpus, "--hybrid", "--index-field", "year=integer", "--tenant", "who", "--on-disk")
    shown = run("info", "idx").stdout
    for part in ("vector and words (hybrid)", "year=integer", "who (tenant)", "on_disk=True"):
        assert part in shown
    facts = json.loads(run("info", "idx", "--json").stdout)
    assert (facts["hybrid"], facts["indexes"], facts["tenant"]) == (True, {"year": "integer"}, "who")
    assert facts["previous_build"] is False


def test_a_reindex_says_that_words_are_stored_and_info_that_the_old_build_is_kept(run: Any, corpus: Any) -> None:
    filled(run, corpus)
    assert "searched by vector and words (hybrid)" in run("reindex", "idx", "--hybrid").stdout
    assert "t1 reindex --rollback goes back to it" in run("info", "idx").stdout
    run("reindex", "idx", "--drop-old", "--yes")
    assert "rollback" not in run("info", "idx").stdout


def test_a_hybrid_ranking_is_labelled_and_so_is_a_thought_that_was_not_needed(run: Any, corpus: Any) -> None:
    filled(run, corpus, "--hybrid")
    label = "ranked by vector and words; the number is the cosine"
    assert label in run("search", "idx", "llamas").stdout
    assert label not in run("search", "idx", "llamas", "--no-hybrid").stdout
    assert "0 tokens" not in run("search", "idx", "Oslo").stdout
