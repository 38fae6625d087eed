"""The layer rule: every module lives on a floor; imports point down or stay level, never up, never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = "t1_vectorstore"

# A module without a line of its own lives on the floor of its package. A package's own file, where it stands above the
# modules it brings together, is `package.__init__`.
FLOORS = {
    "callers": 0,
    "errors": 0,
    "floats": 0,
    "loads": 0,
    "storage": 0,
    "types": 0,
    "batching": 1,
    "chat": 1,
    "checkpoint": 1,
    "digests": 1,
    "chunking": 1,
    "corpora": 1,
    "filters": 1,
    "ids": 1,
    "lexical": 1,
    "pooling": 1,
    "presets": 1,
    "prompts": 1,
    "specification": 1,
    "streaming": 1,
    "thinking": 1,
    "truncation": 1,
    "backends": 2,
    "engines": 2,
    "store": 2,
    "training.losses": 2,
    "training.rewards": 2,
    "backends.__init__": 3,
    "querying": 3,
    "embedder": 4,
    "asking": 5,
    "ingest": 5,
    "lifecycle": 5,
    "vectorstore": 5,
    "demo": 6,
    "distributed": 6,
    "evaluation": 6,
    "langchain": 6,
    "llama_index": 6,
    "mcp": 6,
    "server": 6,
    "training": 6,
    "cli": 7,
}

# Rooms that do not know each other, whatever their floors.
STRANGERS = (("store", "embedder"), ("engines", "embedder"), ("store", "backends"), ("training", "evaluation"))

# Heavy libraries and the rooms that own them. Nobody else imports them, so their errors are translated at one border.
OWNERS = {
    "bs4": ("corpora",),
    "lxml": ("corpora",),
    "markdownify": ("corpora",),
    "pyarrow": ("corpora",),
    "pypdf": ("corpora",),
    "torch": ("backends", "training", "evaluation"),
    "transformers": ("backends", "chat", "training", "evaluation"),
    "qdrant_client": ("store", "engines", "filters"),
    "qdrant_edge": ("store", "engines"),
    "langchain_core": ("langchain",),
    "llama_index": ("llama_index",),
    "ray": ("distributed",),
    "rich": ("cli",),
    "typer": ("cli",),
    "vllm": ("backends",),
}


def violations(package: Path, floors: Mapping[str, int] = FLOORS) -> list[str]:
    """Every breach of the rule below the folder ``package``, in words."""
    modules = {_name(path, package): path for path in sorted(package.rglob("*.py"))}
    found: list[str] = []
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        if not module:
            continue  # the front door loads names on use, from every floor
        if _floor(module, floors) is None:
            found.append(f"{module}: has no floor in tests/repo/layers.py")
            continue
        targets = {_resolve(target, modules) for target in _imports(path, module, package)}
        libraries = {target.split(".")[0] for target in _libraries(path)}
        found += [f"{module}: {complaint}" for target in targets if (complaint := _complaint(module, target, floors))]
        found += [f"{module}: imports {name}, owned by {OWNERS[name]}" for name in libraries if not _owns(module, name)]
        graph[module] = targets - {module}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append(f"imports go in a circle: {' -> '.join(error.args[1])}")
    return sorted(found)


def _complaint(module: str, target: str, floors: Mapping[str, int]) -> str | None:
    if not target:
        return "imports the front door; import the module that holds the name"
    here, there = _floor(module, floors), _floor(target, floors)
    if here is not None and there is not None and there > here:
        return f"floor {here} imports {target} on floor {there}"
    for pair in STRANGERS:
        if {_room(module), _room(target)} == set(pair):
            return f"imports {target}; {pair[0]} and {pair[1]} must not know each other"
    return None


def _floor(module: str, floors: Mapping[str, int]) -> int | None:
    if f"{module}.__init__" in floors:
        return floors[f"{module}.__init__"]
    while module and module not in floors:
        module = module.rpartition(".")[0]
    return floors.get(module)


def _room(module: str) -> str:
    return module.split(".")[0]


def _owns(module: str, library: str) -> bool:
    return library not in OWNERS or _room(module) in OWNERS[library]


def _name(path: Path, package: Path) -> str:
    return ".".join(path.relative_to(package).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def _resolve(target: str, modules: Mapping[str, Path]) -> str:
    """``store.Collection`` is a name in the module ``store``."""
    while target and target not in modules:
        target = target.rpartition(".")[0]
    return target


def _imports(path: Path, module: str, package: Path) -> Iterator[str]:
    """Dotted names inside the package that a file imports, anywhere in it, the package's own name left out."""
    parents = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(filter(None, [ROOT, *parents[: len(parents) - node.level + 1], base]))
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == ROOT and name != f"{ROOT}.__version__":
                yield name.removeprefix(ROOT).lstrip(".")


def _libraries(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
