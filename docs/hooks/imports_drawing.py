"""Draws which packages import which, as ``docs/architecture.svg``.

Run it from the repository's root: ``python -m docs.hooks.imports_drawing``. The imports are those that
tests/meta/layers.py allows; a test compares the drawing with them. An arrow is left out where a path of other arrows
says the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.meta.layers import ALLOWED_IMPORTS

FILE = Path(__file__).parents[1] / "architecture.svg"
EVERYWHERE = {
    *("disk_cache", "errors", "forks", "iteration", "keyword_options", "metadata", "model_names", "network"),
    *("options", "sentences", "service", "types"),
}
"""Imported by nearly every package: drawn once at the bottom, without arrows."""
PLACES: Mapping[str, tuple[float, int]] = {
    "cli": (1.5, 0),
    "training": (0, 1),
    "evaluation": (0, 2),
    "langchain": (1, 2),
    "llama_index": (2, 2),
    "mcp": (3, 2),
    "server": (3, 1),
    "export": (0, 3),
    "maintenance": (3, 3),
    "vectorstore": (1, 3),
    "searching": (0.5, 4),
    "indexing": (1.5, 4),
    "embedding": (0.5, 5),
    "readers": (1.5, 5),
    "collection": (2.5, 5),
    "backends": (0.5, 6),
    "engines": (2.5, 6),
    "checkpoints": (0.5, 7),
}
"""Column and row of each package: the model's packages to the left, the store's to the right."""
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 128, 40, 28, 40, 20


def draw(imports: Mapping[str, set[str]] = ALLOWED_IMPORTS) -> str:
    """Return the drawing as SVG.

    Raises:
        KeyError: A package has no place.
        ValueError: An import that would point up.
    """
    hidden = EVERYWHERE | {"__main__"}  # an alias of cli
    graph = {name: targets - EVERYWHERE for name, targets in imports.items() if name not in hidden}
    for name, targets in graph.items():
        if above := [target for target in targets if PLACES[target][1] <= PLACES[name][1]]:
            raise ValueError(f"{name} imports {above[0]}, which is not drawn below it")
    place = {
        name: (MARGIN + column * (WIDTH + GAP_X), MARGIN + row * (HEIGHT + GAP_Y))
        for name, (column, row) in PLACES.items()
        if name in graph
    }
    width = max(x for x, _ in place.values()) + WIDTH + MARGIN
    bottom = max(y for _, y in place.values()) + HEIGHT + GAP_Y
    shapes = [_arrow(place[name], place[target]) for name in sorted(graph) for target in sorted(_direct(name, graph))]
    shapes += [_box(name, *place[name], WIDTH) for name in sorted(place)]
    shapes.append(_box(", ".join(sorted(EVERYWHERE)) + " (used by all)", MARGIN, bottom, width - 2 * MARGIN))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {bottom + HEIGHT + MARGIN:g}" '
            'font-family="sans-serif" font-size="15" role="img" aria-label="Which packages import which">',
            '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
            'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#78909c"/></marker></defs>',
            *shapes,
            "</svg>\n",
        ]
    )


def _direct(name: str, graph: Mapping[str, set[str]]) -> set[str]:
    """Return the imported packages that no other imported package imports already."""
    return {target for target in graph[name] if not any(target in _reachable(other, graph) for other in graph[name])}


def _reachable(name: str, graph: Mapping[str, set[str]]) -> set[str]:
    return {each for target in graph[name] for each in {target, *_reachable(target, graph)}}


def _box(label: str, x: float, y: float, width: float) -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{HEIGHT}" rx="6" fill="#e8eaf6" stroke="#5c6bc0"/>'
        f'<text x="{x + width / 2:g}" y="{y + HEIGHT / 2 + 5:g}" text-anchor="middle" fill="#1a237e">{label}</text>'
    )


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1, x2, y2 = start[0] + WIDTH / 2, start[1] + HEIGHT, end[0] + WIDTH / 2, end[1]
    middle = (y1 + y2) / 2
    path = f"M{x1:g} {y1:g} C{x1:g} {middle:g} {x2:g} {middle:g} {x2:g} {y2:g}"
    return f'<path d="{path}" fill="none" stroke="#78909c" stroke-width="1.5" marker-end="url(#head)"/>'


if __name__ == "__main__":
    FILE.write_text(draw(), encoding="utf-8")
