"""Code that runs inside vLLM's workers, to keep the hidden state at the last token of selected requests.

vLLM serves a model either as a generator or as a pooler. But a generator computes its logits from the very state that a
pooler returns. So a request whose id is marked generates a single token, and the worker keeps the state behind that
token until it is fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

MARK = "t1-state-"
"""Start of the ids of requests whose states are kept. vLLM appends random characters after the last dot of an id."""


class StateKeeper:
    """Extends vLLM's worker class (``worker_extension_cls``); its methods are called by ``collective_rpc``."""

    model_runner: Any
    _t1_states: dict[str, torch.Tensor]

    def t1_install(self) -> bool:
        """Start to keep states.

        Raises:
            RuntimeError: This version of vLLM has a model runner of an unknown kind.
        """
        runner = self.model_runner
        self._t1_states = {}
        if hasattr(runner, "sample") and hasattr(runner, "model_state"):
            _extend_second_runner(runner, self._t1_keep)
        elif hasattr(runner, "input_batch") and hasattr(runner.model, "compute_logits"):
            _extend_first_runner(runner, self._t1_keep)
        else:
            raise RuntimeError(f"{type(runner).__module__}.{type(runner).__name__} is an unknown kind of model runner")
        return True

    def t1_take(self, wanted: Sequence[str], unwanted: Sequence[str] = ()) -> tuple[list[str], bytes]:
        """Return states, and forget them.

        Args:
            wanted: Ids of finished requests.
            unwanted: Ids of aborted requests, whose states are only forgotten.

        Returns:
            The ids that were found, and their states, float32, one after the other. In a pipeline only the last stage
            has states.
        """
        for request_id in unwanted:
            self._t1_states.pop(request_id, None)
        found = [request_id for request_id in wanted if request_id in self._t1_states]
        if not found:
            return [], b""
        states = torch.stack([self._t1_states.pop(request_id) for request_id in found])
        return found, states.float().cpu().numpy().tobytes()

    def t1_kept(self) -> list[str]:
        """Return the ids of requests whose states have not been taken."""
        return list(self._t1_states)

    def _t1_keep(self, request_ids: Sequence[str], states: torch.Tensor) -> None:
        """Keep the states of marked requests. If a prompt is computed in several chunks, the last one overwrites."""
        if len(request_ids) != len(states):
            return  # a dry run without requests
        for row, request_id in enumerate(request_ids):
            if request_id.startswith(MARK):
                sent_id = request_id[: request_id.rfind(".") + 1]  # without what vLLM has appended
                self._t1_states[sent_id] = states[row].clone()


def _extend_first_runner(runner: Any, keep: Callable[[Sequence[str], torch.Tensor], None]) -> None:  # noqa: ANN401
    """Extend ``vllm.v1.worker.gpu_model_runner``, which computes logits for one row for each request of the batch."""
    compute_logits = runner.model.compute_logits

    def extended(hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        keep(runner.input_batch.req_ids, hidden_states)
        return compute_logits(hidden_states, *args, **kwargs)

    runner.model.compute_logits = extended


def _extend_second_runner(runner: Any, keep: Callable[[Sequence[str], torch.Tensor], None]) -> None:  # noqa: ANN401
    """Extend ``vllm.v1.worker.gpu.model_runner``, which samples from the states of all tokens of the batch."""
    sample = runner.sample

    def extended(hidden_states: torch.Tensor, input_batch: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        keep(input_batch.req_ids, hidden_states[input_batch.logits_indices])
        return sample(hidden_states, input_batch, *args, **kwargs)

    runner.sample = extended
