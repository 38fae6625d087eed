"""Training data from a user's own documents, written by a chat model behind an OpenAI-compatible endpoint.

Each call shows the model a few passages: a document, and others that share its rarest words. The model writes queries
that need several of them, the chain of thought to the answer, and the passage that answers. Unusable queries are
dropped: unknown ids, wrong lengths, copies of their document, repeated queries, and thoughts that do not lead to the
document.

Every answer is appended to ``answers.jsonl`` as soon as it arrives, so an interrupted run continues without paying for
a call twice. All answers in the file count against the budget, also those for another seed or for documents that were
changed or removed.
"""

from __future__ import annotations

import asyncio
import hashlib
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
from threading import Lock
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from t1_vectorstore.backends.remote.http_client import OpenAIClient
from t1_vectorstore.errors import BackendError, CorpusError, T1Error
from t1_vectorstore.evaluation.baselines import Bm25
from t1_vectorstore.readers import read
from t1_vectorstore.training.examples import Example, write_data
from t1_vectorstore.types import Document

ANSWERS_FILE = "answers.jsonl"
PASSAGES = 4
"""Number of passages in a call."""
MAX_PASSAGE_LENGTH = 1500
"""Length of a passage in characters; longer documents are truncated."""
MAX_COPIED = 0.6
"""Maximum share of a query's words that its document may contain. BM25 would find the document of a copied query."""
FOUND_WITHIN = 10
"""A thought is kept if BM25, searching for query and thought, has a relevant document among this many hits. Ours."""
MISLEADING = "dropped: thought does not find its document"
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
    """A chat model on an OpenAI-compatible server.

    Attributes:
        url: Base URL, with ``/v1``.
        model: Name of the chat model on the server.
        api_key: API key of the server, if it needs one.
        timeout: Seconds to wait for an answer.
    """

    url: str
    model: str
    api_key: str | None = None
    timeout: float = 120.0


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
    """Write training data from documents.

    Args:
        source: Documents: a folder, or a file of records, as for ``t1 index``.
        out: Folder to write: empty, or with the answers of an earlier run, which are used.
        endpoint: Chat model.
        calls: Maximum number of answers in ``out``; answers of earlier runs count, whatever their seed or documents.
        queries: Number of queries to request in a call.
        at_once: Number of concurrent calls.
        found_within: Keep a thought only if BM25 over all documents, searching for query and thought, has a relevant
            document among this many hits; 0 keeps all.
        seed: Seed of the choice of passages.
        transport: HTTP transport, for tests.

    Returns:
        Number of documents and examples written, as from ``write_data``; also the number of unusable queries
        (``refused``), of queries whose thought does not lead to the document (``MISLEADING``), and of answers about
        documents that ``source`` no longer has, or has with another text (``STALE``).

    Raises:
        ValueError: ``found_within`` is negative; or ``out`` contains ``source``, or files but no answers.
        MissingExtraError: ``found_within`` needs BM25, which is not installed.
        CorpusError: The documents cannot be read, or there are fewer than two.
        T1Error: The endpoint does not answer, or none of its queries is usable.
    """
    if found_within < 0:
        raise ValueError(f"found_within must be a number of hits, or 0 to keep every thought; got {found_within}")
    _check_folder(out, source)
    documents = {str(d.id or f"document-{n}"): d.text for n, d in enumerate(read(source)) if d.text.strip()}
    if len(documents) < 2:
        raise CorpusError(f"{source} has {len(documents)} documents: chains need at least two")
    ranking = Bm25(Document(text, id=name) for name, text in documents.items()) if found_within else None
    out.mkdir(parents=True, exist_ok=True)

    # 1. Ask about groups of passages that have no answer yet, until the budget is spent.
    passages = {name: text[:MAX_PASSAGE_LENGTH] for name, text in documents.items()}
    answers = AnswerLog(out / ANSWERS_FILE, passages)
    unanswered = (group for group in _passage_groups(documents, seed) if group not in answers)
    with ThreadPoolExecutor(at_once) as pool:

        def ask(group: Sequence[str]) -> None:
            shown = "\n\n".join(f"[{name}] {passages[name]}" for name in group)
            prompt = PROMPT.format(count=len(group), passages=shown, queries=queries)
            answers.add(group, asyncio.run(_ask(endpoint, prompt, transport)))

        while groups := list(islice(unanswered, max(0, min(at_once, calls - len(answers))))):
            list(pool.map(ask, groups))  # raises the first failure; leaving the pool waits for the other calls

    # 2. Keep the usable queries whose thought leads to a relevant document.
    usable, refused = _parse_answers(answers, documents)
    examples = [
        e
        for e in usable
        if ranking is None or not set(e.positives).isdisjoint(ranking.search(f"{e.query}\n{e.thought}", found_within))
    ]
    misleading = len(usable) - len(examples)
    if not examples:
        hints = [f"see {answers.file}"]
        if misleading:
            hints.append(
                f"the thoughts of {misleading} do not find their documents, and found_within=0 would keep them"
            )
        if answers.stale:
            hints.append(
                f"{answers.stale} more answers are about documents that {source} no longer has, or has with another "
                "text, and count against calls"
            )
        raise T1Error(f"none of the {refused + misleading} queries by {endpoint.model} is usable: {'; '.join(hints)}")
    dev = examples[::DEV_ONE_IN]
    train = [example for number, example in enumerate(examples) if number % DEV_ONE_IN] or dev
    counts = write_data(out, documents, {"train": train, "dev": dev})
    return counts | {"refused": refused, MISLEADING: misleading, STALE: answers.stale}


