"""A cache that is copied to another layout has the same sequences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from t1_vectorstore.backends.decoder.config import DecoderConfig
from t1_vectorstore.backends.decoder.kv_cache import KVCache


@pytest.mark.parametrize("before", [0, 3, 7])
@pytest.mark.parametrize("after", [0, 3, 5, 9])
def test_rearranged(tiny: Path, before: int, after: int) -> None:
    config = DecoderConfig.read(json.loads((tiny / "config.json").read_text()))
    assert config is not None
    options = {"dtype": torch.float32, "device": torch.device("cpu")}
    lengths = [12, 20, 15]
    shared = torch.randn(config.layers, 2, config.kv_heads, 9, config.head_dim)
    sequences = torch.randn(config.layers, 2, 3, config.kv_heads, 20, config.head_dim)
    sequences[:, :, :, :, :9] = shared[:, :, None]
    prefix = None
    if before:
        prefix = KVCache(config, 1, before, **options)  # type: ignore[arg-type]
        prefix._memory[:, :, 0] = shared[..., :before, :]
    cache = KVCache(config, 4, 30, prefix=prefix, **options)  # type: ignore[arg-type]
    cache._memory[:, :, :3, :, : 20 - before] = sequences[..., before:, :]
    copied = cache.rearranged(5, 25, after, lengths)
    assert (copied.slots, copied.tokens, copied.prefix_length) == (5, 25, after)
    for layer in range(config.layers):
        for at, kind in enumerate(("keys", "values")):
            own = copied.read(layer, 3, 20)[at]
            if (found := copied.prefix(layer)) is not None:
                own = torch.cat([found[at].expand(3, -1, -1, -1), own], dim=2)
            for slot, length in enumerate(lengths):
                assert (own[slot, :, :length] == sequences[layer, at, slot, :, :length]).all(), kind
