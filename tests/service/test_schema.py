"""Requests made from the OpenAPI document: each is answered as it says, never with an error of the service.

``T1_SCHEMA_CASES`` is the number of cases for each operation, good and bad ones each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from t1_vectorstore import T1Embedder, T1VectorStore
from t1_vectorstore.server import ServiceOptions, create_app
from t1_vectorstore.server.keys import KeyFile, new_key
from tests.service.conftest import DOCUMENTS

pytestmark = pytest.mark.process

HOST = {"Host": "localhost"}
CASES = int(os.environ.get("T1_SCHEMA_CASES", "15"))
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
LENIENT = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), database=None)


class Setting:
    """An index, and keys of services over it."""

    def __init__(self, folder: Path) -> None:
        embedder = T1Embedder.fake(16, truncation="allow")
        self.store = T1VectorStore.open(folder / "index", embedder, hybrid=True)
        self.store.add(DOCUMENTS)
        secrets, entries = zip(new_key("reads"), new_key("writes", scopes=["read", "write"]), strict=True)
        file = folder / "keys.json"
        KeyFile(keys=entries).write(file)
        self.reads, self.writes = ({"Authorization": f"Bearer {secret}"} for secret in secrets)
        self._options = ServiceOptions(keys=file)

    def app(self, *, keys: bool = True) -> FastAPI:
        return create_app({"index": self.store}, options=self._options if keys else ServiceOptions())

    def contents(self) -> set[tuple[str, str]]:
        return {(chunk.id, chunk.content_hash) for chunk in self.store.scroll()}


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    made = Setting(tmp_path_factory.mktemp("service"))
    yield made
    made.store.close()


def run(app: FastAPI, check: Callable[[Case[Any]], None]) -> None:
    """Check good and bad requests of each operation."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=HOST)
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            with suppress(Unsatisfiable):  # nothing about the operation can be wrong
                LENIENT(given(case=operation.as_strategy(generation_mode=mode))(check))()


def test_without_keys(setting: Setting) -> None:
    run(setting.app(keys=False), lambda case: _validate(case, {}))


def test_with_a_key_that_writes(setting: Setting) -> None:
    run(setting.app(), lambda case: _validate(case, setting.writes))


def test_with_a_key_that_reads_nothing_is_written(setting: Setting) -> None:
    before = setting.contents()

    def check(case: Case[Any]) -> None:
        _validate(case, setting.reads)
        assert setting.contents() == before

    run(setting.app(), check)


def test_without_a_key_everything_is_refused(setting: Setting) -> None:
    before = setting.contents()

    def check(case: Case[Any]) -> None:
        response = case.call(headers={**HOST, "Authorization": "Bearer wrong"})
        assert response.status_code in (401, 405) or case.path in ("/healthz", "/readyz"), response.text

    run(setting.app(), check)
    assert setting.contents() == before


def _validate(case: Case[Any], headers: dict[str, str]) -> None:
    case.call_and_validate(checks=CHECKS, headers={**HOST, **headers})
