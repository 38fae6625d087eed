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
    """Jinja source and the special tokens it may name.

    Attributes:
        source: the template.
        special_tokens: ``bos_token``, ``eos_token`` and the like, as strings.
        file: where it was read, for errors.
    """

    source: str
    special_tokens: Mapping[str, str]
    file: Path

    @classmethod
    def read(cls, folder: Path) -> ChatTemplate | None:
        """The template of a checkpoint folder; ``None`` where it has none.

        Raises:
            CheckpointError: a file that cannot be read.
        """
        settings, file = _settings(folder / "tokenizer_config.json"), folder / "chat_template.jinja"
        source: Any = settings.get("chat_template")
        if file.is_file():
            source = file.read_text(encoding="utf-8")
        else:
            file = folder / "tokenizer_config.json"
        if isinstance(source, list):  # several named templates
            source = next((entry["template"] for entry in source if entry.get("name") == "default"), None)
        if not isinstance(source, str):
            return None
        tokens = {name: value for name, value in settings.items() if name.endswith("_token")}
        texts = {name: value.get("content") if isinstance(value, dict) else value for name, value in tokens.items()}
        return cls(source, {name: text for name, text in texts.items() if isinstance(text, str)}, file)

    def render(self, messages: Sequence[Message]) -> str:
        """The messages as one string, up to where the model's answer begins.

        Raises:
            CheckpointError: the template refuses them.
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
        except Exception as error:  # whatever a template does wrong is the checkpoint's fault
            raise CheckpointError(f"the chat template in {self.file} cannot render the prompt: {error}") from error
        texts, _ = rendered
        return str(texts[0])


def _settings(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"{file} is no JSON object but a {type(settings).__name__}")
    return settings
