"""The checkpoint of a model that a T1 service (``t1 serve``) runs, without its weights.

The service describes the model, so that prompts are built as they would be beside the weights, and the fingerprints are
the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from tokenizers import Tokenizer

from t1_vectorstore.checkpoints.chat_template import ChatTemplate
from t1_vectorstore.errors import BackendError, CheckpointError
from t1_vectorstore.service import ServiceClient, in_path


@dataclass(frozen=True)
class ServedModel:
    """What a service says of a model.

    Attributes:
        client: Connection to the service.
        record: The result of ``Checkpoint.describe`` on the service's side.
    """

    client: ServiceClient
    record: dict[str, Any]

    @classmethod
    def find(cls, location: str, *, token: SecretStr | str | None = None) -> ServedModel:
        """Ask a service for a model.

        Args:
            location: URL of the service, and the model's name if it has several: ``http://localhost:8321#t1-mini``.
            token: API key of the service.

        Raises:
            CheckpointError: The service has no such model, or several and none is named.
            BackendError: The service does not answer.
        """
        url, _, name = location.partition("#")
        client = ServiceClient(
            url.rstrip("/").removesuffix("/v1"),
            failure=BackendError,
            key_option="token",
            api_key=token.get_secret_value() if isinstance(token, SecretStr) else token,
        )
        try:
            names = [str(model["id"]) for model in client.get("models")["data"] if model["role"] is None]
            shown = ", ".join(map(repr, names)) or "none"
            if not name and len(names) != 1:
                raise CheckpointError(f"{url} has the models {shown}; choose one, as in {url}#NAME")
            chosen = name or names[0]
            if chosen not in names:
                raise CheckpointError(f"{url} has no model {chosen!r}; it has {shown}")
            return cls(client, client.get(f"models/{in_path(chosen)}/checkpoint"))
        except BaseException:
            client.close()
            raise

    @property
    def url(self) -> str:
        """Base URL of the service."""
        return self.client.url

    @property
    def path(self) -> Path:
        """The service, where a folder or a file would be."""
        return Path(self.url)

    @property
    def route(self) -> str:
        """Path of the model's routes at the service."""
        return f"models/{in_path(self.name)}"

    @property
    def name(self) -> str:
        """The model's name at the service, which collections record."""
        return str(self.record["name"])

    @property
    def refines(self) -> bool:
        """Whether the service's backend can refine queries."""
        return bool(self.record["refines"])

    @property
    def config(self) -> dict[str, Any]:
        """Nothing: the model's configuration is only needed beside its weights."""
        return {}

    @property
    def hidden_size(self) -> int:
        """Length of the model's hidden states."""
        return int(self.record["hidden_size"])

    @property
    def layers(self) -> int:
        """Number of layers of the model."""
        return int(self.record["layers"])

    @property
    def max_positions(self) -> int | None:
        """Longest sequence that the service accepts, in tokens; ``None`` if it does not say."""
        longest = self.record["max_positions"]
        return None if longest is None else int(longest)

    @cached_property
    def chat_template(self) -> ChatTemplate | None:
        """The checkpoint's own chat template; ``None`` if it has none."""
        template = self.record["chat_template"]
        return None if template is None else ChatTemplate(template[0], template[1], Path(self.url))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, as it was saved.

        Raises:
            CheckpointError: It cannot be read.
        """
        try:
            return Tokenizer.from_str(self.record["tokenizer"])
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(f"the tokenizer that {self.url} sent cannot be read: {error}") from error

    @property
    def digest(self) -> bytes:
        """SHA-256 of the checkpoint's files, as the service computed it."""
        return bytes.fromhex(self.record["digest"])
