"""Training data from a user's own documents, written by any chat model behind an OpenAI-compatible endpoint.

For a few documents at a time, a seed and those that share its rarest words, the model writes questions that need
several of them, the chain of thought that leads there, and which document answers. What it writes is checked (ids that
were shown, lengths, no question that copies its document, a thought that leads to the document) and kept only once.
Every answer is appended to ``answers.jsonl`` as it comes, so that an interrupted run goes on, and nothing is paid for
twice. All of them count against the budget, also those to another seed's choices, or about documents that are gone or
have changed.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from t1_vectorstore.backends.vllm.http_client import OpenAIClient
from t1_vectorstore.errors import BackendError, CorpusError, T1Error
from t1_vectorstore.evaluation.baselines import Bm25
from t1_vectorstore.readers import read
from t1_vectorstore.training.chat_answers import Answers
from t1_vectorstore.training.examples import Example, write_data
from t1_vectorstore.types import Document

ANSWERS = "answers.jsonl"
SHOWN = 4
"""Documents that one call shows."""
MOST_CHARACTERS = 1500
"""Of a shown document."""
COPIED = 0.6
"""A question with a larger share of its words in its document is a copy: words alone would find it."""
FOUND_WITHIN = 10
"""A thought leads to its document if BM25, asked by it and its query, has that among so many; a default of ours."""
ASTRAY = "dropped: thought does not find its document"
STALE = "answers skipped: documents they were shown are gone or have changed"
DEV_ONE_IN = 10
PROMPT = """Here are {count} passages, each with an id.

{passages}

Write {queries} search queries that a user of this collection could ask. Each has one passage that answers it, in words
that differ from the passage's; prefer queries that can be answered only by putting facts of several passages together.
For each also write the thought: the short chain of facts that leads from the query to what the answering passage says.
Reply with JSON alone: {{"queries": [{{"query": "...", "thought": "...", "positives": ["id"]}}]}}"""


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server.

    Attributes:
        url: Up to ``/v1``.
        model: The chat model's name there.
        api_key: None where the server wants none.
        timeout: Seconds for one answer.
    """

    url: str
    model: str
    api_key: str | None = None
    timeout: float = 120.0


class _Query(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    query: str = Field(min_length=8, max_length=400)
    thought: str = Field(min_length=4, max_length=1200)
    positives: list[str] = Field(min_length=1)


def build(
    source: Path,
    out: Path,
    endpoint: Endpoint,
    *,
    calls: int = 200,
    queries: int = 4,
    at_once: int = 4,
    found_within: int = FOUND_WITHIN,
    seed: int = 0,
    transport: httpx.AsyncBaseTransport | None = None,
) -> dict[str, int]:
    """Write the folder ``out``.

    Args:
        source: Documents: a folder, or a file of records, as ``t1 index`` takes them.
        out: Folder to write, empty or an earlier run's, whose answers are used.
        endpoint: Who writes.
        calls: Budget: no call is made once ``out`` has so many answers, whichever seed or documents they belong to.
        queries: To ask for in a call.
        at_once: Calls at the same time.
        found_within: Keep a thought only if BM25 over all documents, asked by it and its query, has a right one among
            the first so many; 0 keeps all.
        seed: Of the documents that are shown together.
        transport: Of HTTP, for tests.

    Returns:
        What was written, as :func:`write_data` says it, with ``refused``: queries that cannot be used, and
        :data:`ASTRAY`: those whose thought leads elsewhere; and :data:`STALE`: answers about documents that ``source``
        no longer has, or has in other words.

    Raises:
        ValueError: ``found_within`` is negative; or ``out`` holds ``source``, or files but no earlier run's answers.
        MissingExtraError: BM25 is not installed, and is needed.
        CorpusError: The documents cannot be read, or fewer than two can.
        T1Error: The endpoint does not answer, or nothing that it writes can be used.
    """
    if found_within < 0:
        raise ValueError(f"found_within is a number of documents, or 0 to keep every thought; got {found_within}")
    _check_folder(out, source)
    documents = {str(d.id or f"document-{n}"): d.text for n, d in enumerate(read(source)) if d.text.strip()}
    if len(documents) < 2:
        raise CorpusError(f"{source} holds {len(documents)} documents: chains need at least two")
    ranking = Bm25(Document(text, id=name) for name, text in documents.items()) if found_within else None
    out.mkdir(parents=True, exist_ok=True)
    passages = {name: text[:MOST_CHARACTERS] for name, text in documents.items()}
    answers = Answers(out / ANSWERS, passages)
    unanswered = (group for group in _groups(documents, seed) if group not in answers)
    with ThreadPoolExecutor(at_once) as pool:

        def ask(group: Sequence[str]) -> None:
            shown = "\n\n".join(f"[{name}] {passages[name]}" for name in group)
            prompt = PROMPT.format(count=len(group), passages=shown, queries=queries)
            answers.add(group, asyncio.run(_ask(endpoint, prompt, transport)))

        while groups := list(islice(unanswered, max(0, min(at_once, calls - len(answers))))):
            list(pool.map(ask, groups))  # raises the first failure; the pool's end waits for the other calls
    usable, refused = _checked(answers, documents)
    examples = usable if ranking is None else _leading(usable, ranking, found_within)
    astray = len(usable) - len(examples)
    if not examples:
        why = f"; the thoughts of {astray} do not find their documents, and found_within=0 keeps them" if astray else ""
        if answers.stale:
            why += (
                f"; {answers.stale} more answers are about documents that {source} no longer has, or has in other words"
            )
            why += ", and count against calls"
        raise T1Error(
            f"nothing that {endpoint.model} wrote can be used, of {refused + astray} queries: see {answers.file}{why}"
        )
    dev = examples[::DEV_ONE_IN]
    train = [example for number, example in enumerate(examples) if number % DEV_ONE_IN] or dev
    counts = write_data(out, documents, {"train": train, "dev": dev})
    return counts | {"refused": refused, ASTRAY: astray, STALE: answers.stale}


def _check_folder(out: Path, source: Path) -> None:
    """Refuse a folder in which something else would be written over, or taken for splits of the new data."""
    if any(path.is_relative_to(out.resolve()) for path in (source.resolve(), source.parent.resolve() / source.name)):
        raise ValueError(f"{out} holds the documents {source}, which would be written over: give another folder")
    if out.exists() and not (out / ANSWERS).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"{out} is not an empty folder, and has no {ANSWERS} of an earlier run: give another one, or remove it"
        )


