"""Documents on several devices have the same vectors as on one, and processes that fail or end are reported."""

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
from tests.backends.contract import cosines
from tests.backends.fake_devices import TWO, load_fake, load_two_fakes, worker_pid
from tests.embedding.test_documents import TEXTS

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multi_device, "SHARD_TOKENS", (400, 1000))


@pytest.fixture(scope="module")
def one(tiny: Path) -> T1Embedder:
    return T1Embedder.load(tiny, dtype="float32")


@pytest.fixture(scope="module")
def two(tiny: Path) -> Iterator[T1Embedder]:
    with T1Embedder.load(tiny, dtype="float32", devices=TWO) as embedder:
        yield embedder


def environment() -> dict[str, str]:
    """Return the environment for a script that imports from this repository."""
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def has_ended(pid: int) -> bool:
    """Whether a process ends within ten seconds."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


def test_two_devices_compute_the_same_as_one(one: T1Embedder, two: T1Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []
    submit = multi_device._Worker.submit
    monkeypatch.setattr(
        multi_device._Worker,
        "submit",
        lambda worker, *work: used.append(type(worker.executor).__name__) or submit(worker, *work),
    )
    finished: list[int] = []
    together = two.embed_documents(TEXTS, on_done=finished.append)
    assert set(used) == {"ThreadPoolExecutor", "ProcessPoolExecutor"}
    alone = one.embed_documents(TEXTS)
    assert cosines(together.vectors, alone.vectors).min() >= 0.9999
    assert len(np.unique(together.vectors.round(4), axis=0)) == len(set(TEXTS))  # so a swapped row would be noticed
    assert (together.tokens, sum(finished)) == (alone.tokens, len(TEXTS))
    assert two.identity == one.identity


def test_queries_use_the_first_device(one: T1Embedder, two: T1Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two._backend._workers[1].executor, "submit", None)  # type: ignore[attr-defined]
    for think in (True, False):
        [mine], [theirs] = (e.embed_queries(["who"], think=think, budget=4 if think else None) for e in (two, one))
        assert mine.thoughts == theirs.thoughts
        assert mine.vector @ theirs.vector >= 0.9999


def test_failures_and_interrupts_reach_the_caller(two: T1Embedder) -> None:
    with pytest.raises(IndexError):  # there is no such token; either process may be the first to fail
        two._backend.encode([[10**6] * 300, [10**6] * 300])
    other = two._backend._workers[1]  # type: ignore[attr-defined]
    with pytest.raises(IndexError):
        other.result(other.submit(multi_device._encode, [[10**6]]))

    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        two.embed_documents(TEXTS, on_done=interrupt)
    assert two.embed_documents(TEXTS).vectors.shape == (len(TEXTS), two.dimension)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_cannot_use_the_devices(two: T1Embedder) -> None:
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            with pytest.raises(BackendError, match="forked"):
                two.embed_documents(TEXTS)
            two.close()  # does not end its parent's processes
            os._exit(0)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert two.embed_documents(TEXTS).vectors.shape == (len(TEXTS), two.dimension)


def test_invalid_devices(tiny: Path) -> None:
    with pytest.raises(TypeError, match="devices must be a valid list, got 'cpu'"):
        T1Embedder.load(tiny, devices="cpu")
    with pytest.raises(TypeError, match=r"devices\.0 must be a valid string, got 0"):
        T1Embedder.load(tiny, devices=[0, 1])  # type: ignore[list-item]
    for devices in ([], ["auto", "cpu"]):
        with pytest.raises(ValueError, match="must name each device"):
            T1Embedder.load(tiny, devices=devices)
    with pytest.raises(ValueError, match="give one of them"):
        T1Embedder.load(tiny, device="cpu", devices=TWO)
    with pytest.raises(ValueError, match="'cuda:97' is not on this machine"):
        T1Embedder.load(tiny, devices=["cpu", "cuda:97"])
    for devices in (["cpu", "broken"], ["broken", "cpu"]):
        with pytest.raises(CheckpointError, match="one of 1 models cannot be loaded"):
            multi_device.MultiDeviceBackend(load_fake, devices)
    gc.collect()
    assert len(multiprocessing.active_children()) <= 1  # the fixture's


def test_killed_process_and_closed_backend() -> None:
    embedder = load_two_fakes()
    killed = worker_pid(embedder)
    os.kill(killed, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(BackendError, match="the process for cpu has ended, killed or out of memory"):
            embedder.embed_documents(TEXTS)
    assert embedder.embed_query("still there", budget=2).vector.shape == (embedder.dimension,)
    assert has_ended(killed)
    for _ in range(2):
        embedder.close()
    for use in (embedder.embed_documents, embedder.embed_queries):
        with pytest.raises(BackendError, match="this embedder is closed"):
            use(["too late"])


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_with_their_parent(tmp_path: Path, sent: signal.Signals) -> None:
    script = tmp_path / "script.py"
    script.write_text("""
from tests.backends.fake_devices import load_two_fakes, worker_pid

if __name__ == "__main__":
    embedder = load_two_fakes()
    print(worker_pid(embedder), flush=True)
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
            os.killpg(process.pid, sent)  # to all processes, as a terminal does
        else:
            process.kill()
        _, errors = process.communicate(timeout=60)
    assert line, errors
    assert has_ended(int(line))
    if sent == signal.SIGINT:
        assert errors.rstrip().endswith("KeyboardInterrupt"), errors
        assert errors.count("Traceback") == 1


def test_script_without_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("from tests.backends.fake_devices import load_two_fakes\nload_two_fakes()\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, env=environment())
    assert done.returncode == 1
    assert "under `if __name__ == '__main__':`" in done.stderr.splitlines()[-1]
