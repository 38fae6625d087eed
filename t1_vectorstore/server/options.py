"""The options of the HTTP service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator
from typing_extensions import Self

from t1_vectorstore.keyword_options import Flag, Integer, Number, Options, Text
from t1_vectorstore.server.hosts import is_loopback, parse_origin

DEFAULT_PORT = 8321


class ServiceOptions(Options):
    """Where the service listens, whom it answers, and its limits. All defaults are of this project."""

    host: Text = "127.0.0.1"
    """Address to listen on."""
    port: Integer = Field(default=DEFAULT_PORT, ge=0, le=65_535)
    """Port to listen on; 0 chooses a free one."""
    keys: Path | None = None
    """File with the API keys, which ``t1 keys add`` writes. Changes take effect at once."""
    without_keys: Flag = False
    """Accept requests without a key on an address that other machines reach."""
    allow_hosts: tuple[Text, ...] = ()
    """Host names under which browsers reach the service. Default: with keys any; without keys only ``localhost`` and IP
    addresses, so that a page of another site cannot reach the service by a DNS name of its own (DNS rebinding)."""
    allow_origins: tuple[Text, ...] = ()
    """Origins of other sites whose pages may call the service, such as ``https://app.example.com`` (CORS)."""
    grace: Number = Field(default=30.0, ge=0, le=3600)
    """Seconds that running requests have to finish after SIGTERM. Those that are left get an error."""
    query_slots: Integer = Field(default=16, ge=1, le=1024)
    """Number of requests with queries that are answered at the same time."""
    query_queue: Integer = Field(default=64, ge=0)
    """Number of further such requests that wait; more are refused with status 429."""
    document_slots: Integer = Field(default=2, ge=1, le=64)
    """Number of requests with documents that are answered at the same time, by threads of their own."""
    document_queue: Integer = Field(default=16, ge=0)
    """Number of further such requests that wait; more are refused with status 429."""
    requests_per_minute: Integer | None = Field(default=None, ge=1)
    """Maximum number of requests of a key in a minute; without keys, of an address. Default: no limit."""
    max_body_bytes: Integer = Field(default=16 * 2**20, ge=1024)
    """Maximum size of a request's body."""
    max_inputs: Integer = Field(default=2048, ge=1)
    """Maximum number of texts that one request embeds or ranks; OpenAI's limit is the same."""
    max_documents: Integer = Field(default=1000, ge=1)
    """Maximum number of documents, or ids, in one request."""
    max_hits: Integer = Field(default=1000, ge=1)
    """Maximum sum of ``limit`` and ``offset`` of a search."""
    max_explained: Integer = Field(default=50, ge=1)
    """Maximum number of hits of a search that explains them."""
    max_samples: Integer = Field(default=16, ge=1)
    """Maximum number of thoughts about one query."""
    client_seconds: Number = Field(default=30.0, gt=0)
    """Seconds that a client has to send its headers, to send the next part of a body, or to read the next part of an
    answer."""
    telemetry: Flag = False
    """Export OpenTelemetry spans as the standard environment variables say, such as ``OTEL_EXPORTER_OTLP_ENDPOINT``."""
    mcp: Flag = False
    """Also serve the indexes to agents, by the Model Context Protocol at ``/mcp``. Needs the extra ``mcp``."""
    log_texts: Flag = False
    """Log queries. Texts are in no log otherwise."""

    @model_validator(mode="after")
    def _check_exposure(self) -> Self:
        """Refuse to give everybody in the network access by mistake."""
        if not (self.keys or self.without_keys or is_loopback(self.host)):
            raise ValueError(
                f"host {self.host!r} is reached by other machines, and there are no API keys: create some with "
                "'t1 keys add', or accept requests without a key (--without-keys)"
            )
        if self.keys and self.without_keys:
            raise ValueError("API keys are given, and requests without a key are to be accepted; choose one of them")
        for origin in self.allow_origins:
            parse_origin(origin)
        return self
