"""What runs inside vLLM's workers: it keeps the hidden state that the last token of chosen requests had.

vLLM can serve one model as a generator or as a pooler, not as both. But a generator computes its logits from the very
state that a pooler returns. So a request whose id is marked is generated for one token, and the state behind that token
is kept until it is fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

MARK = "t1-state-"
"""How the ids of the requests begin whose states are kept. vLLM adds random characters behind the last dot."""


def _sent_id(request_id: str) -> str:
    """A marked request's id as its sender knows it."""
    return request_id[: request_id.rfind(".") + 1]


class StateKeeper:
    """Mixed into vLLM's worker class (``worker_extension_cls``); called by ``collective_rpc``."""

    model_runner: Any
    _t1_states: dict[str, torch.Tensor]

    def t1_install(self) -> bool:
        """Begin to keep states; whether this worker is one that has them (of a pipeline's stages the last one)."""
        runner = self.model_runner
        self._t1_states = {}
        if hasattr(runner, "sample") and hasattr(runner, "model_state"):
            _watch_second_runner(runner, self._t1_keep)
        elif hasattr(runner, "input_batch") and hasattr(runner.model, "compute_logits"):
            _watch_first_runner(runner, self._t1_keep)
        else:
            raise RuntimeError(f"{type(runner).__module__}.{type(runner).__name__} is a model runner of unknown make")
        return True

    def t1_take(self, wanted: Sequence[str], unwanted: Sequence[str] = ()) -> tuple[list[str], bytes]:
        """Hand out states and forget them.

        Args:
            wanted: ids of finished requests.
            unwanted: ids of requests that were given up.

        Returns:
            The ids that there were, and their states, float32, one after the other.
        """
        for request_id in unwanted:
            self._t1_states.pop(request_id, None)
        found = [request_id for request_id in wanted if request_id in self._t1_states]
        if not found:
            return [], b""
        states = torch.stack([self._t1_states.pop(request_id) for request_id in found])
        return found, states.float().cpu().numpy().tobytes()

    def t1_kept(self) -> list[str]:
        """The ids of the requests whose states nobody has taken yet."""
        return list(self._t1_states)

    def _t1_keep(self, request_ids: Sequence[str], states: torch.Tensor) -> None:
        """Keep the marked rows; where a prompt is computed in several chunks, the last one counts."""
        if len(request_ids) != len(states):
            return  # a dry run, whose rows are nobody's
        for row, request_id in enumerate(request_ids):
            if request_id.startswith(MARK):
                self._t1_states[_sent_id(request_id)] = states[row].clone()


def _watch_first_runner(runner: Any, keep: Callable[[Sequence[str], torch.Tensor], None]) -> None:  # noqa: ANN401
    """``vllm.v1.worker.gpu_model_runner``: the rows of ``compute_logits`` are those of the batch."""
    compute_logits = runner.model.compute_logits

    def watched(hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        keep(runner.input_batch.req_ids, hidden_states)
        return compute_logits(hidden_states, *args, **kwargs)

    runner.model.compute_logits = watched


def _watch_second_runner(runner: Any, keep: Callable[[Sequence[str], torch.Tensor], None]) -> None:  # noqa: ANN401
    """``vllm.v1.worker.gpu.model_runner``: the batch comes with the states of all its tokens."""
    sample = runner.sample

    def watched(hidden_states: torch.Tensor, input_batch: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        keep(input_batch.req_ids, hidden_states[input_batch.logits_indices])
        return sample(hidden_states, input_batch, *args, **kwargs)

    runner.sample = watched
