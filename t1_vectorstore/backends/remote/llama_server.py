"""What llama.cpp's server (``llama-server``) is asked for, and whether it has the checkpoint's model.

It takes token ids as prompts, and returns those that it generates, but ends a thought in its own way: at each token
that its file marks as an end, and where the text of a stop string appears. So a thought is continued with a further
request until one of the checkpoint's stop tokens ends it; the server still has what came before in its cache. In a
stream the server leaves out the first tokens of a character that takes several, so a thought that must arrive token by
token is requested token by token. So is a sampled thought, which would else depend on whether it is streamed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel

from t1_vectorstore.backends.remote.embeddings import embed
from t1_vectorstore.backends.remote.http_client import OpenAIClient
from t1_vectorstore.backends.vllm.event_loop import map_concurrently
from t1_vectorstore.backends.vllm.generation import ThoughtRequest
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.gguf import GGUFFile
from t1_vectorstore.errors import BackendError
from t1_vectorstore.types import Vectors

REMEDIES = {
    400: "does the server have the checkpoint that was named here, and was it started with --pooling last?",
    404: "is this the base URL of a llama-server (without /v1)?",
    500: "if its context was exceeded: start it with --parallel N and --ctx-size N times the longest prompt, so that "
    "the N requests that it processes at a time do not share one context",
    501: "start it with --embeddings --pooling last if it is for embed_url, and without --embeddings if it is for "
    "generate_url; newer versions do both with these flags",
}
"""Advice for error messages, by status code."""

_UNQUANTISED = ("F32", "F16", "BF16")
_PROBE_LENGTH = 128
"""Length in tokens of the two prompts that show how a server pools."""
_SAME_VECTOR = 0.05
"""Two such prompts that differ only at their ends have vectors whose distance is at most 2 / 128 of their length if the
server averages, and none if it takes the first token's state. A bound of this project."""


class _Tokens(BaseModel):
    tokens: list[int]


class _Settings(BaseModel):
    n_ctx: int | None = None


class _Properties(BaseModel):
    default_generation_settings: _Settings = _Settings()
    total_slots: int | None = None


class _Completion(BaseModel):
    tokens: list[int] = []
    truncated: bool = False


