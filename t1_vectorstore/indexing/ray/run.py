"""The shards at work: Ray Data hands them to workers, and the driver waits for what becomes of each."""

from __future__ import annotations

import pickle
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from t1_vectorstore.errors import BackendError
from t1_vectorstore.indexing import LoadProgress
from t1_vectorstore.indexing.ray.shard_progress import Ledger
from t1_vectorstore.indexing.ray.worker import Outcome, Task, Worker

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Workers:
    """How many, and what Ray keeps for each.

    Attributes:
        count: workers; each has a model of its own, and loads one shard at a time.
        cpus: CPUs for each, or a part of one.
        gpus: GPUs for each, or a part of one: ``0.5`` puts two on a GPU.
    """

    count: int = 1
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.count < 1 or self.cpus < 0 or self.gpus < 0:
            raise ValueError(f"at least one worker, with no negative number of CPUs and GPUs, got {self}")


def outcomes(
    shards: Sequence[str],
    task: Task,
    workers: Workers,
    on_progress: Callable[[LoadProgress], None] | None,
    started: float,
) -> Iterator[Outcome]:
    """Have the shards loaded; each outcome as it comes, and progress told meanwhile.

    Raises:
        T1Error, ValueError, TypeError: what a worker could not go on from.
    """
    import ray
    from ray.exceptions import RayError

    ledger = _ledger()
    results = _Running(_plan(shards, task, workers, ledger))
    try:
        while True:
            try:
                outcome = results.next(_POLL_SECONDS)
            except StopIteration:
                return
            except RayError as error:
                raise BackendError(f"Ray could not go on: {error!r}") from error
            if isinstance(outcome, Outcome):
                yield outcome
            elif outcome is not None:
                raise outcome
            if on_progress is not None:
                progress: LoadProgress = ray.get(ledger.progress.remote())
                on_progress(replace(progress, seconds=time.perf_counter() - started))
    finally:
        results.stop()


def _ledger() -> Any:  # noqa: ANN401 - an actor's handle
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Ledger).options(num_cpus=0, scheduling_strategy=here).remote()


def _plan(shards: Sequence[str], task: Task, workers: Workers, ledger: Any) -> Iterator[dict[str, bytes]]:  # noqa: ANN401
    import ray.data

    if workers.gpus and ray.cluster_resources().get("GPU", 0.0) < workers.gpus:
        raise ValueError(
            f"a worker is to have {workers.gpus} GPUs, and Ray has {ray.cluster_resources().get('GPU', 0)}"
        )
    items = [{"shard": shard} for shard in shards]
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        Worker,
        fn_constructor_kwargs={"task": task, "ledger": ledger},
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers.count, len(items)), max_tasks_in_flight_per_actor=1),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
    )
    return iter(dataset.iter_rows())


class _Running:
    """Waits for Ray Data in a thread, so that the caller's can tell of progress and be interrupted."""

    def __init__(self, rows: Iterator[dict[str, bytes]]) -> None:
        self._rows = rows
        self._results: queue.Queue[Outcome | Exception | None] = queue.Queue()
        self._raised: Exception | None = None
        self._stopped = False
        threading.Thread(target=self._wait, daemon=True, name="t1-ray").start()

    def next(self, timeout: float) -> Outcome | Exception | None:
        """What a worker gave back; None if nothing came in so many seconds.

        Raises:
            StopIteration: there is no more to come.
            Exception: Ray's.
        """
        try:
            result = self._results.get(timeout=timeout)
        except queue.Empty:
            return None
        if result is None:
            raise self._raised or StopIteration
        return result

    def stop(self) -> None:
        """Hand out no more shards. In a cluster that goes on, workers finish those they have."""
        self._stopped = True

    def _wait(self) -> None:
        try:
            for row in self._rows:
                self._results.put(pickle.loads(row["outcome"]))  # noqa: S301 - from our own workers
                if self._stopped:
                    return
        except Exception as error:  # noqa: BLE001 - raised by next, in the caller's thread
            self._raised = error
        finally:
            self._results.put(None)
