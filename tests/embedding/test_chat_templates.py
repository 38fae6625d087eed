"""Chat templates render as transformers renders them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from t1_vectorstore.checkpoints.chat_template import ChatTemplate
from t1_vectorstore.checkpoints.spec import Message
from t1_vectorstore.errors import CheckpointError

MESSAGES = (Message(role="system", content="Ünicode <b> & {text}"), Message(role="user", content="x\n  y"))
TEMPLATES = {
    "ChatML": "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "blocks on lines of their own": "  {%- for m in messages %}\n    {% if m.role == 'user' %}\n  {{ m.content }}\n"
    "    {% endif %}\n  {% endfor %}\n{{ bos_token }}",
    "breaks": "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "parts for training": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}!{% endfor %}",
    "JSON": "{{ messages | tojson }} {{ messages[0] | tojson(indent=2) }} {{ {'b': 1} | tojson(sort_keys=true) }}",
    "dates": "{{ strftime_now('%Y') }}",
    "tests and methods": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
    "{{ m.content.strip().split('\n')[-1] if m.content is string and tools is not defined }}{% endfor %}{{ ns.n }}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_renders_as_with_transformers(name: str) -> None:
    tokens = {"bos_token": "<s>"}
    conversation = [message.model_dump() for message in MESSAGES]
    given: dict[str, Any] = {"chat_template": TEMPLATES[name], "add_generation_prompt": True, **tokens}
    texts, _ = render_jinja_template([conversation], **given)
    assert ChatTemplate(TEMPLATES[name], tokens, Path("file")).render(MESSAGES) == texts[0]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('no system role') }}", "no system role"),
        ("{{ messages[9].content.x }}", "undefined|no element"),
        ("{% for %}", "cannot render the prompt"),
        ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__'"),
        ("{{ messages.append(1) }}", "access to attribute 'append'"),
    ],
)
def test_a_template_that_fails_or_tries_to_escape_is_refused(template: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        ChatTemplate(template, {}, Path("file")).render(MESSAGES)
