"""``/v1/models/NAME/...``: a model in token ids, for ``T1Embedder.load("http://...")``.

The client has the model's tokenizer and specification from ``checkpoint``, builds the prompts, and sends token ids.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from enum import Enum
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from t1_vectorstore.backends import Backend
from t1_vectorstore.checkpoints.spec import Decoding, Refining
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.server.access import Access, Reader
from t1_vectorstore.server.answers import ModelAnswer
from t1_vectorstore.server.checks import check_count, check_samples
from t1_vectorstore.server.errors import Refused
from t1_vectorstore.server.routes.catalog import describe_model
from t1_vectorstore.server.streaming import StreamedAnswer
from t1_vectorstore.service import array_to_json
from t1_vectorstore.types import Trajectory, Vectors

router = APIRouter(prefix="/v1/models/{name:path}")

_IN_IDS: list[str | Enum] = ["model in token ids"]
TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class EncodeBody(BaseModel):
    """Prompts, each ending with the emb token."""

    model_config = ConfigDict(extra="forbid")

    prompts: list[TokenIds]


class RefineBody(EncodeBody):
    """Prompts, and the passes in hidden space that follow them."""

    refining: Refining


class ThinkBody(EncodeBody):
    """Prompts up to where their thoughts begin."""

    decoding: Decoding
    refining: Refining
    seconds: float | None = Field(default=None, ge=0, description="Seconds after which thoughts are closed.")
    samples: int = Field(default=1, ge=1)
    stream: bool = Field(default=False, description="Send the tokens of thoughts while they are generated.")


@router.get("/checkpoint", tags=_IN_IDS)
async def checkpoint(name: str, access: Reader) -> JSONResponse:
    """Describe a model: tokenizer, specification, sizes, and the digest of its files."""
    embedder = _embedder(access, name)
    if embedder.checkpoint is None:
        raise Refused(400, f"{name!r} has no checkpoint that clients could use", code="no_checkpoint", param="name")
    record = await asyncio.to_thread(
        embedder.checkpoint.describe, refines=embedder.refines, max_positions=embedder.max_positions
    )
    return JSONResponse(record)


@router.get("", tags=["model"], response_model=ModelAnswer)
async def model(name: str, access: Reader) -> JSONResponse:
    """Describe a model, under its own name or one that chooses a role."""
    found, embedder, role = access.model(name)
    return JSONResponse(describe_model(found, role, embedder))


@router.post("/encode", tags=_IN_IDS)
async def encode(request: Request, name: str, body: EncodeBody, access: Reader) -> JSONResponse:
    """Return the hidden states at the last tokens of documents' prompts."""
    service = access.service
    backend = _checked(access, name, body)
    slots = service.documents
    states = await service.work.run(request, slots, lambda: slots.in_thread(lambda _: backend.encode(body.prompts)))
    return _states(states)


@router.post("/refine", tags=_IN_IDS)
async def refine(request: Request, name: str, body: RefineBody, access: Reader) -> JSONResponse:
    """Return the hidden states at the last tokens of queries' prompts, refined by passes in hidden space."""
    service = access.service
    backend = _checked(access, name, body, generated=body.refining.steps)
    slots = service.queries
    states = await service.work.run(
        request, slots, lambda: slots.in_thread(lambda _: backend.refine(body.prompts, body.refining))
    )
    return _states(states)


@router.post("/think", tags=_IN_IDS, response_class=Response)
async def think(request: Request, name: str, body: ThinkBody, access: Reader) -> Response:
    """Generate thoughts; the answer is lines of JSON, the last of which has the thoughts and their hidden states."""
    check_samples(body.samples, access.service.options)
    generated = body.decoding.max_tokens + 1 + body.refining.steps
    backend = _checked(access, name, body, generated=generated)
    return StreamedAnswer(
        request, access.service, lambda: _lines(access, backend, body), media_type="application/x-ndjson", error=_line
    )


async def _lines(access: Access, backend: Backend, body: ThinkBody) -> AsyncGenerator[bytes, None]:
    """Run the model in a thread, and yield lines: tokens as they are generated, and at last the trajectories."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[bytes | None] = asyncio.Queue()

    def run(unneeded: threading.Event) -> list[Trajectory]:
        def on_tokens(index: int, new: Sequence[int]) -> None:
            if unneeded.is_set():
                raise InterruptedError("the client left")
            if body.stream:
                loop.call_soon_threadsafe(arrived.put_nowait, _line({"index": index, "tokens": list(new)}))

        return backend.think(
            body.prompts,
            body.decoding,
            deadline=None if body.seconds is None else time.monotonic() + body.seconds,
            refining=body.refining,
            samples=body.samples,
            on_tokens=on_tokens,
        )

    running = asyncio.ensure_future(access.service.queries.in_thread(run))
    running.add_done_callback(lambda _: arrived.put_nowait(None))
    try:
        while (line := await arrived.get()) is not None:
            yield line
        trajectories = await running
    finally:
        running.cancel()
    access.note(thought_tokens=sum(len(one.ids) for one in trajectories))
    yield _line({"trajectories": [_trajectory(one) for one in trajectories]})


def _embedder(access: Access, name: str) -> T1Embedder:
    _, embedder, _ = access.model(name)
    return embedder


def _checked(access: Access, name: str, body: EncodeBody, *, generated: int = 0) -> Backend:
    """Return the backend of a model, after checking that it can take the prompts.

    Raises:
        Refused: Too many prompts.
        ValueError: A prompt with an unknown token, or one that is too long.
    """
    embedder = _embedder(access, name)
    check_count(len(body.prompts), access.service.options.max_inputs, "prompts")
    embedder.check_prompts(body.prompts, generated=generated)
    return embedder.backend


def _states(states: Vectors) -> JSONResponse:
    return JSONResponse({"states": array_to_json(states)})


def _trajectory(one: Trajectory) -> dict[str, Any]:
    return {"ids": list(one.ids), "stop": one.stop, "closing": one.closing, "state": array_to_json(one.state)}


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"
