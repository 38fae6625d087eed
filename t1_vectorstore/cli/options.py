"""Options that several commands share, and the parsing of their values.

Options that belong together are the fields of a dataclass. A command takes them as one parameter; ``takes_flags`` shows
Typer the fields.
"""

from __future__ import annotations

import inspect
import json
import re
import shlex
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from t1_vectorstore.types import IndexKind

if TYPE_CHECKING:
    from t1_vectorstore.collection import Collection
    from t1_vectorstore.indexing.chunking import Chunker
    from t1_vectorstore.options import ModelOptions
    from t1_vectorstore.readers import Fields

# The sections of a command's help.
documents_option = partial(typer.Option, rich_help_panel="Documents")
model_option = partial(typer.Option, rich_help_panel="Model")
output_option = partial(typer.Option, rich_help_panel="Output")
search_option = partial(typer.Option, rich_help_panel="Search")
storage_option = partial(typer.Option, rich_help_panel="Storage")

FILTER_HELP = (
    'documents with this metadata value. Repeat it for more keys or values, or give JSON: \'{"year": {"gte": 2000}}\'.'
)

# What begins like KEY=VALUE, but has another operator than "=".
_COMPARISON = re.compile(r"[^=<>!~]*(?:[<>~]|!=|==)")

Where = Annotated[str, typer.Argument(metavar="DIR|URL", help="Index folder, or URL of a Qdrant server.")]
Index = Annotated[str, storage_option(metavar="DIR|URL", help="Index folder, or URL of a Qdrant server.")]
Name = Annotated[str, storage_option(help="Name of the collection.")]
Cache = Annotated[
    bool,
    typer.Option(
        "--cache/--no-cache",
        envvar="T1_CACHE",
        rich_help_panel="Thinking",
        help="Keep thoughts and vectors on disk, so that a repeated query needs no model; see t1 cache.",
    ),
]
Adopt = Annotated[
    bool,
    storage_option(
        "--adopt", help="Open a collection that does not record its model, such as another package's; give --model."
    ),
]
CompatibleWith = Annotated[
    str | None,
    storage_option(
        metavar="MODEL",
        help="Search vectors of this other model with --model, if it gives nearly the same, as a quantised file does.",
    ),
]
QDRANT_API_KEY = "QDRANT_API_KEY"
ApiKey = Annotated[
    str | None, storage_option(envvar=QDRANT_API_KEY, help="API key of Qdrant, or of a T1 service.", show_envvar=True)
]
ReadOnly = Annotated[
    bool, storage_option("--read-only", help="Read a copy of the index, also where it is in use or not writable.")
]
Json = Annotated[bool, output_option("--json", help="Print only JSON on standard output.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Model = Annotated[
    str | None,
    model_option(
        help="'t1-mini' (bundled), 't1-small', a checkpoint folder, or a hub id.  [default: the index's own; for a new "
        "one t1-small if that is installed, else t1-mini]"
    ),
]


@dataclass(frozen=True)
class SourceFlags:
    """How documents are read and cut into chunks. Without sizes, they are those of the index's latest load."""

    text_field: Annotated[str | None, documents_option(help="Field of the text.  [default: text, after title]")] = None
    id_field: Annotated[str | None, documents_option(help="Field of the document id.  [default: id or _id]")] = None
    encoding: Annotated[
        str | None, documents_option(help="Encoding of text files, such as cp1252.  [default: UTF-8 or UTF-16]")
    ] = None
    chunk_size: Annotated[
        int | None, documents_option(help="Maximum characters in a chunk.  [default: as in the latest load, else 1600]")
    ] = None
    overlap: Annotated[
        int | None,
        documents_option(help="Characters that adjacent chunks share.  [default: as in the latest load, else 0]"),
    ] = None

    def fields(self, kinds: Mapping[str, IndexKind]) -> Fields:
        """Return the names of the fields, the encoding, and the kinds of indexed metadata fields."""
        from t1_vectorstore.readers import Fields

        return Fields(self.text_field, self.id_field, kinds=kinds, encoding=self.encoding)

    def chunker(self, collection: Collection | None = None) -> Chunker:
        """Return a chunker by characters, after checking the sizes."""
        from t1_vectorstore.indexing.chunk_documents import chunk_sizes
        from t1_vectorstore.indexing.chunking import Chunker

        return Chunker(*chunk_sizes(collection, self.chunk_size, self.overlap))


@dataclass(frozen=True)
class StorageFlags:
    """How a new index is stored."""

    hybrid: Annotated[
        bool | None,
        storage_option("--hybrid/--no-hybrid", help="Store words for hybrid searches.  [default: no, or as before]"),
    ] = None
    index_field: Annotated[
        list[str] | None,
        storage_option(
            metavar="FIELD=KIND",
            help="Metadata field to index for filters, and its kind: keyword, integer, float, bool, datetime or text.",
        ),
    ] = None
    tenant: Annotated[str | None, storage_option(help="Metadata field that names the tenant.")] = None
    on_disk: Annotated[
        bool | None, storage_option("--on-disk", help="Read the vectors from disk, not memory.", show_default=False)
    ] = None
    quantization: Annotated[str | None, storage_option(metavar="int8|binary", help="Search by compressed vectors.")] = (
        None
    )

    def options(self) -> dict[str, Any]:
        """Return the options of ``Collection.open`` for a new index; those that are not given are ``None``."""
        from t1_vectorstore.options import Storage

        given = {name: getattr(self, name, None) for name in ("on_disk", "quantization", "shards", "replicas")}
        storage = {name: value for name, value in given.items() if value is not None}
        return {
            "hybrid": self.hybrid,
            "indexes": _parse_indexes(self.index_field),
            "tenant": self.tenant,
            "storage": Storage(**storage) if storage else None,
        }


@dataclass(frozen=True)
class NewIndexFlags(StorageFlags):
    """How a new index is stored, also on a cluster of servers."""

    shards: Annotated[int | None, storage_option(help="Number of shards on a cluster of servers.")] = None
    replicas: Annotated[int | None, storage_option(help="Number of servers that hold each shard.")] = None


@dataclass(frozen=True)
class ModelFlags:
    """Which model is loaded, and how it runs."""

    model: Model = None
    preset: Annotated[
        str | None, model_option(help="Hub id whose preset describes a checkpoint folder without t1_config.json.")
    ] = None
    base: Annotated[
        Path | None,
        model_option(
            metavar="FILE",
            help="GGUF file of the base model, for an adapter such as t1-small.  [default: the installed package's]",
        ),
    ] = None
    override: Annotated[
        list[str] | None,
        model_option(
            metavar="FIELD=VALUE",
            help="Change a field of the checkpoint's specification, such as truncate_dim=128. Search an index with the "
            "same overrides that it was made with.",
        ),
    ] = None
    device: Annotated[
        list[str] | None,
        model_option(
            metavar="NAME",
            help="Device, such as cuda:1. Repeat it to share documents among several.  [default: a GPU, else cpu]",
        ),
    ] = None
    dtype: Annotated[
        str | None,
        model_option(
            metavar="NAME",
            help="Number type of the weights: float32, bfloat16 or float16.  [default: bfloat16 where the device "
            "computes in it]",
        ),
    ] = None
    batch_tokens: Annotated[
        int | None, model_option(help="Maximum tokens in a forward pass, to limit memory.  [default: by device type]")
    ] = None
    threads: Annotated[
        int | None,
        model_option(help="CPU threads for inference.  [default: 1 for a small model, else one for each core]"),
    ] = None
    backend: Annotated[
        str | None,
        model_option(
            metavar="NAME",
            help="transformers, llama-cpp, vllm or remote.  [default: transformers; llama-cpp for a .gguf file]",
        ),
    ] = None
    engine_option: Annotated[
        list[str] | None,
        model_option(
            metavar="KEY=VALUE",
            help="For llama-cpp, an option such as n_ctx=8192; for vllm, an engine argument such as "
            "max_model_len=8192; for remote, generate_url=URL and embed_url=URL.",
        ),
    ] = None

    def parse(self, *, refine_steps: int | None = None, here: bool = True) -> ModelOptions:
        """Return the options that the flags describe, after checking whether the backend can carry them out.

        Args:
            refine_steps: Number of refine steps that queries will ask for.
            here: Whether this command loads the model. Another machine may have other devices and packages.

        Raises:
            MissingExtraError: A package that the backend needs is not installed.
            ValueError: A value that a flag, or the backend, does not accept, or a device that this machine lacks.
        """
        from t1_vectorstore.backends import check_backend
        from t1_vectorstore.embedding.thinking import plan_refining
        from t1_vectorstore.errors import MissingExtraError
        from t1_vectorstore.options import ModelOptions, ThinkingOptions

        refining = plan_refining(ThinkingOptions(refine_steps=refine_steps))
        devices = self.device or []
        given: dict[str, Any] = {
            **{name: getattr(self, name) for name in ("preset", "base", "dtype", "batch_tokens", "threads", "backend")},
            "model": None if self.model is None else _absolute(self.model),
            "overrides": parse_fields("--override", self.override) or None,
            "device": devices[0] if len(devices) == 1 else None,
            "devices": devices if len(devices) > 1 else None,
            "engine_options": parse_fields("--engine-option", self.engine_option) or None,
        }
        set_flags = {name: value for name, value in given.items() if value is not None}
        options = ModelOptions(truncation="allow", **set_flags)
        try:
            check_backend(options, refining=refining, here=here)
        except MissingExtraError:
            if self.model is not None or self.backend is not None:
                raise
            # An index names its model, and that may need another backend. It is checked when the model is loaded.
        return options

    @property
    def to_repeat(self) -> str:
        """The flags that an index does not record, as they are typed: its searches need them too."""
        flags = [("--preset", self.preset), ("--base", self.base), *(("--override", it) for it in self.override or ())]
        return shlex.join(str(part) for flag, value in flags if value is not None for part in (flag, value))

    @property
    def place_model(self) -> bool:
        """Whether a flag says where or how the model runs; such flags are mistakes where no model is loaded."""
        given = (self.device, self.dtype, self.batch_tokens, self.threads, self.engine_option)
        return any(flag is not None for flag in given) or self.backend not in (None, "transformers")


def takes_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each parameter of a command that is a dataclass of flags by the fields of the dataclass."""
    groups: dict[str, tuple[Any, list[str]]] = {}
    expanded: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        group = parameter.annotation
        if isinstance(group, type) and is_dataclass(group):
            flags = inspect.signature(group, eval_str=True).parameters
            groups[name] = group, list(flags)
            expanded += flags.values()
        else:
            expanded.append(parameter)

    @wraps(command)
    def with_flags(**given: Any) -> None:  # noqa: ANN401 - those of the signature
        for name, (group, flags) in groups.items():
            given[name] = group(**{flag: given.pop(flag) for flag in flags})
        command(**given)

    by_name = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in expanded]
    with_flags.__signature__ = inspect.Signature(by_name)  # type: ignore[attr-defined] # what typer reads
    return with_flags


def _parse_indexes(given: Sequence[str] | None) -> dict[str, IndexKind] | None:
    """Parse ``FIELD=KIND`` for each metadata field to index; ``None`` if there is none."""
    indexes: dict[str, Any] = {}
    for text in given or ():
        field, _, kind = text.rpartition("=")
        if not field or kind not in get_args(IndexKind):
            raise ValueError(
                f"--index-field {text!r} is not FIELD=KIND, with a KIND of {', '.join(get_args(IndexKind))}"
            )
        indexes[field] = kind
    return indexes or None


def parse_fields(option: str, given: Sequence[str] | None) -> dict[str, Any]:
    """Parse ``NAME=VALUE`` for each time an option is given. A value that is not JSON is a string."""
    fields: dict[str, Any] = {}
    for text in given or ():
        field, equals, value = text.partition("=")
        if not equals or not field:
            raise ValueError(f"{option} {text!r} is not of the form name=value")
        if field in fields:
            raise ValueError(f"{option} {field}=... is given twice")
        try:
            fields[field] = json.loads(value)
        except json.JSONDecodeError:
            fields[field] = value
    return fields


def parse_filters(given: Sequence[str] | None) -> dict[str, Any] | None:
    """Parse each ``KEY=VALUE`` or JSON object into one filter for the store; ``None`` if there is none.

    ``year=1999`` matches the number and the string, since sources such as CSV have only strings. Several values of one
    key match any of them. A key of a JSON object has all its conditions there.
    """
    combined: dict[str, Any] = {}
    from_json: set[str] = set()
    for text in given or ():
        if text.lstrip().startswith("{"):
            try:
                conditions = json.loads(text)
            except json.JSONDecodeError as error:
                raise ValueError(f"--filter {text!r} is not JSON: {error.msg} at column {error.colno}") from None
            for key in conditions:
                _check_only_once(key, combined)
            combined.update(conditions)
            from_json.update(conditions)
            continue
        key, equals, value = text.partition("=")
        if _COMPARISON.match(text):
            raise ValueError(
                f'--filter {text!r}: comparisons are given as JSON, such as \'{{"year": {{"gte": 2000}}}}\'; there are '
                "gt, gte, lt, lte, ne, in, not_in and text"
            )
        if not equals or not key.strip():
            raise ValueError(f"--filter {text!r} is neither key=value nor a JSON object")
        _check_only_once(key.strip(), from_json)
        combined[key.strip()] = [*combined.get(key.strip(), []), *_interpretations(value)]
    return combined or None


def _check_only_once(key: str, known: Container[str]) -> None:
    if key in known:
        raise ValueError(
            f"--filter has {key!r} twice, once as JSON: give all conditions on it in one object, such as "
            f'\'{{"{key}": {{"gte": 2000, "lt": 2010}}}}\''
        )


def _interpretations(value: str) -> list[Any]:
    """Return the value as a string, and also as a number or Boolean if it can be read as one."""
    try:
        parsed = json.loads(value, parse_constant=str)
    except json.JSONDecodeError:
        return [value]
    return [value, parsed] if isinstance(parsed, bool | int | float) else [value]


def _absolute(model: str) -> str:
    """Return a folder's or file's absolute path, since an index records the name and is searched from anywhere."""
    from t1_vectorstore.checkpoints.checkpoint import named_models
    from t1_vectorstore.model_names import names_gguf

    path = Path(model).expanduser()
    here = path.is_dir() or (names_gguf(model) and path.is_file())
    return str(path.resolve()) if here and model not in named_models() else model
