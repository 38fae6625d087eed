"""Two stock vLLM servers on this machine, started as in docs/vllm.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.backends.server_processes import starting

GENERATE = ("--runner", "generate")
EMBED = ("--runner", "pooling", "--convert", "embed", "--pooler-config", '{"pooling_type": "LAST"}')
STARTUP_TIMEOUT = 400.0
"""Seconds for a server to start. On two busy cores it took up to 90."""


@contextmanager
def running_servers(folder: Path, logs: Path) -> Iterator[tuple[str, str]]:
    """Start a generating and a pooling server, and return their base URLs."""
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--served-model-name", "t1", "--dtype", "float32", "--enforce-eager", "--block-size", "32"]
    command += ["--max-num-seqs", "16"]
    with ExitStack() as stack:
        kinds = {"generate.log": GENERATE, "embed.log": EMBED}
        started = [stack.enter_context(starting([*command, *flags], logs / name)) for name, flags in kinds.items()]
        for server in started:
            server.wait(STARTUP_TIMEOUT)
        yield started[0].url, started[1].url
