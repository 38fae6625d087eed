"""vLLM's asynchronous engine: it generates thoughts, and its workers keep the hidden states that become vectors."""

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

from t1_vectorstore.backends.vllm.generation import ThoughtRequest
from t1_vectorstore.backends.vllm.worker import MARK
from t1_vectorstore.errors import BackendError
from t1_vectorstore.types import Vector, Vectors


class VLLMEngine:
    """A ``GenerationEngine`` in this process.

    The generator's workers keep states, unless a second engine with the same weights, the pooler, computes the vectors.
    """

    batch_size = 1

    def __init__(self, generator: AsyncLLM, pooler: AsyncLLM | None = None, *, stop_ids: Sequence[int]) -> None:
        self._generator, self._pooler = generator, pooler
        self._stop_ids = list(stop_ids)
        self._states = _KeptStates(generator)
        self._numbers = itertools.count()
        self._replicas: int = generator.vllm_config.parallel_config.data_parallel_size
        self.in_flight: int = 2 * generator.vllm_config.scheduler_config.max_num_seqs * self._replicas
        self.max_positions: int = generator.model_config.max_model_len - 1  # each request generates at least one token

    async def embed(self, prompts: Sequence[Sequence[int]], *, thought: int | None = None) -> Vectors:
        """Return the hidden state at each prompt's last token, float32 ``(n, hidden)``, in order."""
        embed = self._kept_state if self._pooler is None else self._pooled_state
        with _translated_errors():
            return np.stack(await asyncio.gather(*[embed(prompt, thought) for prompt in prompts]))

    async def generate(self, request: ThoughtRequest) -> AsyncIterator[tuple[int, Sequence[int]]]:
        """Generate thoughts; yield the number of a sample, and its new tokens."""
        sampling = SamplingParams(
            n=request.samples,
            temperature=request.decoding.temperature,
            top_p=request.decoding.top_p,
            top_k=request.decoding.top_k,
            seed=request.seed,
            max_tokens=request.decoding.max_tokens + 1,
            stop_token_ids=self._stop_ids,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA if request.streamed else RequestOutputKind.FINAL_ONLY,
        )
        request_id = f"t1-thought-{next(self._numbers)}"
        with _translated_errors():
            async for output in self._send(request.prompt, sampling, request_id, request.number):
                for completion in output.outputs:
                    yield completion.index, completion.token_ids

    async def close(self) -> None:
        """Stop the engines' processes."""
        engines = [self._generator, self._pooler]
        del self._generator, self._pooler, self._states  # vLLM's own clean-up fails while Python is exiting
        for engine in filter(None, engines):
            engine.shutdown()

    async def _kept_state(self, prompt: Sequence[int], thought: int | None) -> Vector:
        """Generate one token, which is not used, and fetch the state from which it was computed."""
        request_id = f"{MARK}{next(self._numbers)}."
        sampling = SamplingParams(
            temperature=0, max_tokens=1, ignore_eos=True, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
        )
        try:
            async for _ in self._send(prompt, sampling, request_id, thought):
                pass
        except asyncio.CancelledError:
            self._states.discard(request_id)
            raise
        return await self._states.fetch(request_id)

    async def _pooled_state(self, prompt: Sequence[int], thought: int | None) -> Vector:
        assert self._pooler is not None
        outputs = self._pooler.encode(
            tokens_input(list(prompt)),
            PoolingParams(task="embed", use_activation=False),
            f"t1-vector-{next(self._numbers)}",
            priority=_priority(thought),
        )
        [state] = [output.outputs.data.float().cpu().numpy() async for output in outputs]
        return np.asarray(state, np.float32)

    def _send(
        self, prompt: Sequence[int], sampling: SamplingParams, request_id: str, thought: int | None
    ) -> AsyncIterator[Any]:
        """Send both requests of a thought to one replica, which has the prefix; vLLM chooses one for a document."""
        outputs: AsyncIterator[Any] = self._generator.generate(
            tokens_input(list(prompt)),
            sampling,
            request_id,
            priority=_priority(thought),
            data_parallel_rank=None if thought is None or self._replicas == 1 else thought % self._replicas,
        )
        return outputs


def _priority(thought: int | None) -> int:
    """Return a request's priority: vLLM runs 0, thoughts, before 1, documents."""
    return int(thought is None)


class _KeptStates:
    """Fetches states from the workers. All that are wanted while one call is running are fetched by the next call."""

    def __init__(self, engine: AsyncLLM) -> None:
        self._engine = engine
        self._waiting: dict[str, asyncio.Future[Vector]] = {}
        self._unwanted: list[str] = []
        self._fetching: asyncio.Task[None] | None = None

    async def fetch(self, request_id: str) -> Vector:
        future: asyncio.Future[Vector] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = future
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.ensure_future(self._fetch_waiting())
        return await future

    def discard(self, request_id: str) -> None:
        """Let the next call discard the state of an aborted request."""
        self._unwanted.append(request_id)

    async def _fetch_waiting(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, {}
            unwanted, self._unwanted = self._unwanted, []
            try:
                states: dict[str, Any] = await self._take(list(waiting), unwanted)
            except Exception as error:  # noqa: BLE001 # each waiting request raises it
                states = dict.fromkeys(waiting, error)
            for request_id, future in waiting.items():
                state = states.get(request_id)
                if future.done():
                    continue
                if state is None:
                    state = BackendError("vLLM's workers did not keep the state of a request that has finished")
                if isinstance(state, Exception):
                    future.set_exception(state)
                else:
                    future.set_result(state)

    async def _take(self, wanted: list[str], unwanted: list[str]) -> dict[str, Any]:
        states: dict[str, Any] = {}
        for replica in await call_workers(self._engine, "t1_take", wanted, unwanted):
            for ids, content in replica:
                if ids:
                    states.update(zip(ids, np.frombuffer(content, np.float32).reshape(len(ids), -1), strict=True))
        return states


async def call_workers(engine: AsyncLLM, method: str, *arguments: Any) -> list[list[Any]]:  # noqa: ANN401
    """Return the answers of all replicas' workers; ``AsyncLLM.collective_rpc`` returns only the first replica's."""
    call = engine.engine_core.call_utility_all_async
    return list(await call("collective_rpc", method, None, arguments, None))


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Raise vLLM's errors as ``BackendError``."""
    try:
        yield
    except BackendError:
        raise
    except EngineDeadError as error:
        raise BackendError(
            "the vLLM engine has died; its own message is above, on stderr. Load the embedder again"
        ) from error
    except EngineGenerateError as error:
        raise BackendError(f"vLLM failed on a request: {error.__cause__ or error}") from error
    except ValueError as error:
        raise BackendError(f"vLLM refused a request: {error}") from error
    except Exception as error:  # a worker's error arrives as whatever type can be sent between processes
        raise BackendError(
            f"vLLM failed: {type(error).__name__}: {' '.join(str(error).split())}; VLLM_LOGGING_LEVEL=INFO lets its "
            "processes say more, on stderr"
        ) from error
