"""Run any causal language model that transformers can load. It is the reference for this package's own decoder."""

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

from t1_vectorstore.backends.base import missing_weights
from t1_vectorstore.backends.decoding import Sampler, ThoughtState, step_inputs
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.errors import CheckpointError


class TransformersModel:
    """A ``LocalModel``."""

    padded = True

    def __init__(self, model: Any, *, pooling_layer: int, device: torch.device) -> None:  # noqa: ANN401
        self._decoder = model.get_decoder()
        self.logits: Callable[[torch.Tensor], torch.Tensor] = model.get_output_embeddings()
        self._embed: Callable[[torch.Tensor], torch.Tensor] = model.get_input_embeddings()
        self.vocabulary: int = model.get_input_embeddings().weight.shape[0]
        self._device = device
        self._layer = None if pooling_layer == self._decoder.config.num_hidden_layers else pooling_layer
        self._supports_cache = _supports_cache(model)

    def encode(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the pooled state at the last token of each sequence, ``(sequences, hidden)``."""
        pooled, _ = self._read(sequences)
        return pooled

    def shared_prefix(self, prompts: Sequence[Sequence[int]]) -> int:
        """Return 0: each prompt has its own cache."""
        return 0

    def generate(
        self, thoughts: Sequence[ThoughtState], sampler: Sampler, *, max_batch: int, prefill_tokens: int
    ) -> None:
        """Complete all thoughts, in batches of prompts of similar length; ``prefill_tokens`` is ignored."""
        ordered = sorted(thoughts, key=lambda thought: -len(thought.prompt))
        complete = self._generate_cached if self._supports_cache else self._generate_uncached
        for start in range(0, len(ordered), max_batch):
            complete(ordered[start : start + max_batch], sampler)

    def _generate_cached(self, active: Sequence[ThoughtState], sampler: Sampler) -> None:
        """Complete thoughts with a key-value cache, which each step extends by one token."""
        # Prefill: the prompts are padded on the left, so that all of them end in the last column.
        width = max(len(thought.prompt) for thought in active)
        pads = [width - len(thought.prompt) for thought in active]
        tokens = torch.tensor([[0] * pad + list(t.prompt) for pad, t in zip(pads, active, strict=True)])
        mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads])
        tokens, mask = tokens.to(self._device), mask.to(self._device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        cache = DynamicCache()
        inputs = {"input_ids": tokens}
        while active:
            pooled, last = self._states(
                **inputs, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
            kept = _collect(active, pooled[:, -1], last[:, -1])
            if len(kept) < len(active):  # drop the complete thoughts from the batch and from the cache
                rows = torch.tensor(kept, device=self._device, dtype=torch.long)
                cache.batch_select_indices(rows)
                active, mask, positions, last = [active[row] for row in kept], mask[rows], positions[rows], last[rows]
            if active:
                tokens = torch.tensor(sampler(active, last[:, -1]), device=self._device)
                inputs = {"inputs_embeds": step_inputs(self._embed(tokens), active)[:, None]}
                mask = torch.cat([mask, mask.new_ones(len(active), 1)], dim=1)
                positions = positions[:, -1:] + 1

    def _generate_uncached(self, active: Sequence[ThoughtState], sampler: Sampler) -> None:
        """Complete thoughts without a cache: slowly, as each step reads all tokens again, but rightly for any model."""
        sequences = [list(thought.prompt) for thought in active]
        while active:
            pooled, last = self._read(sequences, [thought.fed_back for thought in active])
            kept = _collect(active, pooled, last)
            active = [active[row] for row in kept]
            if active:
                tokens = sampler(active, last[kept])
                sequences = [
                    sequences[row] if thought.fed_back else [*sequences[row], token]
                    for row, thought, token in zip(kept, active, tokens, strict=True)
                ]

    def _read(
        self, sequences: Sequence[Sequence[int]], fed_back: Sequence[Sequence[torch.Tensor]] = ()
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the pooled and the final states at the last input of each sequence, each ``(sequences, hidden)``.

        A sequence's inputs are its tokens, then the states that are fed back to it.
        """
        # Padded on the right, which a causal model does not see: no mask and no position ids are needed.
        lengths = [len(ids) + len(states) for ids, states in zip_longest(sequences, fed_back, fillvalue=())]
        width = max(lengths)
        tokens = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in sequences], device=self._device)
        inputs = {"input_ids": tokens}
        if any(fed_back):
            embeddings = self._embed(tokens)
            for row, ids, states in zip(embeddings, sequences, fed_back, strict=True):
                for position, state in enumerate(states, start=len(ids)):
                    row[position] = state
            inputs = {"inputs_embeds": embeddings}
        pooled, last = self._states(**inputs, use_cache=False)
        rows = torch.arange(len(sequences), device=self._device)
        ends = torch.tensor(lengths, device=self._device) - 1
        return pooled[rows, ends], last[rows, ends]

    def _states(self, **inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401 - the decoder's own
        """Return the pooled and the final states at all tokens, each ``(sequences, tokens, hidden)``."""
        output = self._decoder(**inputs, output_hidden_states=self._layer is not None)
        last: torch.Tensor = output.last_hidden_state
        return (last if self._layer is None else output.hidden_states[self._layer]), last


def _collect(thoughts: Sequence[ThoughtState], pooled: torch.Tensor, last: torch.Tensor) -> list[int]:
    """Give the states of a step to the thoughts that have ended, and return the rows of those not yet complete."""
    for thought, pooled_state, last_state in zip(thoughts, pooled, last, strict=True):
        if thought.stop is not None:  # the step's input was its emb token, or a state
            thought.add_pass(pooled_state, last_state)
    return [row for row, thought in enumerate(thoughts) if thought.state is None]


def _supports_cache(model: Any) -> bool:  # noqa: ANN401
    """Whether keys and values, which ``DynamicCache`` holds, are all that the model remembers of a sequence.

    The state of a recurrent model would include the padding, or would be lost at each step.
    """
    decoder = model.get_decoder()
    layers = DynamicCache(config=decoder.config).layers
    known = "past_key_values" in inspect.signature(decoder.forward).parameters
    return known and not model._is_stateful and all(isinstance(layer, DynamicLayer) for layer in layers)


def load_causal_model(checkpoint: Checkpoint, dtype: torch.dtype, *, remote_code: bool) -> Any:  # noqa: ANN401
    """Load the model class that the checkpoint's configuration names.

    Raises:
        CheckpointError: The weights cannot be loaded, or some are missing.
    """
    loader: Any = AutoModelForCausalLM
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # a library should not write to the terminal
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
            logging.enable_progress_bar()
    if missing := sorted(report["missing_keys"]):  # transformers would only warn, and fill them with random values
        raise missing_weights(checkpoint.path, missing)
    if getattr(model.config.get_text_config(), "attn_logit_softcapping", None):
        model.set_attn_implementation("eager")  # the default, torch's fused kernel, ignores Gemma 2's soft cap
    return model.eval()
