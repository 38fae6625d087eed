"""Documents on several devices: the vectors of one, whatever happens to the others."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends import multi_device
from t1_vectorstore.errors import BackendError, CheckpointError
from tests.embedding.fake_pool import TWO, fakes, load_fake, worker
from tests.embedding.test_documents import TEXTS
from tests.embedding.test_thoughts import cosines


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "SHARD_TOKENS", (400, 1000))


@pytest.fixture(scope="module")
def one(tiny: Path) -> T1Embedder:
    return T1Embedder.load(tiny, dtype="float32")


@pytest.fixture(scope="module")
def two(tiny: Path) -> Iterator[T1Embedder]:
    with T1Embedder.load(tiny, dtype="float32", devices=TWO) as embedder:
        yield embedder


def environment() -> dict[str, str]:
    """For a script that imports this file."""
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def gone(pid: int) -> bool:
    """Whether a process ends soon."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


def test_two_devices_give_what_one_gives(one: T1Embedder, two: T1Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    busy: list[str] = []
    submit = multi_device._submit
    monkeypatch.setattr(
        pool, "_submit", lambda lane, *work: busy.append(type(lane.executor).__name__) or submit(lane, *work)
    )
    finished: list[int] = []
    together = two.embed_documents(TEXTS, on_done=finished.append)
    assert set(busy) == {"ThreadPoolExecutor", "ProcessPoolExecutor"}
    alone = one.embed_documents(TEXTS)
    assert cosines(together.vectors, alone.vectors).min() >= 0.9999
    assert len(np.unique(together.vectors.round(4), axis=0)) == len(set(TEXTS))  # a swapped row would be seen
    assert (together.tokens, sum(finished)) == (alone.tokens, len(TEXTS))
    assert two.identity == one.identity


def test_queries_take_the_first_device(one: T1Embedder, two: T1Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two._backend._lanes[1].executor, "submit", None)  # type: ignore[attr-defined]
    for think in (True, False):
        [mine], [theirs] = (e.embed_queries(["who"], think=think, budget=4 if think else None) for e in (two, one))
        assert mine.thoughts == theirs.thoughts
        assert mine.vector @ theirs.vector >= 0.9999


def test_failures_and_interrupts_reach_the_caller(two: T1Embedder) -> None:
    with pytest.raises(IndexError):  # no such token: in this process or in the other, whichever is first
        two._backend.encode([[10**6] * 300, [10**6] * 300])
    with pytest.raises(IndexError):
        multi_device._result(
            two._backend._lanes[1], two._backend._lanes[1].executor.submit(multi_device._encode, [[10**6]])
        )  # type: ignore[attr-defined]

    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        two.embed_documents(TEXTS, on_done=interrupt)
    assert two.embed_documents(TEXTS).vectors.shape == (len(TEXTS), two.dimension)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_no_part_in_the_pool(two: T1Embedder) -> None:
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            with pytest.raises(BackendError, match="forked"):
                two.embed_documents(TEXTS)
            two.close()  # ends nothing of its parent's
            os._exit(0)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert two.embed_documents(TEXTS).vectors.shape == (len(TEXTS), two.dimension)


def test_devices_that_cannot_be(tiny: Path) -> None:
    with pytest.raises(TypeError, match="must be a list of names, got 'cpu'"):
        T1Embedder.load(tiny, devices="cpu")
    with pytest.raises(TypeError, match="list of names"):
        T1Embedder.load(tiny, devices=[0, 1])  # type: ignore[list-item]
    for devices in ([], ["auto", "cpu"]):
        with pytest.raises(ValueError, match="must name each device"):
            T1Embedder.load(tiny, devices=devices)
    with pytest.raises(ValueError, match="give one of them"):
        T1Embedder.load(tiny, device="cpu", devices=TWO)
    with pytest.raises(ValueError, match="'cuda:97' is not on this machine"):
        T1Embedder.load(tiny, devices=["cpu", "cuda:97"])
    for devices in (["cpu", "broken"], ["broken", "cpu"]):
        with pytest.raises(CheckpointError, match="one of 1 cannot load"):
            multi_device.MultiDeviceBackend(load_fake, devices)
    gc.collect()
    assert len(multiprocessing.active_children()) <= 1  # that of the fixture


def test_a_process_that_dies_is_reported_and_closing_ends_them() -> None:
    embedder = fakes()
    killed = worker(embedder)
    os.kill(killed, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(BackendError, match="the process for cpu has ended, killed or out of memory"):
            embedder.embed_documents(TEXTS)
    assert embedder.embed_query("still there", budget=2).vector.shape == (embedder.dimension,)
    assert gone(killed)
    for _ in range(2):
        embedder.close()
    for use in (embedder.embed_documents, embedder.embed_queries):
        with pytest.raises(BackendError, match="this embedder is closed"):
            use(["too late"])


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_its_parent(tmp_path: Path, sent: signal.Signals) -> None:
    script = tmp_path / "script.py"
    script.write_text("""
from tests.embedding.fake_pool import fakes, worker

if __name__ == "__main__":
    embedder = fakes()
    print(worker(embedder), flush=True)
    while True:
        embedder.embed_documents(["words to read " * 20] * 500)
""")
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        time.sleep(0.5)
        if sent == signal.SIGINT:
            os.killpg(process.pid, sent)  # as a terminal does: to all of them
        else:
            process.kill()
        _, errors = process.communicate(timeout=60)
    assert line, errors
    assert gone(int(line))
    if sent == signal.SIGINT:
        assert errors.rstrip().endswith("KeyboardInterrupt"), errors
        assert errors.count("Traceback") == 1


def test_a_script_without_the_guard_is_told_of_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("from tests.embedding.fake_pool import fakes\nfakes()\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, env=environment())
    assert done.returncode == 1
    assert "under `if __name__ == '__main__':`" in done.stderr.splitlines()[-1]
