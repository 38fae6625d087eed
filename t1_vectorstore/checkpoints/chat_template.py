"""A checkpoint's own chat template, rendered as transformers renders it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t1_vectorstore.checkpoints.spec import Message
from t1_vectorstore.errors import CheckpointError, MissingExtraError


@dataclass(frozen=True)
class ChatTemplate:
    """A Jinja template and the special tokens that it may use.

    Attributes:
        source: The template.
        special_tokens: Special tokens by variable name, such as ``bos_token`` and ``eos_token``.
        file: The file that the template was read from, for error messages.
    """

    source: str
    special_tokens: Mapping[str, str]
    file: Path

    @classmethod
    def read(cls, folder: Path) -> ChatTemplate | None:
        """Read the template of a checkpoint folder; return ``None`` if it has none.

        Raises:
            CheckpointError: A file cannot be read.
        """
        config_file, file = folder / "tokenizer_config.json", folder / "chat_template.jinja"
        config = read_json_object(config_file) if config_file.is_file() else {}
        if file.is_file():
            source: Any = file.read_text(encoding="utf-8")
        else:
            file, source = config_file, config.get("chat_template")
        if isinstance(source, list):  # several named templates
            source = next((entry["template"] for entry in source if entry.get("name") == "default"), None)
        if not isinstance(source, str):
            return None
        tokens = {name: value for name, value in config.items() if name.endswith("_token")}
        texts = {name: value.get("content") if isinstance(value, dict) else value for name, value in tokens.items()}
        return cls(source, {name: text for name, text in texts.items() if isinstance(text, str)}, file)

    def render(self, messages: Sequence[Message]) -> str:
        """Render messages as one string, up to where the model's answer begins.

        Raises:
            CheckpointError: The template cannot render them.
            MissingExtraError: transformers is not installed.
        """
        try:
            from transformers.utils.chat_template_utils import render_jinja_template
        except ModuleNotFoundError as error:
            raise MissingExtraError("local", "a prompt given as chat messages") from error
        conversation = [message.model_dump() for message in messages]
        given: dict[str, Any] = {"chat_template": self.source, "add_generation_prompt": True, **self.special_tokens}
        try:
            rendered: Any = render_jinja_template([conversation], **given)
        except Exception as error:  # a template can raise anything
            raise CheckpointError(f"the chat template in {self.file} cannot render the prompt: {error}") from error
        texts, _ = rendered
        return str(texts[0])


def read_json_object(file: Path) -> dict[str, Any]:
    """Read a checkpoint's configuration file.

    Raises:
        CheckpointError: It cannot be read, or is not a JSON object.
    """
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    if not isinstance(read, dict):
        raise CheckpointError(f"{file} must be a JSON object, got a {type(read).__name__}")
    return read
