"""Requests to vLLM's asynchronous engine: tokens by generating, vectors by the states that its workers keep."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from vllm import SamplingParams
from vllm.inputs import tokens_input
from vllm.pooling_params import PoolingParams
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from t1_vectorstore.backends.vllm.worker import MARK
from t1_vectorstore.checkpoints.spec import Decoding
from t1_vectorstore.errors import BackendError
from t1_vectorstore.types import Vector, Vectors


class VLLMEngine:
    """One vLLM engine whose workers keep the states of the requests that ask for it, or two that share the work."""

    group = 1

    def __init__(self, generator: AsyncLLM, pooler: AsyncLLM | None = None, *, stop_ids: Sequence[int]) -> None:
        """Take engines that run.

        Args:
            generator: its workers keep states, unless there is a pooler.
            pooler: a second engine with the same weights, for vectors.
            stop_ids: the tokens that end a thought.
        """
        self._generator = generator
        self._pooler = pooler
        self._stop_ids = list(stop_ids)
        self._states = _KeptStates(generator)
        self._numbers = itertools.count()
        self._replicas: int = generator.vllm_config.parallel_config.data_parallel_size
        self.in_flight: int = 2 * generator.vllm_config.scheduler_config.max_num_seqs * self._replicas
        self.max_positions: int = generator.model_config.max_model_len - 1  # a request generates one token at least

    async def embed(self, prompts: Sequence[Sequence[int]], *, thought: int | None = None) -> Vectors:
        """The hidden state at each prompt's last token, float32 ``(n, hidden)``, in order."""
        embed = self._kept if self._pooler is None else self._pooled
        with _translated():
            return np.stack(await asyncio.gather(*[embed(prompt, thought) for prompt in prompts]))

    async def generate(
        self,
        prompt: Sequence[int],
        decoding: Decoding,
        *,
        seed: int | None,
        streamed: bool,
        thought: int,
        samples: int,
    ) -> AsyncIterator[tuple[int, Sequence[int]]]:
        """New tokens as they come, after which of the thoughts they belong to; a cancelled task aborts its request."""
        sampling = SamplingParams(
            n=samples,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            top_k=decoding.top_k,
            seed=seed,
            max_tokens=decoding.max_tokens,
            stop_token_ids=self._stop_ids,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA if streamed else RequestOutputKind.FINAL_ONLY,
        )
        request_id = f"t1-thought-{next(self._numbers)}"
        with _translated():
            async for output in self._requested(prompt, sampling, request_id, thought):
                for completion in output.outputs:
                    yield completion.index, completion.token_ids

    async def close(self) -> None:
        """Stop the engine's processes."""
        engines = [self._generator, self._pooler]
        del self._generator, self._pooler, self._states  # vLLM's own clean-up fails where Python is already ending
        for engine in filter(None, engines):
            engine.shutdown()

    async def _kept(self, prompt: Sequence[int], thought: int | None) -> Vector:
        """Generate one token that nobody wants, and fetch the state it was computed from."""
        request_id = f"{MARK}{next(self._numbers)}."
        sampling = SamplingParams(
            temperature=0, max_tokens=1, ignore_eos=True, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
        )
        try:
            async for _ in self._requested(prompt, sampling, request_id, thought):
                pass
        except asyncio.CancelledError:
            self._states.give_up(request_id)
            raise
        return await self._states.fetch(request_id)

    async def _pooled(self, prompt: Sequence[int], thought: int | None) -> Vector:
        """Ask the second engine."""
        assert self._pooler is not None
        outputs = self._pooler.encode(
            tokens_input(list(prompt)),
            PoolingParams(task="embed", use_activation=False),
            f"t1-vector-{next(self._numbers)}",
            priority=_priority(thought),
        )
        [state] = [output.outputs.data.float().cpu().numpy() async for output in outputs]
        return np.asarray(state, np.float32)

    def _requested(
        self, prompt: Sequence[int], sampling: SamplingParams, request_id: str, thought: int | None
    ) -> AsyncIterator[Any]:
        """A thought and the request for its vector go to one replica; documents go wherever there is room."""
        outputs: AsyncIterator[Any] = self._generator.generate(
            tokens_input(list(prompt)),
            sampling,
            request_id,
            priority=_priority(thought),
            data_parallel_rank=None if thought is None or self._replicas == 1 else thought % self._replicas,
        )
        return outputs


def _priority(thought: int | None) -> int:
    """A place in vLLM's queue, 0 before 1: somebody is waiting for a thought."""
    return int(thought is None)


class _KeptStates:
    """Fetches kept states: whatever was asked for while one call was under way makes up the next one."""

    def __init__(self, engine: AsyncLLM) -> None:
        self._engine = engine
        self._waiting: dict[str, asyncio.Future[Vector]] = {}
        self._given_up: list[str] = []
        self._fetching: asyncio.Task[None] | None = None

    async def fetch(self, request_id: str) -> Vector:
        self._waiting[request_id] = future = asyncio.get_running_loop().create_future()
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.ensure_future(self._fetch())
        state: Vector = await future
        return state

    def give_up(self, request_id: str) -> None:
        """The state of a request that was aborted goes with the next call."""
        self._given_up.append(request_id)

    async def _fetch(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, {}
            given_up, self._given_up = self._given_up, []
            try:
                found = await self._take(list(waiting), given_up)
            except Exception as error:  # noqa: BLE001 # whoever waits is told
                found = dict.fromkeys(waiting, error)
            for request_id, future in waiting.items():
                if not future.done():
                    _settle(future, found.get(request_id))

    async def _take(self, wanted: list[str], given_up: list[str]) -> dict[str, Any]:
        states: dict[str, Any] = {}
        for replica in await call_workers(self._engine, "t1_take", wanted, given_up):
            for ids, content in replica:
                if ids:
                    states.update(zip(ids, np.frombuffer(content, np.float32).reshape(len(ids), -1), strict=True))
        return states


def _settle(future: asyncio.Future[Vector], found: Vector | Exception | None) -> None:
    if found is None:
        future.set_exception(BackendError("vLLM's workers did not keep the state of a request that has finished"))
    elif isinstance(found, Exception):
        future.set_exception(found)
    else:
        future.set_result(found)


async def call_workers(engine: AsyncLLM, method: str, *arguments: Any) -> list[list[Any]]:  # noqa: ANN401
    """What each worker of each replica answers (``AsyncLLM.collective_rpc`` hands on the first replica's only)."""
    call = engine.engine_core.call_utility_all_async
    answers: list[list[Any]] = await call("collective_rpc", method, None, arguments, None)
    return answers


@contextmanager
def _translated() -> Iterator[None]:
    """Errors of vLLM leave as ours."""
    try:
        yield
    except EngineDeadError as error:
        raise BackendError(
            "the vLLM engine has died; its own message is above, on stderr. Load the embedder again"
        ) from error
    except EngineGenerateError as error:
        raise BackendError(f"vLLM failed on a request: {error.__cause__ or error}") from error
    except ValueError as error:
        raise BackendError(f"vLLM refused a request: {error}") from error
    except BackendError:
        raise
    except Exception as error:  # what its workers raise arrives as whatever could be sent from process to process
        raise BackendError(
            f"vLLM failed: {type(error).__name__}: {' '.join(str(error).split())}; VLLM_LOGGING_LEVEL=INFO lets its "
            "processes say more, on stderr"
        ) from error
