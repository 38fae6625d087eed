"""What the service refuses beyond what the library does: its limits, and mistakes in OpenAI's interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.filters import compile_filter
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.options import MAX_CANDIDATES, SearchOptions
from t1_vectorstore.server.errors import Refused
from t1_vectorstore.server.options import ServiceOptions
from t1_vectorstore.server.requests import THINKING_FIELDS, EmbeddingsBody
from t1_vectorstore.types import Role

_CHOOSE_ROLE = (
    "T1 embeds queries and documents in different ways: give input_type 'query' or 'document', or the model name "
    "'{name}:query' or '{name}:document'"
)
_UNKNOWN_TOKENS = (
    "input has token ids, and it is not known which tokenizer made them: send texts instead (LangChain's "
    "OpenAIEmbeddings: check_embedding_ctx_length=False), or, if they are of this model's tokenizer, add "
    "tokenizer={name!r}"
)


def check_samples(samples: int | None, options: ServiceOptions) -> None:
    """Refuse more thoughts than the service generates for one query."""
    if samples is not None and samples > options.max_samples:
        message = f"samples={samples} is more than this service generates, {options.max_samples}"
        raise Refused(400, message, code="too_many", param="samples")


def check_search(search: SearchOptions, options: ServiceOptions) -> None:
    """Refuse searches that are larger than the service answers."""
    check_samples(search.samples, options)
    if search.explain and search.limit > options.max_explained:
        message = f"limit={search.limit} is more hits than this service explains, {options.max_explained}"
        raise Refused(400, message, code="too_many", param="limit")
    if search.candidates is not None and search.candidates > MAX_CANDIDATES:
        message = f"candidates={search.candidates} is more than this service ranks, {MAX_CANDIDATES}"
        raise Refused(400, message, code="too_many", param="candidates")
    if search.limit + search.offset > options.max_hits:
        message = (
            f"limit + offset = {search.limit + search.offset} is more than this service returns, {options.max_hits}"
        )
        raise Refused(400, message, code="too_many", param="limit")


def check_filter(filter: Mapping[str, Any] | None, collection: Collection) -> None:
    """Refuse a filter that no collection understands, and name the field of the request."""
    try:
        compile_filter(filter, collection.metadata_key)
    except (ValueError, TypeError) as error:
        raise Refused(400, str(error), code="invalid_value", param="filter") from error


def check_count(number: int, most: int, param: str) -> None:
    """Refuse an empty list, and one that is too long for a request."""
    if not number:
        raise Refused(400, f"{param} is empty", code="invalid_value", param=param)
    if number > most:
        message = f"{number} {param}, and one request may have {most}; send several requests"
        raise Refused(400, message, code="too_many", param=param)


def find_role(body: EmbeddingsBody, named: Role | None, name: str) -> Role:
    """Return the role of the texts, which the body or the model's name must say.

    Raises:
        Refused: Neither says it, they contradict each other, or documents have options of queries.
    """
    role = body.input_type or named
    if role is None:
        raise Refused(400, _CHOOSE_ROLE.format(name=name), code="role_missing", param="input_type")
    if named is not None and named != role:
        message = f"input_type is {role!r} and the model's name ends with ':{named}'; leave one of them out"
        raise Refused(400, message, code="role_conflict", param="input_type")
    if role == "document":
        for field in THINKING_FIELDS:
            if getattr(body, field) is not None:
                message = f"{field} is for queries, and these are documents, which the model does not think about"
                raise Refused(400, message, code="invalid_value", param=field)
    return role


def to_texts(given: list[str] | list[list[int]], tokenizer: str | None, name: str, embedder: T1Embedder) -> list[str]:
    """Return texts as they are, and token ids as the texts that they stand for.

    Raises:
        Refused: Token ids of an unknown or another tokenizer.
        ValueError: Ids that are not tokens of the model, or do not stand for a text.
    """
    texts = [item for item in given if isinstance(item, str)]
    if texts:
        return texts
    if tokenizer is None:
        raise Refused(400, _UNKNOWN_TOKENS.format(name=name), code="tokenizer_unknown", param="input")
    if tokenizer != name:
        message = f"the token ids are of {tokenizer!r:.100}, and this model is {name!r}; send texts instead"
        raise Refused(400, message, code="tokenizer_mismatch", param="tokenizer")
    return [embedder.text_of(ids) for ids in given if isinstance(ids, list)]


def check_dimensions(dimensions: int | None, embedder: T1Embedder) -> None:
    """Refuse lengths of vectors that the checkpoint was not trained for.

    Raises:
        Refused: Any other length than the model's, or those that its specification lists.
    """
    allowed = sorted({*embedder.spec.matryoshka_dims, embedder.dimension})
    if dimensions is not None and dimensions not in allowed:
        lengths = ", ".join(map(str, allowed))
        message = f"dimensions={dimensions}, and the vectors of {embedder.identity.model!r} may have {lengths}"
        raise Refused(400, message, code="dimensions_unsupported", param="dimensions")
