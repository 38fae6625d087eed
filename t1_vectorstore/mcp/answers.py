"""What the tools return. The field descriptions are part of the tools' output schemas, which agents read."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FoundPassage(_Answer):
    """One search result."""

    id: str = Field(description="Id of the passage; the tool 'get' takes it.")
    document_id: str = Field(description="Id of the passage's document.")
    score: float = Field(description="Cosine similarity to the query, between -1 and 1; higher is closer.")
    text: str = Field(description="Text of the passage.")
    left_out_characters: int = Field(
        default=0, description="Number of characters at the end of the passage that 'text' leaves out; 'get' has all."
    )
    metadata: dict[str, Any] = Field(description="Metadata of the passage's document.")


class SearchAnswer(_Answer):
    """Search results, best first."""

    index: str = Field(description="Name of the index that was searched.")
    passages: list[FoundPassage] = Field(description="The passages, best first.")
    thoughts: list[str] | None = Field(
        default=None, description="The thoughts of the model about the query, if they were asked for."
    )
    warnings: list[str] = Field(default_factory=list, description="Why the filter may have found nothing.")


class StoredPassage(_Answer):
    """A stored passage, whole."""

    id: str
    document_id: str
    text: str
    start: int = Field(description="Offset of the passage's first character in its document.")
    metadata: dict[str, Any]


class GetAnswer(_Answer):
    """Stored passages by id."""

    passages: list[StoredPassage] = Field(description="The passages; those of one document in their order.")
    missing: list[str] = Field(description="Ids under which nothing is stored.")


class IndexDescription(_Answer):
    """A searchable index."""

    name: str = Field(description="Name to pass as 'index' to the other tools.")
    passages: int = Field(description="Number of stored passages.")
    model: str = Field(description="Name of the embedding model.")
    thinks: bool = Field(description="Whether the model thinks about a query before it searches.")
    by_words: bool = Field(description="Whether searches use the words of the query beside its meaning.")
    writable: bool = Field(description="Whether the tool 'upsert' can write to it.")
    metadata_examples: dict[str, Any] = Field(
        description="Metadata keys of some stored passages, each with an example value, for filters."
    )


class IndexList(_Answer):
    """The searchable indexes."""

    indexes: list[IndexDescription]


class NewDocument(_Answer):
    """A document to store."""

    text: str = Field(description="Text of the document; long texts are cut into passages.")
    id: str | None = Field(
        default=None,
        description="Id of the document. A document with the same id is replaced. Default: a hash of the text.",
    )
    metadata: dict[str, Any] = Field(default_factory=dict, description="JSON values, by which searches can filter.")


class RefusedDocument(_Answer):
    """A document that was not stored."""

    id: str | None
    reason: str


class UpsertAnswer(_Answer):
    """Result of an upsert."""

    passages_written: int = Field(description="Number of passages that were written and read back.")
    passages_unchanged: int = Field(description="Number of passages that were stored already.")
    refused: list[RefusedDocument] = Field(description="Documents that were not stored, with the reason.")
