"""A model taken apart, to embed queries with thoughts that it did not think itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from t1_vectorstore.backends import Backend, load_transformers
from t1_vectorstore.checkpoint import Checkpoint
from t1_vectorstore.embedder import T1Embedder
from t1_vectorstore.pooling import to_vectors
from t1_vectorstore.prompts import Prompter
from t1_vectorstore.types import Vectors


@dataclass(frozen=True)
class Probe:
    """An embedder and the parts it is made of."""

    embedder: T1Embedder
    prompter: Prompter
    backend: Backend

    @classmethod
    def load(cls, model: str, *, dtype: str = "auto") -> Probe:
        """Load a bundled model, a folder or a hub id, as :meth:`T1Embedder.load` does; it raises the same."""
        checkpoint = Checkpoint.load(model)
        prompter = Prompter.load(checkpoint)
        identity = checkpoint.identity
        backend = load_transformers(checkpoint, emb_id=prompter.emb_id, stop_ids=prompter.stop_ids, dtype=dtype)
        embedder = T1Embedder(prompter, backend, identity, max_positions=checkpoint.max_positions)
        return cls(embedder, prompter, backend)

    def embed_given(self, queries: Sequence[str], thoughts: Sequence[str]) -> Vectors:
        """Embed each query as if it had been thought about with the given words.

        Returns:
            (n, dimension) vectors, in the order of the queries.

        Raises:
            ValueError: There are not as many thoughts as queries.
        """
        prompts = self.prompter.queries(queries, think=True)
        rows = [
            [*prompt.ids, *self.prompter.thought_ids(thought)]
            for prompt, thought in zip(prompts, thoughts, strict=True)
        ]
        return to_vectors(self.backend.encode(rows), self.prompter.spec)

    def as_thought(self, text: str) -> str:
        """Return the text as the model would write it: through the tokenizer and back, so case and accents are its."""
        return self.prompter.thought_text(self.prompter.thought_ids(text))