def _groups(documents: Mapping[str, str], seed: int) -> Iterator[list[str]]:
    """Ids that are shown together: a document, each once, and those that share its rarest words."""
    words = {name: set(re.findall(r"\w{4,}", text.casefold())) for name, text in documents.items()}
    holders: dict[str, list[str]] = defaultdict(list)
    for name, own in words.items():
        for word in sorted(own):
            holders[word].append(name)
    names = sorted(documents)
    for name in random.Random(f"own/{seed}").sample(names, len(names)):
        near: dict[str, float] = defaultdict(float)
        for word in sorted(words[name], key=lambda w: (len(holders[w]), w))[:20]:
            for other in holders[word][:50]:
                near[other] += 1.0 / len(holders[word])
        near.pop(name, None)
        best = sorted(near, key=lambda other: (-near[other], other))[: SHOWN - 1]
        yield [name, *best]


class _Message(BaseModel):
    content: Any


class _Choice(BaseModel):
    message: _Message


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)


async def _ask(endpoint: Endpoint, prompt: str, transport: httpx.AsyncBaseTransport | None) -> str:
    client = OpenAIClient(
        endpoint.url, endpoint.model, api_key=endpoint.api_key, timeout=endpoint.timeout, transport=transport
    )
    async with aclosing(client):
        fields = {"messages": [{"role": "user", "content": prompt}], "temperature": 0.7}
        try:
            completion = await client.post("/chat/completions", fields, _Completion)
        except BackendError as error:
            raise T1Error(f"{error}; earlier answers are kept: run the same command again") from error
    content = str(completion.choices[0].message.content)
    return content.encode(errors="replace").decode()  # half of a surrogate pair cannot be written to a file


def _checked(answers: Answers, documents: Mapping[str, str]) -> tuple[list[Example], int]:
    """The examples that can be used, each query once, and how many could not."""
    kept: dict[str, Example] = {}
    refused = 0
    for shown, answer in answers:
        for item in _items(answer):
            example = _example(item, shown, documents)
            key = " ".join(re.findall(r"\w+", example.query.casefold())) if example else ""
            if example is None or key in kept:
                refused += 1
            else:
                kept[key] = example
    return list(kept.values()), refused


def _leading(examples: Sequence[Example], ranking: Bm25, within: int) -> list[Example]:
    """The examples that have a right document among the first by the words of query and thought."""
    kept = []
    for example in examples:
        found = ranking.search(f"{example.query}\n{example.thought}", within)
        if any(document in example.positives for document in found):
            kept.append(example)
    return kept


def _items(answer: str) -> list[Any]:
    """The queries of an answer; one that holds no JSON counts as one that cannot be used."""
    match = re.search(r"\{.*\}", answer, re.DOTALL)
    try:
        items = json.loads(match[0])["queries"] if match else None
    except (ValueError, KeyError, TypeError):
        items = None
    return items if isinstance(items, list) else [None]


def _example(item: object, shown: Sequence[str], documents: Mapping[str, str]) -> Example | None:
    try:
        query = _Query.model_validate(item)
    except ValidationError:
        return None
    right = tuple(dict.fromkeys(query.positives))
    if not set(right) <= set(shown):
        return None  # it made an id up, or means a passage it was not shown
    asked = set(re.findall(r"\w{4,}", query.query.casefold()))
    there = set(re.findall(r"\w{4,}", " ".join(documents[name] for name in right).casefold()))
    if not asked or len(asked & there) > COPIED * len(asked):
        return None
    wrong = tuple(name for name in shown if name not in right)
    return Example(query.query.strip(), " ".join(query.thought.split()), right, wrong, "own")
