"""The policy of stage 3: thoughts sampled from the model as it is, and how likely it finds their tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from t1_vectorstore.backends.decoder.config import DecoderConfig
from t1_vectorstore.backends.decoder.decoder import Decoder
from t1_vectorstore.backends.decoder.model import DEVICES, DecoderModel
from t1_vectorstore.backends.decoder.weights import copy_weights
from t1_vectorstore.backends.devices import find_dtype
from t1_vectorstore.backends.local import LocalBackend, LocalModel
from t1_vectorstore.backends.transformers import TransformersModel
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.training.batching import Tokens, pack
from t1_vectorstore.training.model import T1ForTraining
from t1_vectorstore.types import Trajectory


class ThoughtSampler:
    """Samples thoughts by the code that serves the model: what is rewarded is what a user would get."""

    def __init__(self, model: T1ForTraining, config: Mapping[str, Any], prompter: Prompter, temperature: float) -> None:
        """Make ready to sample.

        Args:
            model: The policy; whatever its weights are at a call.
            config: Its ``config.json``.
            prompter: Whose stop tokens end a thought, and whose specification limits it.
            temperature: Of the sampling; nothing else narrows it.
        """
        self._model, self._prompter = model, prompter
        self._shape = None if model.adapted else DecoderConfig.read(config)
        changes = {"temperature": temperature, "top_k": 0, "top_p": 1.0}
        self._decoding = prompter.spec.decoding.model_copy(update=changes)

    def __call__(self, prompts: Sequence[Sequence[int]], samples: int, seed: int) -> list[Trajectory]:
        """So many thoughts about each prompt, one after the other.

        Args:
            prompts: Token ids up to where a thought begins.
            samples: Thoughts about each.
            seed: The same one gives the same thoughts.
        """
        device = self._model.causal.get_input_embeddings().weight.device
        backend = LocalBackend(self._now(device), device, stop_ids=self._prompter.stop_ids)
        return backend.think(prompts, self._decoding.model_copy(update={"seed": seed}), samples=samples)

    def _now(self, device: torch.device) -> LocalModel:
        causal = self._model.causal
        if self._shape is None or device.type not in DEVICES:
            return TransformersModel(causal, pooling_layer=causal.config.num_hidden_layers, device=device)
        dtype = find_dtype("auto", device)
        decoder = Decoder(self._shape, copy_weights(dict(causal.named_parameters()), self._shape, dtype=dtype))
        return DecoderModel(decoder, pooling_layer=self._shape.layers, dtype=dtype)


def log_probabilities(
    model: Any,  # noqa: ANN401 - transformers', or what peft or accelerate have wrapped around it
    ids: Tensor,
    mask: Tensor,
    predicted: int,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """How likely a model finds the last tokens of each row, in one packed pass without padding.

    Args:
        model: A causal language model whose attention is :data:`~t1_vectorstore.training.model.PACKED`.
        ids: (rows, width) token ids, with padding on both sides.
        mask: (rows, width), 1 where they count.
        predicted: How many of the last columns are asked for.
        temperature: Divides the logits.

    Returns:
        The logarithms of the probabilities (rows, predicted), and without gradients the entropies of the
        distributions that the tokens were drawn from, in nats; both 0 at padding.
    """
    begins = mask[:, :-predicted].sum(1).tolist()
    rows = [Tokens(row[keep.bool()].tolist(), begin) for row, keep, begin in zip(ids, mask, begins, strict=True)]
    packed = pack(rows).to(ids.device)
    logits = model(
        input_ids=packed.ids,
        position_ids=packed.positions,
        attention_mask=packed.ids.new_zeros(1, 1, 1, 1, dtype=torch.bool),
        use_cache=False,
        groups=packed.groups,
        logits_to_keep=packed.predicted - 1,
    ).logits[0]
    shares = (logits.float() / temperature).log_softmax(-1)
    found = shares.gather(-1, packed.labels[:, None])[:, 0]
    with torch.no_grad():
        spread = functional.softmax(shares, -1).mul_(shares).sum(-1).neg()
    lengths = torch.tensor([len(row.ids) - row.predict_from for row in rows], device=ids.device)
    columns = packed.predicted - packed.ends[packed.owners] + lengths[packed.owners] - 1
    blank = found.new_zeros(len(rows), predicted)
    at = (packed.owners, columns)
    return blank.index_put(at, found), blank.index_put(at, spread)
