"""Specifications of published checkpoints that come without a ``t1_config.json``.

``unverified`` lists the fields whose values are this project's, because no source on the checkpoint states them.
"""

from __future__ import annotations

from t1_vectorstore.checkpoints.spec import CheckpointSpec, Decoding, Message

_UNVERIFIED = (
    "emb_source",
    "thought_end",
    "query_prompt",
    "query_prompt_no_think",
    "document_prompt",
    "query_instruction",
    "document_instruction",
    "normalize",
    "max_query_tokens",
    "max_document_tokens",
    "decoding",
)


def _thinking(max_document_tokens: int) -> CheckpointSpec:
    """Return the specification of a T1 on a Qwen chat model.

    Its paper (arXiv:2603.17387) states the two paths, the emb token and the last layer; prompts, limits and decoding
    are this project's.
    """
    return CheckpointSpec(
        emb_source="generated",
        thought_end=("<|im_end|>", "<|endoftext|>"),
        query_prompt=(
            Message(role="system", content="{instruction}"),
            Message(role="user", content="{text}"),
        ),
        document_prompt="{instruction}{text}",
        query_instruction=(
            "Think step by step about what the question needs, then state what a passage that answers it would say."
        ),
        max_query_tokens=2048,
        max_document_tokens=max_document_tokens,
        decoding=Decoding(max_tokens=512),
        unverified=_UNVERIFIED,
    )


_QWEN3_EMBEDDING = CheckpointSpec(
    # Model card of Qwen3-Embedding: instructions for queries only, last-token pooling at the end-of-text token.
    emb_token="<|endoftext|>",
    thinks=False,
    query_prompt="Instruct: {instruction}\nQuery:{text}",
    document_prompt="{text}",
    query_instruction="Given a web search query, retrieve relevant passages that answer the query",
    max_query_tokens=8192,
    max_document_tokens=8192,
)

PRESETS: dict[str, CheckpointSpec] = {
    "ForwardAILabs/MRE-T1": _thinking(max_document_tokens=8192),
    "CITech/CRE-T1-SFT-preview-1202": _thinking(max_document_tokens=8000),
    "Qwen/Qwen3-Embedding-0.6B": _QWEN3_EMBEDDING,
    "Qwen/Qwen3-Embedding-4B": _QWEN3_EMBEDDING,
    "Qwen/Qwen3-Embedding-8B": _QWEN3_EMBEDDING,
}
