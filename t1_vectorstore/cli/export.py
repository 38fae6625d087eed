"""``t1 export``: write models for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from t1_vectorstore.cli.commands import Command
from t1_vectorstore.cli.console import counted, print_text
from t1_vectorstore.cli.options import parse_fields
from t1_vectorstore.cli.progress import busy

if TYPE_CHECKING:
    from t1_vectorstore.embedding.cosines import Cosines
    from t1_vectorstore.export.verification import Comparison

export = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Write models for other programs.")


@export.command(cls=Command)
def gguf(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="t1-mini, t1-small, a checkpoint folder, or a hub id.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write, such as model.gguf.")],
    quant: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Number type of the weights: f32, bf16, f16, q8_0, q6_k, q5_k_m, q4_k_m, ..., q2_k."
        ),
    ] = "q8_0",
    preset: Annotated[
        str | None, typer.Option(help="Hub id whose preset describes a folder without t1_config.json.")
    ] = None,
    base: Annotated[
        Path | None, typer.Option(metavar="FILE", help="GGUF file of the base model, for an adapter such as t1-small.")
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="Change a field of the specification that is stored in the file."),
    ] = None,
    budget: Annotated[int, typer.Option(min=1, help="Maximum tokens of the thoughts that are compared.")] = 64,
    min_cosine: Annotated[
        float | None,
        typer.Option(
            min=-1, max=1, help="Smallest cosine with the original that is accepted.  [default: by number type]"
        ),
    ] = None,
) -> None:
    """Write a GGUF file, which llama.cpp runs.

    The file is compared with MODEL on a sample of texts before it gets its name. It needs the extras llama-cpp and
    local.
    """
    from t1_vectorstore.export.export import export_gguf
    from t1_vectorstore.options import ModelOptions

    options = ModelOptions(
        model=model, preset=preset, base=base, overrides=parse_fields("--override", override) or None
    )
    with busy(f"exporting {model}") as show:
        report = export_gguf(options, out, quant=quant, budget=budget, min_cosine=min_cosine, on_step=show)
    print_text("\n".join(_lines(report.comparison)))
    print_text(
        f"{report.file} has {report.size / 1e6:,.1f} MB; try t1 search INDEX QUERY --model {report.file}", wrap=False
    )


def _lines(comparison: Comparison) -> list[str]:
    """Return a line for each kind of text that was compared."""
    lines = [
        f"documents        {_cosines(comparison.documents)}",
        f"queries          {_cosines(comparison.queries)}",
    ]
    if comparison.own_thoughts is not None:
        thoughts = f"{comparison.same_thoughts} of {counted(comparison.thoughts, 'thought')} the same"
        changed = f"{comparison.changed_tokens} of {counted(comparison.tokens, 'token')} changed"
        lines[1] += " (with the original's thoughts)"
        lines.append(f"its own thoughts {_cosines(comparison.own_thoughts)}; {thoughts}, {changed}")
    return lines


def _cosines(cosines: Cosines) -> str:
    return f"cosine {cosines.mean:.5f} on average, {cosines.least:.5f} at least"
