"""A collection in a process that was forked after it was used, as by gunicorn with ``preload_app``, or by Celery."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from textwrap import dedent

import pytest

from tests.collection.conftest import CLOSED_PORT
from tests.collection.processes import output, python

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
]

_PRELUDE = """
import asyncio, os, signal, threading, warnings
from t1_vectorstore.errors import StoreError

VECTOR = next(iter(points(1))).vector


def search(collection):
    return [hit.id for hit in collection.search(VECTOR)]


def asearch(collection):
    async def found():
        return [hit.id for hit in await collection.asearch(VECTOR)]
    return asyncio.run(found())


def in_child(work):
    # The child ends as a worker does, with all clean-up; a child that hangs is killed.
    warnings.simplefilter("ignore", DeprecationWarning)
    if (child := os.fork()) == 0:
        signal.alarm(30)
        work()
        sys.exit()
    assert (status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])) == 0, f"the child ended with {status}"


def refused(call, *arguments):
    try:
        call(*arguments)
    except StoreError as error:
        assert "before a fork" in str(error), error
    else:
        raise AssertionError("no error")


def with_locks_held(collection, work):
    # Fork while another thread uses the collection.
    taken, done = threading.Event(), threading.Event()
    locks = [collection._writer.lock, collection._indexing._lock]
    engine = vars(collection._engine)
    engine = {**engine, **(vars(engine["_index"]) if "_index" in engine else {})}
    locks += [engine[name] for name in ("_lock", "_connecting", "lock", "writing") if name in engine]

    def hold():
        from contextlib import ExitStack
        with ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            taken.set()
            done.wait()
    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    try:
        in_child(work)
    finally:
        done.set()
        thread.join()
"""


@pytest.mark.server
@pytest.mark.parametrize("port", [None, CLOSED_PORT], ids=["grpc", "rest"])
def test_a_forked_child_makes_its_own_connections_to_a_server(server_url: str, port: int | None) -> None:
    script = """
    c = Collection.open(sys.argv[1], identity=MODEL, name=sys.argv[2], **eval(sys.argv[3]))
    c.upsert(points(20))
    expected = search(c)
    assert asearch(c) == expected and len(expected) == 10

    def all_calls():
        assert search(c) == expected
        assert asearch(c) == expected
        c.upsert(points(5, 20))
        assert c.count() == 25
        c.delete([p.chunk.id for p in points(5, 20)])
        with c.bulk():
            pass
        assert c.latest_load is None
        c.close()
        try:
            c.count()
        except StoreError as error:
            assert "is closed" in str(error)

    def opened_again():
        with Collection.open(sys.argv[1], name=sys.argv[2], **eval(sys.argv[3])) as again:
            assert search(again) == asearch(again) == expected

    in_child(all_calls)
    in_child(c.close)
    in_child(opened_again)
    in_child(lambda: in_child(all_calls))
    with_locks_held(c, all_calls)
    assert search(c) == asearch(c) == expected, "the parent goes on"
    c.close()
    in_child(c.close)
    print("done")
    """
    options = {} if port is None else {"grpc_port": port}
    said = output(python(_PRELUDE + dedent(script), server_url, f"fork{uuid.uuid4().hex}", repr(options)))
    assert said.endswith("done\n")


def test_a_forked_child_has_its_own_copy_of_a_collection_in_memory() -> None:
    script = """
    c = Collection.open(":memory:", identity=MODEL)
    c.upsert(points(20))
    expected = search(c)
    assert asearch(c) == expected

    def all_calls():
        assert search(c) == asearch(c) == expected
        assert c.delete([p.chunk.id for p in points(5)]) == 5
        assert c.count() == 15
        c.close()

    in_child(all_calls)
    with_locks_held(c, all_calls)
    assert c.count() == 20
    assert search(c) == asearch(c) == expected
    print("done")
    """
    assert output(python(_PRELUDE + dedent(script))) == "done\n"


def test_a_forked_child_is_refused_an_index_in_a_folder_and_does_not_damage_it(tmp_path: Path) -> None:
    script = """
    c = Collection.open(sys.argv[1], identity=MODEL)
    c.upsert(points(20))
    expected = search(c)
    assert asearch(c) == expected

    def all_calls():
        for call in (search, asearch, Collection.count, Collection.optimize):
            refused(call, c)
        refused(c.upsert, points(5))
        refused(c.delete, ["1"])
        c.close()
        c.close()

    in_child(all_calls)
    in_child(lambda: None)
    with_locks_held(c, all_calls)
    c.upsert(points(5, 20))
    assert search(c) and c.count() == 25
    c.close()
    with Collection.open(sys.argv[1]) as again:
        assert again.count() == 25
    print("done")
    """
    assert output(python(_PRELUDE + dedent(script), tmp_path / "index")) == "done\n"


def test_a_forked_child_leaves_its_parent_the_copy_of_an_index_that_is_only_read(index: Path, tmp_path: Path) -> None:
    script = """
    import pathlib, tempfile
    tempfile.tempdir = sys.argv[2]
    c = Collection.open(sys.argv[1], read_only=True)
    files = set(pathlib.Path(sys.argv[2]).rglob("*"))
    in_child(lambda: None)
    in_child(lambda: refused(search, c))
    in_child(c.close)
    assert files == set(pathlib.Path(sys.argv[2]).rglob("*")) != set()
    assert len(search(c)) == 5
    c.close()
    print(len(list(pathlib.Path(sys.argv[2]).iterdir())))
    """
    (tmp_path / "temporary").mkdir()
    assert output(python(_PRELUDE + dedent(script), index, tmp_path / "temporary")) == "0\n"
