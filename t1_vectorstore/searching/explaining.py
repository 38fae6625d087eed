"""Explains hits: which sentences of the query and of its thought pull a hit up, and what the thought changed.

The method is to leave one sentence out. The query, with its thoughts given, is embedded again without that sentence,
and the effect of the sentence on a hit is the hit's score minus its score for that vector. This measures what the model
does, as far as one sentence decides: two sentences that say the same have little effect each. If several thoughts were
sampled, a sentence is left out of one of them, and the vector is again the mean of all. A thought of one sentence
leaves an empty thought. A query of one sentence would leave nothing to embed, so it has no effect of its own.

The search is repeated without a thought for the rank that each hit had then. The sentences of each hit are embedded as
documents and compared with the query's vector.

The cost is one forward pass for each sentence of query and thought (for each thought, if there are several), two for
the query with and without its thought, one for each sentence of each hit, and one more search. No thought is generated.
All passes of one kind are one call of the model. The method and the number of candidates are choices of this project;
T1's paper explains no hits.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from t1_vectorstore.keyword_options import set_options
from t1_vectorstore.options import VectorSearchOptions
from t1_vectorstore.searching.requests import EmbedDocuments, EmbedQueries, Find, ReadVectors, Request
from t1_vectorstore.sentences import split_sentences, without_sentence
from t1_vectorstore.types import Explanation, Hit, QueryEmbedding, Sentence, SentenceEffect, Vector, Vectors

ExplainSteps: TypeAlias = Generator[Request, Any, list[Hit]]

_KEPT = ("task", "instruction", "refine_steps", "refine")
"""Options of the query with which it is embedded again. The others are about generating thoughts."""


def explain(
    embedding: QueryEmbedding, hits: Sequence[Hit], embedded: Mapping[str, Any], searched: VectorSearchOptions
) -> ExplainSteps:
    """Yield the steps that explain some hits, and return the hits with their explanations.

    A hit has none if no vector is stored for it.

    Args:
        embedding: The query with its thoughts.
        hits: The hits of the search with its vector.
        embedded: The options with which the query was embedded.
        searched: The options of the search. Its text is the query, without the words of the thoughts.
    """
    stored: Mapping[str, Vector] = yield ReadVectors([hit.id for hit in hits])
    found = [hit for hit in hits if hit.id in stored]
    if not found:
        return list(hits)
    matrix = np.stack([stored[hit.id] for hit in found])
    options = {"truncation": "allow", **{name: value for name, value in embedded.items() if name in _KEPT}}

    # 1. The effects: the scores with everything, less those without one sentence.
    variants = _variants(embedding)
    pairs = list(dict.fromkeys(pair for variant in variants for pair in variant.pairs))
    thoughts = [thought for _, thought in pairs if thought is not None]
    thinking: dict[str, Any] = {"think": True, "thoughts": thoughts} if thoughts else {"think": False}
    answers: Sequence[QueryEmbedding] = yield EmbedQueries([query for query, _ in pairs], {**options, **thinking})
    vectors = dict(zip(pairs, (_unit(answer.vector) for answer in answers), strict=True))
    scores = [matrix @ _unit(np.mean([vectors[pair] for pair in variant.pairs], axis=0)) for variant in variants]

    # 2. The ranks without a thought.
    plain, ranked, first = scores[0], hits, searched.offset + 1
    if thoughts:
        [unthought] = yield EmbedQueries([embedding.query], {**options, "think": False})
        plain = matrix @ _unit(unthought.vector)
        everything = {"limit": searched.pool, "candidates": searched.pool, "offset": 0, "score_threshold": None}
        ranked = yield Find(unthought.vector, {**set_options(searched, VectorSearchOptions), **everything})
        first = 1
    ranks = {_ranked_id(hit, searched): rank for rank, hit in enumerate(ranked, first)}

    # 3. The best sentence of each hit.
    spans = [split_sentences(hit.text) for hit in found]
    texts = [hit.text[start:end] for hit, own in zip(found, spans, strict=True) if len(own) > 1 for start, end in own]
    similarities: Iterator[float] = iter(())
    if texts:
        passages: Vectors = yield EmbedDocuments(texts)
        similarities = iter((_units(passages) @ _unit(embedding.vector)).tolist())

    explained: dict[str, Hit] = {}
    for index, (hit, own) in enumerate(zip(found, spans, strict=True)):
        sentences = [
            Sentence(hit.text[start:end], start, end, round(next(similarities), 6))
            for start, end in (own if len(own) > 1 else ())
        ]
        effects = [
            replace(variant.left_out, effect=round(float(scores[0][index] - score[index]), 6))
            for variant, score in zip(variants[1:], scores[1:], strict=True)
            if variant.left_out
        ]
        explained[hit.id] = replace(
            hit,
            explanation=Explanation(
                score_without_thinking=round(float(plain[index]), 6),
                rank_without_thinking=ranks.get(_ranked_id(hit, searched)),
                sentences=tuple(effects),
                passage=max(sentences, key=lambda sentence: sentence.score, default=None),
            ),
        )
    return [explained.get(hit.id, hit) for hit in hits]


@dataclass(frozen=True, slots=True)
class _Variant:
    """The query with its thoughts, of which one sentence may be left out.

    Attributes:
        pairs: The query with each thought, or alone.
        left_out: The sentence, with no effect yet; ``None`` if everything is there.
    """

    pairs: Sequence[tuple[str, str | None]]
    left_out: SentenceEffect | None


def _variants(embedding: QueryEmbedding) -> list[_Variant]:
    """Return the query as it is, then without each of its sentences, then without each sentence of each thought."""
    query = embedding.query
    thoughts: list[str | None] = [thought.text for thought in embedding.thoughts] or [None]
    variants = [_Variant([(query, thought) for thought in thoughts], None)]
    spans = split_sentences(query)
    for start, end in spans if len(spans) > 1 else ():
        rest = without_sentence(query, start, end)
        effect = SentenceEffect("query", query[start:end], start, end, 0.0)
        variants.append(_Variant([(rest, thought) for thought in thoughts], effect))
    for index, thought in enumerate(thoughts):
        for start, end in split_sentences(thought or ""):
            assert thought is not None
            rest = without_sentence(thought, start, end)
            others = [*thoughts[:index], rest, *thoughts[index + 1 :]]
            effect = SentenceEffect("thought", thought[start:end], start, end, 0.0, index)
            variants.append(_Variant([(query, each) for each in others], effect))
    return variants


def _ranked_id(hit: Hit, searched: VectorSearchOptions) -> str:
    """Return what is ranked: a point, or with ``group`` a document, of which another chunk may be the best."""
    return hit.document_id if searched.group else hit.id


def _unit(vector: Vector) -> Vector:
    unit: Vector = _units(vector[None])[0]
    return unit


def _units(vectors: Vectors) -> Vectors:
    """Scale rows to length 1; a checkpoint need not do so."""
    units: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return units
