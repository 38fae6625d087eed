"""Run the shards: Ray Data passes them to the workers, and the driver waits for the results."""

from __future__ import annotations

import pickle
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from t1_vectorstore.errors import BackendError
from t1_vectorstore.indexing import LoadProgress
from t1_vectorstore.indexing.ray.shard_progress import ShardProgress
from t1_vectorstore.indexing.ray.worker import ShardResult, Task, Worker

_POLL_SECONDS = 0.5


def run_shards(
    shards: Sequence[str], task: Task, on_progress: Callable[[LoadProgress], None] | None, started: float
) -> Iterator[ShardResult]:
    """Load all shards; yield each result as it arrives, and report progress in the meantime.

    Raises:
        T1Error, ValueError, TypeError: The error of a worker that must end the load.
    """
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    shard_progress = ray.remote(ShardProgress).options(num_cpus=0, scheduling_strategy=here).remote()
    with closing(_in_background(_start(shards, task, shard_progress))) as rows:
        try:
            for row in rows:
                if row is not None:
                    result = pickle.loads(row["result"])  # noqa: S301 - from our own workers
                    if isinstance(result, Exception):
                        raise result
                    yield result
                if on_progress is not None:
                    progress: LoadProgress = ray.get(shard_progress.total.remote())
                    on_progress(replace(progress, seconds=time.perf_counter() - started))
        except RayError as error:
            raise BackendError(f"Ray failed: {error!r}") from error


def _start(shards: Sequence[str], task: Task, progress: Any) -> Iterator[dict[str, bytes]]:  # noqa: ANN401
    import ray.data

    workers = task.options.workers
    available = ray.cluster_resources().get("GPU", 0.0)
    if workers.gpus > available:
        raise ValueError(f"each worker needs {workers.gpus} GPUs, and Ray has {available}")
    items = [{"shard": shard} for shard in shards]
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        Worker,
        fn_constructor_kwargs={"task": task, "progress": progress},
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers.count, len(items)), max_tasks_in_flight_per_actor=1),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
    )
    return iter(dataset.iter_rows())


def _in_background(rows: Iterator[dict[str, bytes]]) -> Generator[dict[str, bytes] | None, None, None]:
    """Iterate in a thread, so that the caller can report progress and be interrupted; yield None while waiting.

    When the generator is closed, no more shards are started. In a cluster that continues to run, workers finish theirs.
    """
    results: queue.Queue[dict[str, bytes] | BaseException | None] = queue.Queue()
    stopped = threading.Event()

    def consume() -> None:
        try:
            for row in rows:
                results.put(row)
                if stopped.is_set():
                    return
            results.put(None)
        except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
            results.put(error)

    threading.Thread(target=consume, daemon=True, name="t1-ray").start()
    try:
        while True:
            try:
                result = results.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                yield None
                continue
            if result is None:
                return
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        stopped.set()