def _check_folder(out: Path, source: Path) -> None:
    """Refuse a folder whose files would be overwritten, or read as splits of the new data."""
    if any(path.is_relative_to(out.resolve()) for path in (source.resolve(), source.parent.resolve() / source.name)):
        raise ValueError(f"{out} contains the documents {source}, which would be overwritten: choose another folder")
    if out.exists() and not (out / ANSWERS_FILE).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"{out} is not an empty folder and has no {ANSWERS_FILE} of an earlier run: choose another, or remove it"
        )


def _passage_groups(documents: Mapping[str, str], seed: int) -> Iterator[list[str]]:
    """Yield ids to show together: every document once, with those that share its rarest words."""
    words = {name: set(re.findall(r"\w{4,}", text.casefold())) for name, text in documents.items()}
    documents_of: dict[str, list[str]] = defaultdict(list)
    for name, own in words.items():
        for word in sorted(own):
            documents_of[word].append(name)
    names = sorted(documents)
    for name in random.Random(f"own/{seed}").sample(names, len(names)):
        similarity: dict[str, float] = defaultdict(float)
        for word in sorted(words[name], key=lambda w: (len(documents_of[w]), w))[:20]:
            for other in documents_of[word][:50]:
                similarity[other] += 1.0 / len(documents_of[word])
        similarity.pop(name, None)
        yield [name, *sorted(similarity, key=lambda other: (-similarity[other], other))[: PASSAGES - 1]]


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


