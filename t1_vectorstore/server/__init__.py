"""An HTTP service over open vector stores: ``t1 serve``. Needs the ``server`` extra."""

from __future__ import annotations

from t1_vectorstore.errors import MissingExtraError

try:
    import fastapi  # noqa: F401 - only to report a missing extra
    import prometheus_client  # noqa: F401
    import uvicorn  # noqa: F401
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] not in ("fastapi", "prometheus_client", "uvicorn"):
        raise
    raise MissingExtraError("server", "the HTTP service") from error

from t1_vectorstore.server.app import create_app
from t1_vectorstore.server.options import ServiceOptions

__all__ = ["ServiceOptions", "create_app"]
