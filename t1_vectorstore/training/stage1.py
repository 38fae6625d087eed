"""Stage 1: supervised thoughts and contrastive vectors, L = 1 LM + 1 InfoNCE + 2 triplet margin.

    python -m t1_vectorstore.training.stage1 --data countries.jsonl.gz --out runs/t1-mini
    python -m t1_vectorstore.training.stage1 --data countries.jsonl.gz --out runs/static --static

The second command trains the static twin: the same backbone, data, losses and compute, but no thoughts. An interrupted
run continues from its last checkpoint when the same command is given again.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from t1_vectorstore.demo.chains import MAX_HOPS, Sampler, build_corpus, build_split
from t1_vectorstore.demo.factbook import World, read_world
from t1_vectorstore.errors import TrainingFailed
from t1_vectorstore.prompts import Prompter
from t1_vectorstore.training import losses, run_state
from t1_vectorstore.training import model as models
from t1_vectorstore.training.batching import Encoder, Packed, make_batch, pack
from t1_vectorstore.training.tokenizer import specification, train_tokenizer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage1Config:
    """Everything a run depends on.

    Attributes:
        data: The Factbook's records.
        out: Folder for the model, the checkpoint and the log.
        static: Train without thoughts: the control.
        seconds: Training time, over which the learning rate falls; unlimited if None.
        steps: Steps, likewise. A run limited by steps alone is the same on every repetition.
        tokenizer_draws: Queries and thoughts per number of hops that the vocabulary is made from.
        batch: Queries per step by number of hops, 0 to 4.
        think_share: Part of the queries that have their thought; the others learn to do without.
        trap_share: Part of the queries that add a hard negative to the in-batch negatives.
        probe_every: Steps between measurements of exact thoughts on held-out chains.
        report_every: Steps between lines on the console; the log file has every step.
        checkpoint_seconds: Time between checkpoints.
        init: Folder of a trained model to start from, with its tokenizer; from scratch if None.
    """

    data: Path
    out: Path
    static: bool = False
    seed: int = 0
    seconds: float | None = 2700.0
    steps: int | None = None
    shape: models.Shape = field(default_factory=models.Shape)
    vocab_size: int = 4096
    tokenizer_draws: int = 4000
    batch: tuple[int, ...] = (4, 36, 16, 18, 22)
    think_share: float = 0.8
    trap_share: float = 0.4
    learning_rate: float = 6e-3
    warmup_steps: int = 30
    weight_decay: float = 0.01
    clip: float = 1.0
    temperature: float = 0.05
    margin: float = 0.2
    lm_weight: float = 1.0
    info_nce_weight: float = 1.0
    triplet_weight: float = 2.0
    threads: int = 1
    probe_every: int = 200
    report_every: int = 20
    checkpoint_seconds: float = 240.0
    init: Path | None = None


def main(config: Stage1Config) -> Path:
    """Train, and return the folder that holds the model.

    Raises:
        FileNotFoundError, ValueError: The data file is missing or malformed, or no limit is set.
        TrainingFailed: The loss is not finite, ``out`` holds the checkpoint of another run, or torch is too old.
    """
    # 1. Refuse what cannot work before anything is computed.
    if not hasattr(torch.optim, "Muon"):
        raise TrainingFailed(f"torch {torch.__version__} has no Muon optimizer: install torch 2.9 or newer")
    if config.seconds is None and config.steps is None:
        raise ValueError("the run has no end: set seconds, steps or both")
    if len(config.batch) != MAX_HOPS + 1:
        raise ValueError(f"batch needs {MAX_HOPS + 1} counts, for 0 to {MAX_HOPS} hops, got {config.batch!r}")
    world = read_world(config.data)
    corpus = build_corpus(world)
    sampler = Sampler(world)
    config.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config.threads)

    # 2. Tokenizer and model.
    if config.init is None:
        drawn = _tokenizer_texts(sampler, config.tokenizer_draws)
        tokenizer = train_tokenizer([*(document.text for document in corpus), *drawn], config.vocab_size)
        model = models.new_model(config.shape, tokenizer, config.seed)
    else:
        from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

        tokenizer = PreTrainedTokenizerFast.from_pretrained(config.init)
        model = Qwen3ForCausalLM.from_pretrained(config.init, dtype=torch.float32)
    spec = specification(thinks=not config.static)
    encoder = Encoder(Prompter(tokenizer.backend_tokenizer, spec))
    texts = encoder.documents([document.text for document in corpus])
    documents = {document.id: tokens for document, tokens in zip(corpus, texts, strict=True)}
    probes = {} if config.static else _probes(world, encoder)
    optimizers = _optimizers(config, model)

    # 3. Continue from the checkpoint, if there is one of this run.
    identity = _identity(config)
    step, elapsed = run_state.restore(config.out, identity, model, optimizers)
    started = time.monotonic() - elapsed
    saved = elapsed
    log.info("%d documents, %d parameters, from step %d", len(corpus), model.num_parameters(), step)

    # 4. Train. The learning rate follows whichever limit is nearer.
    model.train()
    while (used := run_state.progress(step, elapsed, config.steps, config.seconds)) < 1.0:
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = config.learning_rate * run_state.schedule(step, used, config.warmup_steps)
        rng = random.Random(f"{config.seed}/{step}")
        examples = [e for hops, count in enumerate(config.batch) for e in sampler.draw(hops, count, rng)]
        think_share = 0.0 if config.static else config.think_share
        batch = make_batch(examples, documents, encoder, think_share, config.trap_share, rng)
        packed = pack([*batch.queries, *batch.documents])
        with torch.autocast("cpu", torch.bfloat16):
            vectors, logits = models.run(model, packed)
        query_vectors, document_vectors = vectors[: len(batch.queries)], vectors[len(batch.queries) :]
        lm = losses.language_model_loss(logits, packed.ids[0, packed.predicted])
        nce = losses.info_nce(query_vectors, document_vectors, batch.positives, config.temperature)
        triplet = losses.triplet_margin(query_vectors, document_vectors, batch.positives, config.margin)
        loss = config.lm_weight * lm + config.info_nce_weight * nce + config.triplet_weight * triplet
        if not math.isfinite(loss.item()):
            raise TrainingFailed(f"the loss is {loss.item()} at step {step}: lower the learning rate")
        model.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        for optimizer in optimizers:
            optimizer.step()
        step += 1
        elapsed = time.monotonic() - started

        # 5. Report and save.
        report: dict[str, float] = {"step": step, "seconds": round(elapsed, 1), "loss": loss.item()}
        report |= {"lm": lm.item(), "nce": nce.item(), "triplet": triplet.item()}
        if step % config.probe_every == 0:
            report |= {f"exact_{name}": models.exact_thoughts(model, probe) for name, probe in probes.items()}
        run_state.record(config.out, report, every=config.report_every)
        if elapsed - saved >= config.checkpoint_seconds:
            saved = elapsed
            run_state.checkpoint(config.out, identity, model, optimizers, step, elapsed)

    run_state.checkpoint(config.out, identity, model, optimizers, step, elapsed)
    models.save(model, tokenizer, spec, config.out / "model")
    return config.out / "model"


def _tokenizer_texts(sampler: Sampler, draws: int) -> list[str]:
    """Queries and thoughts for the vocabulary, beside the documents."""
    rng = random.Random("tokenizer")
    drawn = [example for hops in range(MAX_HOPS + 1) for example in sampler.draw(hops, draws, rng)]
    return [*(e.query for e in drawn), *(e.thought for e in drawn)]


def _probes(world: World, encoder: Encoder) -> dict[str, Packed]:
    """A few held-out chains, encoded with their thoughts; their seed is not the evaluation's."""
    probes = {}
    for part, hops in (("comp", 3), ("ood", 3), ("ood", 4)):
        examples = build_split(world, "comp" if part == "comp" else "ood", hops, count=64, seed=1)
        probes[f"{part}{hops}"] = pack(encoder.queries([e.query for e in examples], [e.thought for e in examples]))
    return probes


