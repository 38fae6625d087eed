"""A checkpoint's own chat template, rendered as transformers renders it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from t1_vectorstore.checkpoints.spec import Message
from t1_vectorstore.errors import CheckpointError, MissingExtraError

if TYPE_CHECKING:
    from jinja2.nodes import Node
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment


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
            MissingExtraError: jinja2 is not installed.
        """
        try:
            template = _environment().from_string(self.source)
            conversation = [message.model_dump() for message in messages]
            given = {"messages": conversation, "tools": None, "documents": None, "add_generation_prompt": True}
            return template.render(**given, **self.special_tokens)
        except MissingExtraError:
            raise
        except Exception as error:  # a template can raise anything
            raise CheckpointError(f"the chat template in {self.file} cannot render the prompt: {error}") from error


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    """Return the environment that transformers renders chat templates in: sandboxed, with its functions and tags.

    transformers itself, whose import takes seconds, is not needed.
    """
    try:
        from jinja2 import TemplateError
        from jinja2.ext import Extension, loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ModuleNotFoundError as error:
        raise MissingExtraError("local", "a prompt given as chat messages") from error

    class Generation(Extension):
        """``{% generation %}`` marks the parts that a model is trained on; it renders what it contains."""

        tags = {"generation"}  # noqa: RUF012 - as the base class declares it

        def parse(self, parser: Parser) -> list[Node]:
            next(parser.stream)
            return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))

    def raise_exception(message: str) -> NoReturn:
        raise TemplateError(message)

    def to_json(value: object, ensure_ascii: bool = False, **options: Any) -> str:  # noqa: ANN401 - of json.dumps
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json  # Jinja's own escapes characters for HTML
    environment.globals |= {
        "raise_exception": raise_exception,
        "strftime_now": lambda form: datetime.now().strftime(form),
    }
    return environment


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
