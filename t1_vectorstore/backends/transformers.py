"""Any causal language model that transformers can load: the reference, and the way for what the lean path refuses."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.utils import logging

from t1_vectorstore.backends.decoding import Sampler, ThoughtState, step_inputs
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.errors import CheckpointError


class TransformersModel:
    """A :class:`~t1_vectorstore.backends.local.LocalModel`."""

    padded = True

    def __init__(self, model: Any, *, depth: int, device: torch.device) -> None:  # noqa: ANN401
        """Take a model of transformers apart, and which of its states are pooled."""
        self._decoder = model.get_decoder()
        self._to_logits: Callable[[torch.Tensor], torch.Tensor] = model.get_output_embeddings()
        self._embed: Callable[[torch.Tensor], torch.Tensor] = model.get_input_embeddings()
        self.vocabulary: int = model.get_input_embeddings().weight.shape[0]
        self._device = device
        self._layer = None if depth == self._decoder.config.num_hidden_layers else depth
        self._keeps_keys = _keeps_keys(model)

    @classmethod
    def load(
        cls, checkpoint: Checkpoint, *, depth: int, dtype: torch.dtype, device: torch.device, remote_code: bool
    ) -> TransformersModel:
        """Load whatever class the configuration names.

        Raises:
            CheckpointError: weights that do not load.
        """
        model = _load(checkpoint, dtype, remote_code).to(device).eval()
        return cls(model, depth=depth, device=device)

    def encode(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """The pooled state at the last token of each sequence, ``(rows, hidden)``."""
        pooled, _ = self._read(rows)
        return pooled

    def shared_prefix(self, prompts: Sequence[Sequence[int]]) -> int:
        """Nothing is read once for all prompts."""
        del prompts
        return 0

    def generate(
        self, rows: Sequence[ThoughtState], make_sampler: Callable[..., Sampler], *, max_batch: int, prefill_tokens: int
    ) -> None:
        """Bring every row to its end, in left-padded batches of prompts of similar length."""
        del prefill_tokens  # a batch's prompts are one rectangle
        sampler = make_sampler(self._to_logits)
        ordered = sorted(rows, key=lambda row: -len(row.prompt))
        think = self._think if self._keeps_keys else self._think_anew
        for start in range(0, len(ordered), max_batch):
            think(ordered[start : start + max_batch], sampler)

    def _think(self, alive: Sequence[ThoughtState], sampler: Sampler) -> None:
        width = max(len(row.prompt) for row in alive)
        pads = [width - len(row.prompt) for row in alive]
        tokens = torch.tensor([[0] * pad + list(row.prompt) for pad, row in zip(pads, alive, strict=True)])
        mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads])
        tokens, mask = tokens.to(self._device), mask.to(self._device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        cache = DynamicCache()
        inputs = {"input_ids": tokens}
        while alive:
            pooled, last = self._states(
                **inputs, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
            for row, state, end in zip(alive, pooled[:, -1], last[:, -1], strict=True):
                if row.stop is not None:  # this step fed its emb token, or a state
                    row.take(state, end)
            going = [at for at, row in enumerate(alive) if row.state is None]
            if len(going) < len(alive):
                keep = torch.tensor(going, device=self._device, dtype=torch.long)
                cache.batch_select_indices(keep)
                alive, mask, positions, last = [alive[at] for at in going], mask[keep], positions[keep], last[keep]
            if alive:
                tokens = torch.tensor(sampler(alive, last[:, -1]), device=self._device)
                inputs = {"inputs_embeds": step_inputs(self._embed(tokens), alive)[:, None]}
                mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
                positions = positions[:, -1:] + 1

    def _think_anew(self, alive: Sequence[ThoughtState], sampler: Sampler) -> None:
        """Without a cache: right whatever a model remembers, and slow, since each step reads all tokens again."""
        read = [list(row.prompt) for row in alive]
        while alive:
            pooled, last = self._read(read, [row.fed_back for row in alive])
            for row, state, end in zip(alive, pooled, last, strict=True):
                if row.stop is not None:
                    row.take(state, end)
            going = [at for at, row in enumerate(alive) if row.state is None]
            alive = [alive[at] for at in going]
            if alive:
                tokens = sampler(alive, last[going])
                read = [
                    read[at] if row.fed_back else [*read[at], token]
                    for at, row, token in zip(going, alive, tokens, strict=True)
                ]

    def _read(
        self, rows: Sequence[Sequence[int]], fed_back: Sequence[Sequence[torch.Tensor]] = ()
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The states that are pooled and the last ones, at the last input of each sequence, ``(rows, hidden)``.

        A sequence's inputs are its tokens, and then the states that are fed back to it.
        """
        # Padded on the right, where a causal model never looks: neither a mask nor position ids are needed.
        lengths = [len(row) + len(states) for row, states in zip_longest(rows, fed_back, fillvalue=())]
        width = max(lengths)
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=self._device)
        inputs = {"input_ids": ids}
        if any(fed_back):
            embedded = self._embed(ids)
            for sequence, row, states in zip(embedded, rows, fed_back, strict=True):
                for at, state in enumerate(states, start=len(row)):
                    sequence[at] = state
            inputs = {"inputs_embeds": embedded}
        each = torch.arange(len(rows), device=self._device)
        pooled, last = self._states(**inputs, use_cache=False)
        ends = torch.tensor(lengths, device=self._device) - 1
        return pooled[each, ends], last[each, ends]

    def _states(self, **inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401 - the decoder's own
        """The states that are pooled and the last ones, each ``(rows, tokens, hidden)``."""
        output = self._decoder(**inputs, output_hidden_states=self._layer is not None)
        last: torch.Tensor = output.last_hidden_state
        return (last if self._layer is None else output.hidden_states[self._layer]), last


def _keeps_keys(model: Any) -> bool:  # noqa: ANN401
    """Whether all that the model remembers of a sequence are its keys and values, which :class:`DynamicCache` holds.

    A recurrent model has a state that takes the padding in, or knows nothing of this cache and begins anew each step.
    """
    decoder = model.get_decoder()
    layers = DynamicCache(config=decoder.config).layers
    known = "past_key_values" in inspect.signature(decoder.forward).parameters
    return known and not model._is_stateful and all(isinstance(layer, DynamicLayer) for layer in layers)


def _load(checkpoint: Checkpoint, dtype: torch.dtype, remote_code: bool) -> Any:  # noqa: ANN401
    loader: Any = AutoModelForCausalLM
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call] # a library does not draw on its user's terminal
    try:
        model, report = loader.from_pretrained(
            checkpoint.path,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=remote_code,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{checkpoint.path} does not load as a causal language model: {error}") from error
    finally:
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    if absent := sorted(report["missing_keys"]):  # transformers would go on with random values in their place
        raise CheckpointError(
            f"{checkpoint.path} lacks weights its config.json asks for: {absent[:3]} ({len(absent)} in all)"
        )
    if getattr(model.config.get_text_config(), "attn_logit_softcapping", None):
        model.set_attn_implementation("eager")  # torch's fused kernel, the default, leaves Gemma 2's soft cap out
    return model