class LlamaServer:
    """A ``ModelServer`` of llama.cpp."""

    def __init__(self, client: OpenAIClient, checkpoint: Checkpoint, stop_ids: Sequence[int]) -> None:
        self._client, self._checkpoint, self._stop_ids = client, checkpoint, list(stop_ids)
        self._stop_texts = [checkpoint.spec.emb_token, *checkpoint.spec.thought_end]
        self.slots: int | None = None

    async def check_generator(self) -> int | None:
        """See ``ModelServer.check_generator``. A token is generated, since an old server may not return its id."""
        limit = await self._check_model()
        answer = await self._complete([self._stop_ids[0]], n_predict=1, temperature=0.0)
        if not answer.tokens:
            raise BackendError(
                f"{self._client.url} returns no token ids (return_tokens), as llama.cpp's server does since the end "
                "of 2024; update it"
            )
        return limit

    async def check_pooler(self) -> int | None:
        """See ``ModelServer.check_pooler``. Also checks that it pools by the last token, which it does not state."""
        limit = await self._check_model()
        emb_id = self._stop_ids[0]
        other = 0 if emb_id else 1
        length = min(filter(None, (limit, self._checkpoint.max_positions, _PROBE_LENGTH)))
        start = [other] * (length - 1)
        one, another = await self.embed([[*start, emb_id], [*start, other]])
        if np.linalg.norm(one - another) < _SAME_VECTOR * np.linalg.norm(one):
            raise BackendError(
                f"{self._client.url} does not pool by the last token: the end of a prompt hardly changes its vector; "
                "start it with --embeddings --pooling last"
            )
        return limit

    async def embed(self, prompts: Sequence[Sequence[int]]) -> Vectors:
        """See ``ModelServer.embed``."""
        content = [list(prompt) for prompt in prompts]
        return await embed(self._client, self._checkpoint, content, {"embd_normalize": -1})

    async def generate(self, request: ThoughtRequest) -> AsyncIterator[tuple[int, Sequence[int]]]:
        """See ``ModelServer.generate``. Each sample is a request of its own, and continued if it did not end."""
        unfinished: dict[int, list[int]] = {sample: [] for sample in range(request.samples)}
        while unfinished:
            new_tokens = await map_concurrently(
                lambda sample: self._continue(request, sample, unfinished[sample]), list(unfinished), request.samples
            )
            for sample, new in zip(list(unfinished), new_tokens, strict=True):
                thought = unfinished[sample]
                thought += new
                if thought[-1] in self._stop_ids or len(thought) > request.decoding.max_tokens:
                    del unfinished[sample]
                yield sample, new

    async def _continue(self, request: ThoughtRequest, sample: int, thought: Sequence[int]) -> list[int]:
        """Generate the next tokens of a thought: one, or those up to its end as the server sees it."""
        decoding = request.decoding
        one_by_one = request.streamed or request.seed is not None
        sampling: dict[str, Any] = {}
        if request.seed is not None:
            # The server starts its random numbers again for each request, so each token has a seed of its own.
            sampling = {
                "seed": hash((request.seed + sample, len(thought))) % (2**32 - 1),
                "top_k": decoding.top_k,
                "top_p": decoding.top_p,
                "samplers": ["temperature", "top_k", "top_p"],  # in the order of this package's own sampling
            }
        answer = await self._complete(
            [*request.prompt, *thought],
            n_predict=1 if one_by_one else decoding.max_tokens + 1 - len(thought),
            temperature=decoding.temperature,
            **sampling,
        )
        if answer.truncated or not answer.tokens:
            raise BackendError(
                f"{self._client.url} stopped after {len(thought) + len(answer.tokens)} tokens of a thought, with a "
                f"budget of {decoding.max_tokens}: its context is full; start it with a larger --ctx-size"
            )
        return answer.tokens

    async def _complete(self, prompt: list[int], **fields: Any) -> _Completion:  # noqa: ANN401 - fields of the request
        fields = {
            "prompt": prompt,
            "samplers": ["temperature"],  # without penalties, whatever the server's own defaults are
            "mirostat": 0,
            "logit_bias": [],
            "stop": self._stop_texts,
            "preserved_tokens": self._stop_texts,  # else the texts of special tokens are not searched
            "return_tokens": True,
            "cache_prompt": True,
            "response_fields": ["tokens", "truncated"],
            **fields,
        }
        return await self._client.post("/completion", fields, _Completion)

    async def _check_model(self) -> int | None:
        """Check tokenizer and weights as far as they can be seen, and return the longest prompt that is accepted."""
        name, url, facts = self._checkpoint.name, self._client.url, self._client.facts
        if facts.vocab_type == 0:  # the server would crash at the first question about tokens
            raise BackendError(
                f"{url} has a file without a tokenizer of llama.cpp's, which its server needs to stop at "
                f"{self._stop_texts[0]!r}; load the GGUF file here, with backend='llama-cpp'"
            )
        for token, own_id in zip(self._stop_texts, self._stop_ids, strict=True):
            text = {"content": token, "add_special": False, "parse_special": True}
            ids = (await self._client.post("/tokenize", text, _Tokens)).tokens
            if ids != [own_id]:
                raise BackendError(
                    f"{url} reads {token!r} as tokens {ids!s:.60}, but in {name!r} it is token {own_id}: the server "
                    "has another tokenizer"
                )
        if isinstance(self._checkpoint.files, GGUFFile):
            size = sum(tensor.end - tensor.start for tensor in self._checkpoint.files.header.tensors)
            if facts.size is not None and facts.size != size:
                raise BackendError(
                    f"{url} has a model of {facts.size:,} bytes, but {name!r} has {size:,}: the server has another "
                    "file; a file with other number types is another model"
                )
        elif facts.ftype is not None and not any(kind in facts.ftype for kind in _UNQUANTISED):
            raise BackendError(
                f"{url} has quantised weights ({facts.ftype}), whose vectors are not those of {name!r}; name the "
                "server's GGUF file as the model"
            )
        properties = await self._client.get("/props", _Properties)
        self.slots = properties.total_slots
        limit = properties.default_generation_settings.n_ctx
        return limit and limit - 1