class _Answer(BaseModel):
    """A line of ``answers.jsonl``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    shown: list[str]
    answer: str
    digest: str | None = None
    """Digest of the passages. Answers of older versions have none; they are taken to be about the current text."""


class AnswerLog:
    """A chat model's answers by the ids of the passages they were shown, in the order of arrival, kept in a file.

    Attributes:
        file: File with one answer per line.
        stale: Number of answers about passages that were changed or removed.
    """

    def __init__(self, file: Path, passages: Mapping[str, str]) -> None:
        """Read the answers of earlier runs about ``passages``; an incomplete last line is removed.

        Raises:
            CorpusError: Another line is not an answer.
        """
        self.file = file
        self._passages = passages
        answers = _read_answers(file)
        current = [answer for answer in answers if self._is_current(answer)]
        self._answers = {tuple(answer.shown): answer.answer for answer in current}
        self.stale = len(answers) - len(current)
        self._lock = Lock()

    def __len__(self) -> int:
        """Return the number of answers of all runs, stale ones included."""
        return len(self._answers) + self.stale

    def __contains__(self, shown: Sequence[str]) -> bool:
        """Return whether there is an answer about these passages, in this order, with their current texts."""
        return tuple(shown) in self._answers

    def __iter__(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield the ids of the passages and the answer, for every answer that is not stale."""
        return iter(self._answers.items())

    def add(self, shown: Sequence[str], answer: str) -> None:
        """Append an answer. The thread that received it calls this, so a failure elsewhere cannot lose it."""
        record = {"shown": list(shown), "answer": answer, "digest": self._digest(shown)}
        line = json.dumps(record, ensure_ascii=False) + "\n"
        with self._lock:
            with self.file.open("ab") as file:
                file.write(line.encode())
            self._answers[tuple(shown)] = answer

    def _is_current(self, answer: _Answer) -> bool:
        known = self._passages.keys() >= set(answer.shown)
        return known and answer.digest in (None, self._digest(answer.shown))

    def _digest(self, shown: Sequence[str]) -> str:
        texts = [self._passages[name] for name in shown]
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


def _read_answers(file: Path) -> list[_Answer]:
    data = file.read_bytes() if file.is_file() else b""
    *lines, last = data.split(b"\n")  # not splitlines(): an answer may contain other line ends of Unicode
    answers = []
    for number, line in enumerate(lines, 1):
        answer = _parse_line(line)
        if answer is None:
            raise CorpusError(f"{file}:{number}: not an answer of an earlier run: remove the line")
        answers.append(answer)
    if answer := _parse_line(last):  # complete, but an editor removed its line end
        answers.append(answer)
        with file.open("ab") as end:
            end.write(b"\n")
    elif last:  # a killed run wrote a part of it
        with file.open("r+b") as end:
            end.truncate(len(data) - len(last))
    return answers


def _parse_line(line: bytes) -> _Answer | None:
    try:
        return _Answer.model_validate_json(line)
    except ValidationError:
        return None


class _Query(BaseModel):
    """A query in an answer."""

    model_config = ConfigDict(extra="ignore", strict=True)

    query: str = Field(min_length=8, max_length=400)
    thought: str = Field(min_length=4, max_length=1200)
    positives: list[str] = Field(min_length=1)


def _parse_answers(answers: AnswerLog, documents: Mapping[str, str]) -> tuple[list[Example], int]:
    """Return the usable examples, without repeated queries, and the number of the others."""
    kept: dict[str, Example] = {}
    refused = 0
    for shown, answer in answers:
        for item in _queries(answer):
            example = _make_example(item, shown, documents)
            key = " ".join(re.findall(r"\w+", example.query.casefold())) if example else ""
            if example is None or key in kept:
                refused += 1
            else:
                kept[key] = example
    return list(kept.values()), refused


def _queries(answer: str) -> list[Any]:
    """Return the queries in an answer; an answer without valid JSON counts as one unusable query."""
    match = re.search(r"\{.*\}", answer, re.DOTALL)
    try:
        items = json.loads(match[0])["queries"] if match else None
    except (ValueError, KeyError, TypeError):
        items = None
    return items if isinstance(items, list) else [None]


def _make_example(item: object, shown: Sequence[str], documents: Mapping[str, str]) -> Example | None:
    try:
        query = _Query.model_validate(item)
    except ValidationError:
        return None
    positives = tuple(dict.fromkeys(query.positives))
    if not set(positives) <= set(shown):
        return None  # the model invented an id, or refers to a passage that it was not shown
    words = set(re.findall(r"\w{4,}", query.query.casefold()))
    copied = words & set(re.findall(r"\w{4,}", " ".join(documents[name] for name in positives).casefold()))
    if not words or len(copied) > MAX_COPIED * len(words):
        return None
    negatives = tuple(name for name in shown if name not in positives)
    return Example(query.query.strip(), " ".join(query.thought.split()), positives, negatives, "own")
