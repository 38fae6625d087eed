"""A model that a T1 service (``t1 serve``) runs. Prompts are built here and sent as token ids, never as text."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from t1_vectorstore.checkpoints.served import ServedModel
from t1_vectorstore.checkpoints.spec import NO_REFINING, Decoding, Refining
from t1_vectorstore.errors import BackendError
from t1_vectorstore.service import array_from_json
from t1_vectorstore.types import OnTokens, Trajectory, Vectors

_BATCH = 64
"""Number of prompts in a request."""


class ServiceBackend:
    """Runs the model of a service. Requests of several threads, and of several clients, share the service's passes."""

    def __init__(self, model: ServedModel) -> None:
        """Use a model that has been found; see ``ServedModel.find``."""
        self._client = model.client
        self._path = model.route
        self.refines: bool = model.refines
        self.max_positions: int | None = model.max_positions

    def encode(self, prompts: Sequence[Sequence[int]], *, on_done: Callable[[int], None] | None = None) -> Vectors:
        """See ``Backend.encode``; ``on_done`` is called after each request."""
        states: list[Vectors] = []
        for start in range(0, len(prompts), _BATCH):
            batch = [list(prompt) for prompt in prompts[start : start + _BATCH]]
            states.append(self._states("encode", batch))
            if on_done is not None:
                on_done(len(batch))
        return np.concatenate(states)

    def think(
        self,
        prompts: Sequence[Sequence[int]],
        decoding: Decoding,
        *,
        deadline: float | None = None,
        refining: Refining = NO_REFINING,
        samples: int = 1,
        on_tokens: OnTokens | None = None,
    ) -> list[Trajectory]:
        """See ``Backend.think``. If ``on_tokens`` raises, the connection is closed, which stops the thoughts."""
        body = {
            "decoding": decoding.model_dump(mode="json"),
            "refining": refining.model_dump(mode="json"),
            "samples": samples,
            "stream": on_tokens is not None,
        }
        thoughts: list[Trajectory] = []
        for start in range(0, len(prompts), _BATCH):
            body["prompts"] = [list(prompt) for prompt in prompts[start : start + _BATCH]]
            body["seconds"] = None if deadline is None else max(0.0, deadline - time.monotonic())
            thoughts += self._think(body, len(thoughts), on_tokens)
        return thoughts

    def refine(self, prompts: Sequence[Sequence[int]], refining: Refining) -> Vectors:
        """See ``Backend.refine``; in several requests, as the service limits their size."""
        how = refining.model_dump(mode="json")
        batches = [[list(p) for p in prompts[start : start + _BATCH]] for start in range(0, len(prompts), _BATCH)]
        return np.concatenate([self._states("refine", batch, refining=how) for batch in batches])

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _think(self, body: dict[str, Any], first: int, on_tokens: OnTokens | None) -> list[Trajectory]:
        """Send one request; ``first`` is the index of its first thought among all."""
        lines = self._client.lines(f"{self._path}/think", body)
        try:
            for line in lines:
                if "trajectories" in line:
                    return [_trajectory(record) for record in line["trajectories"]]
                if on_tokens is not None and "tokens" in line:
                    on_tokens(first + line["index"], line["tokens"])
        finally:
            lines.close()
        raise BackendError(f"{self._client.url} ended its answer before the thoughts were complete; its log says why")

    def _states(self, action: str, prompts: Sequence[Sequence[int]], **body: Any) -> Vectors:  # noqa: ANN401 - JSON
        answer = self._client.post(f"{self._path}/{action}", {"prompts": prompts, **body})
        states = array_from_json(answer["states"])
        if len(states) != len(prompts):
            raise BackendError(f"{self._client.url} answered {len(prompts)} prompts with {len(states)} states")
        return states


def _trajectory(record: dict[str, Any]) -> Trajectory:
    return Trajectory(record["ids"], record["stop"], array_from_json(record["state"]), record["closing"])
