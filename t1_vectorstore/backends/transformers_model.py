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
from t1_vectorstore.backends.batching import Layout
from t1_vectorstore.backends.decoding import Sampler, ThoughtState, step_inputs
from t1_vectorstore.backends.local_model import RunningBatch
from t1_vectorstore.backends.logits import head_of
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.errors import CheckpointError


class TransformersModel:
    """A ``LocalModel``."""

    padded = True
    joins = False

    def __init__(self, model: Any, *, pooling_layer: int, device: torch.device) -> None:  # noqa: ANN401
        self._decoder = model.get_decoder()
        self.logits = head_of(model)
        self.embed: Callable[[torch.Tensor], torch.Tensor] = model.get_input_embeddings()
        self.vocabulary: int = model.get_input_embeddings().weight.shape[0]
        self.device = device
        self._layer = None if pooling_layer == self._decoder.config.num_hidden_layers else pooling_layer
        self._supports_cache = _supports_cache(model)

    def encode(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the pooled state at the last token of each sequence, ``(sequences, hidden)``."""
        pooled, _ = self.read(sequences)
        return pooled

    def start_batch(self, sampler: Sampler) -> RunningBatch:
        """Return an empty batch of thoughts, whose tokens are chosen by ``sampler``."""
        return (_CachedBatch if self._supports_cache else _UncachedBatch)(self, sampler)

    def read(
        self, sequences: Sequence[Sequence[int]], fed_back: Sequence[Sequence[torch.Tensor]] = ()
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the pooled and the final states at the last input of each sequence, each ``(sequences, hidden)``.

        A sequence's inputs are its tokens, then the states that are fed back to it.
        """
        # Padded on the right, which a causal model does not see: no mask and no position ids are needed.
        lengths = [len(ids) + len(states) for ids, states in zip_longest(sequences, fed_back, fillvalue=())]
        width = max(lengths)
        tokens = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in sequences], device=self.device)
        inputs = {"input_ids": tokens}
        if any(fed_back):
            embeddings = self.embed(tokens)
            for row, ids, states in zip(embeddings, sequences, fed_back, strict=True):
                for position, state in enumerate(states, start=len(ids)):
                    row[position] = state
            inputs = {"inputs_embeds": embeddings}
        pooled, last = self.states(**inputs, use_cache=False)
        rows = torch.arange(len(sequences), device=self.device)
        ends = torch.tensor(lengths, device=self.device) - 1
        return pooled[rows, ends], last[rows, ends]

    def states(self, **inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401 - the decoder's own
        """Return the pooled and the final states at all tokens, each ``(sequences, tokens, hidden)``."""
        output = self._decoder(**inputs, output_hidden_states=self._layer is not None)
        last: torch.Tensor = output.last_hidden_state
        return (last if self._layer is None else output.hidden_states[self._layer]), last


class _Batch:
    """A ``RunningBatch`` that thoughts cannot join; the layout limits only their number.

    Attributes:
        thoughts: The incomplete thoughts.
    """

    def __init__(self, model: TransformersModel, sampler: Sampler) -> None:
        self._model, self._sampler = model, sampler
        self.thoughts: list[ThoughtState] = []
        self._tokens: list[int] = []  # the next input of each

    def remove(self, unwanted: Sequence[ThoughtState]) -> None:
        """Drop thoughts that nobody waits for."""
        kept = [row for row, thought in enumerate(self.thoughts) if thought not in unwanted]
        self._keep(kept)
        self._tokens = [self._tokens[row] for row in kept]

    def _advance(self, pooled: torch.Tensor, last: torch.Tensor) -> None:
        """Give the states of a step ``(thoughts, hidden)`` to the thoughts that have ended; choose the next tokens."""
        for thought, pooled_state, last_state in zip(self.thoughts, pooled, last, strict=True):
            if thought.stop is not None:  # the step's input was its emb token, or a state
                thought.add_pass(pooled_state, last_state)
        kept = [row for row, thought in enumerate(self.thoughts) if thought.state is None]
        self._keep(kept)
        self._tokens = self._sampler(self.thoughts, last[kept]) if kept else []

    def _keep(self, rows: Sequence[int]) -> None:
        """Drop the thoughts that are in other rows."""
        self.thoughts = [self.thoughts[row] for row in rows]


class _CachedBatch(_Batch):
    """Has a key-value cache, which each step extends by one token."""

    def admit(self, thoughts: Sequence[ThoughtState], layout: Layout) -> None:
        """Read thoughts, padded on the left, so that all of them end in the last column."""
        device, readings = self._model.device, [thought.reading(self._sampler.emb_id) for thought in thoughts]
        width = max(len(ids) for ids in readings)
        pads = [width - len(ids) for ids in readings]
        tokens = torch.tensor([[0] * pad + list(ids) for pad, ids in zip(pads, readings, strict=True)])
        self.thoughts = list(thoughts)
        self._mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads]).to(device)
        self._positions = (self._mask.cumsum(1) - 1).clamp(min=0)
        self._cache = DynamicCache()
        self._run(input_ids=tokens.to(device))

    def step(self) -> None:
        """Feed each thought its next token or state."""
        tokens = torch.tensor(self._tokens, device=self._model.device)
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        self._positions = self._positions[:, -1:] + 1
        self._run(inputs_embeds=step_inputs(self._model.embed(tokens), self.thoughts)[:, None])

    def _run(self, **inputs: torch.Tensor) -> None:
        pooled, last = self._model.states(
            **inputs,
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
        )
        self._advance(pooled[:, -1], last[:, -1])

    def _keep(self, rows: Sequence[int]) -> None:
        if len(rows) < len(self.thoughts):
            selected = torch.tensor(rows, device=self._model.device, dtype=torch.long)
            self._cache.batch_select_indices(selected)
            self._mask, self._positions = self._mask[selected], self._positions[selected]
        super()._keep(rows)


class _UncachedBatch(_Batch):
    """Reads all tokens again in each step: slowly, but rightly for any model."""

    def admit(self, thoughts: Sequence[ThoughtState], layout: Layout) -> None:
        """Read thoughts."""
        self.thoughts = list(thoughts)
        self._sequences = [list(thought.reading(self._sampler.emb_id)) for thought in thoughts]
        self._advance(*self._model.read(self._sequences))

    def step(self) -> None:
        """Feed each thought its next token or state."""
        self._sequences = [
            sequence if thought.fed_back else [*sequence, token]
            for sequence, thought, token in zip(self._sequences, self.thoughts, self._tokens, strict=True)
        ]
        self._advance(*self._model.read(self._sequences, [thought.fed_back for thought in self.thoughts]))

    def _keep(self, rows: Sequence[int]) -> None:
        self._sequences = [self._sequences[row] for row in rows]
        super()._keep(rows)


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
