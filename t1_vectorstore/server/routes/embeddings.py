"""``/v1/embeddings``, OpenAI's interface with a role and the thinking options, and ``/v1/rerank``."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.iteration import batched
from t1_vectorstore.keyword_options import set_options
from t1_vectorstore.options import EmbedQueriesOptions, EmbedQueryOptions
from t1_vectorstore.server.access import Reader
from t1_vectorstore.server.answers import EmbeddingsAnswer, RerankAnswer
from t1_vectorstore.server.checks import check_count, check_dimensions, check_samples, find_role, to_texts
from t1_vectorstore.server.requests import EmbeddingsBody, RerankBody, read_input
from t1_vectorstore.types import DocumentEmbeddings, QueryEmbedding, Truncated, Truncation, Vectors

router = APIRouter(tags=["model"])

_PART = 256
"""Number of documents after which it is looked whether the client is still there."""


@router.post("/v1/embeddings", response_model=EmbeddingsAnswer)
async def embeddings(request: Request, body: EmbeddingsBody, access: Reader) -> JSONResponse:
    """Embed texts as queries, with thoughts, or as documents."""
    service = access.service
    name, embedder, named_role = access.model(body.model)
    role = find_role(body, named_role, name)
    texts = to_texts(read_input(body.input, service.options.max_inputs), body.tokenizer, name, embedder)
    check_dimensions(body.dimensions, embedder)
    access.note(role=role, texts=len(texts))
    truncated: Sequence[Truncated]
    began = time.time_ns()
    if role == "query":
        check_samples(body.samples, service.options)
        options = set_options(body, EmbedQueriesOptions)
        found = await service.work.run(request, service.queries, lambda: embedder.aembed_queries(texts, **options))
        thoughts = [thought for query in found for thought in query.thoughts]
        service.spans.add_embedding(thoughts, began, found[0].seconds)
        tokens = await asyncio.to_thread(embedder.query_tokens, texts)
        service.metrics.count_queries(tokens, thoughts, cached=sum(query.cached for query in found))
        thought_tokens = sum(thought.tokens for thought in thoughts)
        vectors = np.stack([query.vector for query in found])
        truncated = [query.truncated for query in found if query.truncated]
        extra = [{"thoughts": [asdict(thought) for thought in query.thoughts]} for query in found]
    else:
        embedded = await service.work.run(
            request,
            service.documents,
            lambda: service.documents.in_thread(lambda gone: _embed(embedder, texts, body.truncation, gone)),
        )
        service.spans.add_documents(embedded, began)
        service.metrics.tokens.labels("document").inc(embedded.tokens)
        vectors, tokens, truncated = embedded.vectors, embedded.tokens, embedded.truncated
        thought_tokens, extra = 0, [{} for _ in texts]
    access.note(tokens=tokens, thought_tokens=thought_tokens)
    vectors = _shortened(vectors, body.dimensions, normalize=embedder.spec.normalize)

    def render() -> JSONResponse:
        encoded = zip(_encoded(vectors, body.encoding_format), extra, strict=True)
        return JSONResponse(
            {
                "object": "list",
                "data": [
                    {"object": "embedding", "index": index, "embedding": each, **more}
                    for index, (each, more) in enumerate(encoded)
                ],
                "model": body.model or name,
                "usage": _usage(tokens, thought_tokens),
                "truncated": [asdict(cut) for cut in truncated],
            }
        )

    return await asyncio.to_thread(render)  # a million numbers take half a second


@router.post("/v1/rerank", response_model=RerankAnswer)
async def rerank(request: Request, body: RerankBody, access: Reader) -> JSONResponse:
    """Rank texts by the cosine similarity of their vectors to the query's."""
    service = access.service
    name, embedder, _ = access.model(body.model)
    check_count(len(body.documents), service.options.max_inputs, "documents")
    check_samples(body.samples, service.options)
    options = set_options(body, EmbedQueryOptions)
    access.note(texts=len(body.documents))
    access.note_text(query=body.query)

    async def score() -> tuple[QueryEmbedding, DocumentEmbeddings]:
        query = await embedder.aembed_query(body.query, **options)
        documents = await service.queries.in_thread(
            lambda gone: _embed(embedder, body.documents, body.truncation, gone)
        )
        return query, documents

    began = time.time_ns()
    query, documents = await service.work.run(request, service.queries, score)
    service.spans.add_documents(documents, service.spans.add_embedding(query.thoughts, began, query.seconds))
    scores = documents.vectors @ query.vector
    best = np.argsort(-scores, kind="stable")[: body.top_n]
    query_tokens = embedder.query_tokens([body.query])
    tokens = documents.tokens + query_tokens
    thought_tokens = sum(thought.tokens for thought in query.thoughts)
    service.metrics.count_queries(query_tokens, query.thoughts, cached=query.cached)
    service.metrics.tokens.labels("document").inc(documents.tokens)
    results = [
        {
            "index": index,
            "relevance_score": round(float(scores[index]), 6),
            **({"document": {"text": body.documents[index]}} if body.return_documents else {}),
        }
        for index in best.tolist()
    ]
    return JSONResponse(
        {
            "results": results,
            "thoughts": [asdict(thought) for thought in query.thoughts],
            "model": name,
            "usage": _usage(tokens, thought_tokens),
        }
    )


def _embed(
    embedder: T1Embedder, texts: Sequence[str], truncation: Truncation | None, unneeded: threading.Event
) -> DocumentEmbeddings:
    """Embed documents part by part, until the client has left. A text has the same vector in every part."""
    parts: list[DocumentEmbeddings] = []
    truncated: list[Truncated] = []
    for number, part in enumerate(batched(texts, _PART)):
        if unneeded.is_set():
            break
        done = embedder.embed_documents(part, truncation=truncation)
        parts.append(done)
        truncated += [
            Truncated(number * _PART + cut.index, cut.dropped_tokens, cut.total_tokens) for cut in done.truncated
        ]
    return DocumentEmbeddings(
        np.concatenate([part.vectors for part in parts]),
        sum(part.tokens for part in parts),
        sum(part.seconds for part in parts),
        truncated,
    )


def _shortened(vectors: Vectors, dimensions: int | None, *, normalize: bool) -> Vectors:
    """Keep the first dimensions (Matryoshka), and scale the rest to length 1 again if the checkpoint does."""
    if dimensions is None or dimensions == vectors.shape[1]:
        return vectors
    kept = vectors[:, :dimensions]
    return kept / np.linalg.norm(kept, axis=1, keepdims=True) if normalize else kept


def _encoded(vectors: Vectors, form: Literal["float", "base64"]) -> list[Any]:
    if form == "float":
        return [vector.tolist() for vector in vectors]
    return [base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii") for vector in vectors]


def _usage(tokens: int, thought_tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "thought_tokens": thought_tokens, "total_tokens": tokens + thought_tokens}
