"""The manifests: by the schemas of Kubernetes, and in agreement with the command line and the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from t1_vectorstore import T1Embedder
from t1_vectorstore.server import create_app
from tests.collection.qdrant_container import IMAGE
from tests.docker.test_images import parsed

FOLDER = Path(__file__).parents[2] / "docker" / "kubernetes"
MANIFESTS = [
    manifest for file in sorted(FOLDER.glob("*.yaml")) for manifest in yaml.safe_load_all(file.read_text("utf-8"))
]
WORKERS = [each for each in MANIFESTS if each["kind"] == "Deployment"]
each_worker = pytest.mark.parametrize("worker", WORKERS, ids=lambda worker: worker["metadata"]["name"])


def container(workload: dict[str, Any]) -> dict[str, Any]:
    [found] = workload["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_a_manifest_follows_the_schema(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    wrong = {**manifest, "specs": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_selectors_choose_the_pods() -> None:
    labels = [
        each["spec"]["template"]["metadata"]["labels"]
        for each in MANIFESTS
        if each["kind"] in ("Deployment", "StatefulSet")
    ]
    for each in MANIFESTS:
        if each["kind"] == "Service":
            selector = each["spec"]["selector"]
        elif "selector" in each["spec"]:
            selector = each["spec"]["selector"]["matchLabels"]
        else:
            continue
        assert any(selector.items() <= found.items() for found in labels), each["metadata"]["name"]


def test_one_worker_has_a_gpu_and_all_serve_the_same() -> None:
    commands = {each["metadata"]["name"]: parsed(container(each)["args"]) for each in WORKERS}
    assert container(WORKERS[0])["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {name: command["backend"] for name, command in commands.items()} == {"t1-gpu": "vllm", "t1-cpu": None}
    for same in ("where", "model", "keys", "host"):
        assert commands["t1-gpu"][same] == commands["t1-cpu"][same]


@each_worker
def test_a_worker_is_probed_confined_and_given_time(worker: dict[str, Any]) -> None:
    pod, made = worker["spec"]["template"]["spec"], container(worker)
    params = parsed(made["args"])
    assert made["ports"][0]["containerPort"] == params["port"]
    assert pod["terminationGracePeriodSeconds"] > params["grace"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert made["securityContext"]["readOnlyRootFilesystem"]
    assert str(params["keys"]).startswith(made["volumeMounts"][0]["mountPath"])
    routes = create_app({}, embedders=[T1Embedder.fake(8)]).openapi()["paths"].keys()
    paths = {made[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {"/readyz", "/healthz"}
    assert paths <= routes


def test_qdrant_is_the_version_that_is_tested() -> None:
    [qdrant] = [each for each in MANIFESTS if each["kind"] == "StatefulSet"]
    assert container(qdrant)["image"] == IMAGE
