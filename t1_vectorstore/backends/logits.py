"""What models do to their logits after the last matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def head_of(model: Any) -> Callable[[torch.Tensor], torch.Tensor]:  # noqa: ANN401 - transformers'
    """Return the function from the last hidden states of a causal language model to its logits.

    It is the output matrix and, as the model's configuration says, a scale (Granite, Cohere) or a soft cap (Gemma 2),
    which transformers applies outside of that matrix.
    """
    matrix: Callable[[torch.Tensor], torch.Tensor] = model.get_output_embeddings()
    config = model.config.get_text_config()
    scale = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    if scale == 1.0 and not cap:
        return matrix

    def logits(states: torch.Tensor) -> torch.Tensor:
        found = matrix(states) * scale
        return torch.tanh(found / cap) * cap if cap else found

    return logits
