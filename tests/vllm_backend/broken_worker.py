"""A worker extension that fails as with an unknown version of vLLM."""

from __future__ import annotations


class UnknownRunner:
    """Replaces ``StateKeeper``."""

    def t1_install(self) -> bool:
        raise RuntimeError("an unknown kind of model runner")
