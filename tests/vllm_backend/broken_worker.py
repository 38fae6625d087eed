"""A worker as it would be if vLLM's model runner were of another make."""

from __future__ import annotations


class UnknownRunner:
    """In the place of ``StateKeeper``."""

    def t1_install(self) -> bool:
        raise RuntimeError("a model runner of unknown make")
