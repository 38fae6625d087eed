"""An MCP server, by which agents search indexes: ``t1 mcp``. Needs the ``mcp`` extra."""

from t1_vectorstore.errors import MissingExtraError

try:
    from t1_vectorstore.mcp.server import Permitted, create_mcp_server, http_app
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] != "mcp":
        raise
    raise MissingExtraError("mcp", "the MCP server") from error

__all__ = ["Permitted", "create_mcp_server", "http_app"]
