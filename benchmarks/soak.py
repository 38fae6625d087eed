"""Mixed load on a real ``t1 serve``: is its memory flat, and is every write that it acknowledged there at the end?

    python -m benchmarks.soak --minutes 30

Clients search, stream, leave in the middle of a thought, embed, add and delete documents, and send more than the queues
take. Every second of the run is the same mixture. Memory is the resident set of the service's process, without pages of
files, read every ten seconds; compared are the means of the second and of the last tenth of the run, since the first
fills caches.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx

PLACES = ["Norway", "Peru", "Kenya", "Nepal", "Chile", "Ghana", "Japan", "Cuba"]
QUERIES = [f"what do the factories of the biggest customer of {place} make" for place in PLACES]


class Load:
    """What the clients do, and what was acknowledged to them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.end = threading.Event()
        self.statuses: Counter[str] = Counter()
        self.stored: dict[str, str] = {}
        self._lock = threading.Lock()

    def note(self, action: str, status: int) -> None:
        """Count an answer."""
        with self._lock:
            self.statuses[f"{action} {status}"] += 1

    def search(self, chance: random.Random) -> None:
        """Search, one time of four as a stream that is left after its first event."""
        with httpx.Client(base_url=self.url, timeout=120, trust_env=False) as client:
            while not self.end.is_set():
                body = {"query": chance.choice(QUERIES), "limit": 5, "think": chance.random() < 0.7}
                if chance.random() < 0.25:
                    with client.stream("POST", "/v1/search/stream", json=body) as answer:
                        next(answer.iter_lines(), None)
                        self.note("left stream", answer.status_code)
                    continue
                self.note("search", client.post("/v1/search", json=body).status_code)

    def write(self, chance: random.Random, name: int) -> None:
        """Add documents, and delete some that were acknowledged."""
        number, own = 0, dict[str, str]()
        with httpx.Client(base_url=self.url, timeout=120, trust_env=False) as client:
            while not self.end.is_set():
                number += 1
                new = {
                    f"{name}/{number}/{part}": f"Note {number} of {chance.choice(PLACES)}: {chance.random()}."
                    for part in range(8)
                }
                documents = [{"id": given, "text": text} for given, text in new.items()]
                answer = client.post("/v1/documents", json={"documents": documents})
                self.note("add", answer.status_code)
                if answer.status_code == 200:
                    assert answer.json()["complete"], answer.text
                    own |= new
                if number % 3 == 0 and own:
                    gone = chance.sample(sorted(own), min(4, len(own)))
                    if client.post("/v1/documents/delete", json={"ids": gone}).status_code == 200:
                        for given in gone:
                            del own[given]
                time.sleep(0.2)
        self.stored |= own

    def flood(self) -> None:
        """Now and then, send more requests at once than the queues take."""
        while not self.end.wait(15):
            burst = [threading.Thread(target=self._one) for _ in range(120)]
            for thread in burst:
                thread.start()
            for thread in burst:
                thread.join()

    def _one(self) -> None:
        answer = httpx.post(f"{self.url}/v1/search", json={"query": QUERIES[0]}, timeout=120, trust_env=False)
        self.note("flood", answer.status_code)


def memory_mib(process: int) -> float:
    """Return the resident memory of a process without pages of files, which the kernel takes back, in MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def main() -> None:
    """Run the load and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--no-writes", action="store_true", help="Store nothing, so that memory is not the index's.")
    given = parser.parse_args()
    minutes = given.minutes
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "note.txt"
        note.write_text("Norway sells oil, gas and fish.")
        t1 = [sys.executable, "-c", "from t1_vectorstore.cli import main; main()"]
        subprocess.run([*t1, "index", str(note), "--to", f"{folder}/index"], check=True, capture_output=True)
        service = subprocess.Popen(
            [*t1, "serve", f"{folder}/index", "--port", "0"],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        assert service.stderr is not None
        url = next(found[0] for line in service.stderr if (found := re.search(r"http://[\d.]+:\d+", line)))
        threading.Thread(target=lambda: [None for _ in service.stderr], daemon=True).start()  # type: ignore[union-attr]
        load = Load(url)
        clients = [threading.Thread(target=load.search, args=(random.Random(number),)) for number in range(8)]
        clients += [
            threading.Thread(target=load.write, args=(random.Random(number), number))
            for number in range(0 if given.no_writes else 2)
        ]
        clients.append(threading.Thread(target=load.flood))
        for client in clients:
            client.start()
        memory = []
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            time.sleep(10)
            memory.append(memory_mib(service.pid))
        load.end.set()
        for client in clients:
            client.join()
        missing = check(url, load.stored)
        service.terminate()
        service.wait(60)
    tenth = max(1, len(memory) // 10)
    early, late = memory[tenth : 2 * tenth] or memory, memory[-tenth:]
    growth = sum(late) / len(late) / (sum(early) / len(early)) - 1
    result = {
        "minutes": minutes,
        "memory_mib": [round(each) for each in memory],
        "growth": round(growth, 4),
        "answers": dict(sorted(load.statuses.items())),
        "acknowledged_documents": len(load.stored),
        "missing": missing,
        "exit_code": service.returncode,
    }
    print(json.dumps(result, indent=2))
    (Path(__file__).parent / "results" / "soak.json").write_text(json.dumps(result, indent=2) + "\n")


def check(url: str, stored: dict[str, str]) -> list[str]:
    """Return the ids of acknowledged documents that are not there as they were sent."""
    missing = []
    ids = sorted(stored)
    for start in range(0, len(ids), 200):
        part = ids[start : start + 200]
        answer = httpx.get(f"{url}/v1/documents", params={"id": part}, timeout=120, trust_env=False).json()
        found = {chunk["id"]: chunk["text"] for chunk in answer["data"]}
        missing += [given for given in part if found.get(given) != stored[given]]
    return missing


if __name__ == "__main__":
    main()
