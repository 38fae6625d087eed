"""``t1 mcp``: indexes for agents, by the Model Context Protocol."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from t1_vectorstore.cli.cache import cache_folder
from t1_vectorstore.cli.options import Adopt, ApiKey, Cache, ModelFlags, Name, takes_flags
from t1_vectorstore.cli.stores import open_stores


@takes_flags
def mcp(
    where: Annotated[
        list[str],
        typer.Argument(metavar="[NAME=]DIR|URL...", help="Indexes, each with the name by which agents choose it."),
    ],
    *,
    write: Annotated[bool, typer.Option("--write", help="Let agents store documents, and replace them.")] = False,
    cache: Cache = True,
    name: Name = "t1",
    adopt: Adopt = False,
    api_key: ApiKey = None,
    model_flags: ModelFlags,
) -> None:
    """Let an agent search (Model Context Protocol).

    The command is an MCP server on standard input and output, to be named in the agent's configuration. The agent gets
    the tools search, get and list_indexes, and with --write also upsert. Without --write, a folder is read as it was at
    the start, so that other processes can write to it.
    """
    from t1_vectorstore.mcp import create_mcp_server

    options = model_flags.parse().model_copy(update={"cache": cache_folder() if cache else None})
    with ExitStack() as stack:
        opened = open_stores(where, options, name=name, adopt=adopt, api_key=api_key, read_only=None if write else True)
        stores = stack.enter_context(opened)
        create_mcp_server(stores, write=write).run("stdio")