def _optimizers(config: Stage1Config, model: torch.nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embeddings and the norms; both at AdamW's learning rate."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed_tokens" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed_tokens" in name]
    rate, decay = config.learning_rate, config.weight_decay
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, weight_decay=decay, betas=(0.9, 0.98)),
    ]


def _identity(config: Stage1Config) -> dict[str, str]:
    """The part of the configuration that a continued run may not change."""
    free = {"data", "out", "seconds", "steps", "threads", "probe_every", "report_every", "checkpoint_seconds"}
    return {key: repr(value) for key, value in asdict(config).items() if key not in free}


def parse(arguments: list[str] | None = None) -> Stage1Config:
    """Read the command line; what it leaves out has the defaults of :class:`Stage1Config`."""
    parser = argparse.ArgumentParser(prog="python -m t1_vectorstore.training.stage1", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="countries.jsonl.gz")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--static", action="store_true", help="train the control that does not think")
    for name in ("seed", "steps", "threads", "probe-every"):
        parser.add_argument(f"--{name}", type=int, default=argparse.SUPPRESS)
    for name in ("seconds", "learning-rate", "think-share"):
        parser.add_argument(f"--{name}", type=float, default=argparse.SUPPRESS)
    parser.add_argument("--init", type=Path, default=argparse.SUPPRESS, help="trained model to start from")
    given = vars(parser.parse_args(arguments))
    if "steps" in given and "seconds" not in given:
        given["seconds"] = None  # a limit in steps alone makes a run repeatable
    return Stage1Config(**given)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    log.info("the model is in %s", main(parse()))
