"""The import rule: which packages may import which, and which packages own a heavy library."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = "t1_vectorstore"

# For each package or top-level module: the others that it may import. The table has no cycles, so imports point down.
# docs/architecture.md draws it, and a test compares the two.
ALLOWED_IMPORTS: Mapping[str, set[str]] = {
    "errors": set(),
    "forks": set(),
    "iteration": set(),
    "network": set(),
    "metadata": {"errors"},
    "sentences": set(),
    "disk_cache": {"errors", "forks"},
    "types": {"metadata"},
    "model_names": {"types"},
    "keyword_options": {"errors"},
    "options": {"keyword_options", "model_names", "types"},
    "service": {"errors", "forks", "network"},
    # The model side knows nothing of Qdrant.
    "checkpoints": {"disk_cache", "errors", "model_names", "options", "service", "types"},
    "backends": {"checkpoints", "errors", "forks", "network", "options", "service", "types"},
    "embedding": {
        *("backends", "checkpoints", "disk_cache", "errors", "forks", "keyword_options", "model_names", "options"),
        "types",
    },
    # The store side knows nothing of the model.
    "engines": {"errors", "forks", "network", "keyword_options", "options", "service", "types"},
    "collection": {"engines", "errors", "forks", "iteration", "metadata", "keyword_options", "options", "types"},
    "readers": {"errors", "types"},
    # Here both sides meet.
    "indexing": {
        *("collection", "embedding", "engines", "errors", "iteration", "keyword_options", "metadata", "readers"),
        *("sentences", "types"),
    },
    "searching": {"keyword_options", "options", "sentences", "types"},
    "vectorstore": {
        "collection",
        "embedding",
        "errors",
        "indexing",
        "keyword_options",
        "options",
        "searching",
        "types",
    },
    "export": {"backends", "checkpoints", "embedding", "errors", "options", "types"},
    # Applications of the vector store.
    "maintenance": {"collection", "embedding", "engines", "errors", "indexing", "iteration", "options", "types"},
    "evaluation": {
        *("collection", "embedding", "errors", "iteration", "options", "readers", "searching", "types"),
        "vectorstore",
    },
    "training": {
        *("backends", "checkpoints", "embedding", "errors", "evaluation", "indexing", "readers", "types"),
        "vectorstore",
    },
    "langchain": {
        *("collection", "embedding", "engines", "errors", "indexing", "keyword_options", "options", "types"),
        "vectorstore",
    },
    "llama_index": {
        *("backends", "checkpoints", "collection", "embedding", "engines", "errors", "indexing", "keyword_options"),
        *("metadata", "model_names", "options", "types", "vectorstore"),
    },
    "mcp": {"collection", "errors", "indexing", "types", "vectorstore"},
    "server": {
        *("backends", "checkpoints", "collection", "embedding", "engines", "errors", "indexing", "iteration"),
        *("keyword_options", "mcp", "options", "service", "types", "vectorstore"),
    },
    "__main__": {"cli"},
    "cli": {
        *("backends", "checkpoints", "collection", "disk_cache", "embedding", "errors", "evaluation", "export"),
        *("indexing", "maintenance", "mcp", "model_names", "network", "options", "readers", "server", "training"),
        "types",
        "vectorstore",
    },
}

# Heavy libraries and the packages that own them. No other package imports them, so that each library's errors are
# translated in one place.
LIBRARY_OWNERS: Mapping[str, set[str]] = {
    "bs4": {"readers"},
    "kreuzberg": {"readers"},
    "lxml": {"readers"},
    "markdownify": {"readers"},
    "pyarrow": {"readers"},
    "pypdf": {"readers"},
    "fastapi": {"server"},
    "opentelemetry": {"server"},
    "prometheus_client": {"server"},
    "starlette": {"mcp", "server"},
    "uvicorn": {"server"},
    "torch": {"backends", "training", "evaluation"},
    "transformers": {"backends", "training"},
    "gguf": {"checkpoints", "export"},
    "llama_cpp": {"backends"},
    "qdrant_client": {"engines", "llama_index", "types"},  # the last two: only for type checkers
    "qdrant_edge": {"collection", "engines"},
    "langchain_core": {"langchain"},
    "llama_index": {"llama_index"},
    "mcp": {"mcp"},
    "mcp_types": {"mcp"},
    "ray": {"indexing"},
    "rich": {"cli"},
    "typer": {"cli"},
    "vllm": {"backends"},
}


def violations(
    package: Path,
    allowed: Mapping[str, set[str]] = ALLOWED_IMPORTS,
    owners: Mapping[str, set[str]] = LIBRARY_OWNERS,
) -> list[str]:
    """Describe every import below the folder ``package`` that breaks the rule, and every entry that is out of date."""
    modules = {_name(path, package): path for path in sorted(package.rglob("*.py"))}
    found: list[str] = []
    graph: dict[str, set[str]] = {}
    used: dict[str, set[str]] = {name: set() for name in allowed}
    libraries_used: dict[str, set[str]] = {}
    for module, path in modules.items():
        if not module:
            continue  # __init__.py of the whole package loads names lazily, from every package
        here = _top(module)
        if here not in allowed:
            found.append(f"{module}: {here} is not listed in ALLOWED_IMPORTS of tests/meta/layers.py")
            continue
        targets = {_resolve(target, modules) for target in _imports(path, module, package)}
        for target in targets:
            there = _top(target)
            if not target:
                found.append(f"{module}: imports {ROOT} itself; import the module that defines the name")
            elif there != here:
                used[here].add(there)
                if there not in allowed[here]:
                    found.append(f"{module}: imports {target}, but {here} may not import {there}")
        for name in {target.split(".")[0] for target in _libraries(path)} & set(owners):
            libraries_used.setdefault(name, set()).add(here)
            if here not in owners[name]:
                found.append(f"{module}: imports {name}, owned by {', '.join(sorted(owners[name]))}")
        graph[module] = targets - {module}
    found += [
        f"{here}: {there} is allowed but not imported" for here in allowed for there in allowed[here] - used[here]
    ]
    found += [
        f"{name}: {owner} is listed as an owner but does not import it"
        for name in owners
        for owner in owners[name] - libraries_used.get(name, set())
    ]
    found += _cycles("packages", allowed) + _cycles("modules", graph)
    return sorted(found)


def _cycles(what: str, imports: Mapping[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return [f"the {what} import each other in a cycle: {' -> '.join(error.args[1])}"]
    return []


def _top(module: str) -> str:
    return module.split(".")[0]


def _name(path: Path, package: Path) -> str:
    return ".".join(path.relative_to(package).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def _resolve(target: str, modules: Mapping[str, Path]) -> str:
    """The module of a dotted name: ``collection.Collection`` is a name in the module ``collection``."""
    while target and target not in modules:
        target = target.rpartition(".")[0]
    return target


def _imports(path: Path, module: str, package: Path) -> Iterator[str]:
    """Dotted names inside the package that a file imports anywhere, without the package's own name."""
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
