"""The policy of stage 3: sampling thoughts, the log-probabilities of their tokens, and when to stop the training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from t1_vectorstore.backends.decoder.config import DecoderConfig
from t1_vectorstore.backends.decoder.decoder import Decoder
from t1_vectorstore.backends.decoder.model import DEVICES, DecoderModel
from t1_vectorstore.backends.decoder.weights import copy_weights
from t1_vectorstore.backends.devices import find_dtype
from t1_vectorstore.backends.local import LocalBackend
from t1_vectorstore.backends.local_model import LocalModel
from t1_vectorstore.backends.transformers_model import TransformersModel
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.training.model import MergedWeights, T1ForTraining
from t1_vectorstore.training.packing import TokenSequence, pack
from t1_vectorstore.types import Trajectory


class ThoughtSampler:
    """Samples thoughts with the code that serves the model, so that training rewards what a user would get."""

    def __init__(self, model: T1ForTraining, config: Mapping[str, Any], prompter: Prompter, temperature: float) -> None:
        """Sample from ``model``, whose ``config.json`` is ``config``, at this temperature without top-k and top-p.

        Every call uses the current weights; the stop tokens and the thought budget are the prompter's.
        """
        self._model, self._prompter = model, prompter
        self._config = DecoderConfig.read(config)
        settings = {"temperature": temperature, "top_k": 0, "top_p": 1.0}
        self._decoding = prompter.spec.decoding.model_copy(update=settings)

    def __call__(self, prompts: Sequence[Sequence[int]], samples: int, seed: int) -> list[Trajectory]:
        """Return ``samples`` thoughts for each prompt, one prompt after the other; equal seeds give equal thoughts."""
        device = self._model.causal.get_input_embeddings().weight.device
        backend = LocalBackend(self._serving_model(device), device, stop_ids=self._prompter.stop_ids)
        return backend.think(prompts, self._decoding.model_copy(update={"seed": seed}), samples=samples)

    def _serving_model(self, device: torch.device) -> LocalModel:
        causal = self._model.causal
        if self._config is None or device.type not in DEVICES:
            return TransformersModel(causal, pooling_layer=causal.config.num_hidden_layers, device=device)
        dtype = find_dtype("auto", device)
        decoder = Decoder(self._config, copy_weights(MergedWeights(causal), self._config, dtype=dtype))
        return DecoderModel(decoder, pooling_layer=self._config.layers)


def log_probabilities(
    model: Any,  # noqa: ANN401 - of transformers, possibly wrapped by peft or accelerate
    ids: Tensor,
    mask: Tensor,
    predicted: int,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Compute the log-probabilities of the last tokens of each row, in one packed pass without padding.

    Args:
        model: Causal language model with the attention ``PACKED_ATTENTION``.
        ids: Token ids (rows, width), padded on both sides.
        mask: 1 at tokens, 0 at padding (rows, width).
        predicted: Number of last columns to compute.
        temperature: Divisor of the logits.

    Returns:
        Log-probabilities (rows, predicted), and without gradients the entropies in nats of the distributions that the
        tokens were drawn from; both are 0 at padding.
    """
    # 1. Pack the rows without their padding.
    starts = mask[:, :-predicted].sum(1).tolist()
    rows = [TokenSequence(row[m.bool()].tolist(), start) for row, m, start in zip(ids, mask, starts, strict=True)]
    packed = pack(rows).to(ids.device)
    # 2. One forward pass. The logits at the token before predict a token, and only those are computed. The packed
    #    attention takes its mask from ``groups``; the empty mask keeps transformers from making a causal one.
    logits = model(
        input_ids=packed.ids,
        position_ids=packed.positions,
        attention_mask=packed.ids.new_zeros(1, 1, 1, 1, dtype=torch.bool),
        use_cache=False,
        groups=packed.groups,
        logits_to_keep=packed.predicted - 1,
    ).logits[0]
    distributions = (logits.float() / temperature).log_softmax(-1)
    values = distributions.gather(-1, packed.labels[:, None])[:, 0]
    with torch.no_grad():
        entropies = functional.softmax(distributions, -1).mul_(distributions).sum(-1).neg()
    # 3. Put the packed values back into their rows: ``ends`` has the place of a row's last token, so a token's distance
    #    to it gives the token's column among the predicted ones of its row.
    lengths = torch.tensor([len(row.ids) - row.predict_from for row in rows], device=ids.device)
    columns = packed.predicted - packed.ends[packed.owners] + lengths[packed.owners] - 1
    zeros = values.new_zeros(len(rows), predicted)
    places = (packed.owners, columns)
    return zeros.index_put(places, values), zeros.index_put(places, entropies)


class CollapseMonitor:
    """Detects a policy that collapses, and rewards that carry no signal."""

    def __init__(self, collapse: float, patience: int, window: int = 20) -> None:
        """Set the limits.

        Args:
            collapse: Largest fall of the share of exact thoughts below its maximum, both averaged over ``window``.
            patience: Largest number of consecutive steps in which no group's rewards vary.
            window: Number of steps to average.
        """
        self._collapse, self._patience, self._window = collapse, patience, window
        self._best, self._constant_steps = 0.0, 0
        self._recent: list[float] = []

    def __call__(self, step: int, groups: Sequence[Sequence[float]], exact: float | None) -> str | None:
        """Record the rewards of each group in a step, and the share of exact thoughts if right thoughts are known.

        Returns:
            Reason to stop the run, or ``None``.
        """
        varies = any(max(group) - min(group) > 1e-6 for group in groups)
        self._constant_steps = 0 if varies else self._constant_steps + 1
        if self._constant_steps >= self._patience:
            return (
                f"the rewards within each group have been equal for {self._constant_steps} steps up to step {step}, so "
                "nothing can be learnt from them. Raise sampling, use harder queries, or check the positives"
            )
        mean = None if exact is None else self._record(exact)
        if mean is not None and mean < self._best - self._collapse:
            return (
                f"exact thoughts have fallen from {self._best:.0%} to {mean:.0%} at step {step}: the policy "
                "collapses. Lower learning_rate, or raise kl or replay"
            )
        return None

    def restore(self, logged: Iterable[float], every: int) -> None:
        """Record the steps of a continued run from its logged shares of exact thoughts, each a mean of ``every``."""
        for share in logged:
            for _ in range(every):
                self._record(share)

    def _record(self, exact: float) -> float | None:
        """Return the mean of the last ``window`` steps, or ``None`` for the first steps."""
        self._recent = [*self._recent[-self._window + 1 :], exact]
        if len(self._recent) < self._window:
            return None
        mean = sum(self._recent) / self._window
        self._best = max(self._best, mean)
        return mean
