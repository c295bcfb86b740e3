"""The manifests are what Kubernetes and KubeRay take, and their commands are ones that compose."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from jobs.ray.train import make_trainer, parse
from pipeline.config import UserError
from pipeline.entry import compose
from tests.jobs.kuberay_fields import SCHEMAS

kubernetes_validate = pytest.importorskip("kubernetes_validate")

ROOT = Path(__file__).parents[2]
KUBERNETES_VERSION = "1.33"
MANIFESTS = sorted((ROOT / "jobs/kubernetes").glob("*.yaml"))
INGEST, SEARCH = "/app/jobs/ray/ingest.sh", "/app/jobs/ray/search.sh"
Document = dict[str, Any]


def read(path: Path) -> list[Document]:
    return list(yaml.safe_load_all(path.read_text()))


def validate(document: Document) -> None:
    """Raises for a field that the kind does not have, or a value that it does not take."""
    if document["kind"] not in SCHEMAS:
        kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)
        return
    jsonschema.validate(document, SCHEMAS[document["kind"]])
    for template in pod_templates(document):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}} | template
        kubernetes_validate.validate(pod, KUBERNETES_VERSION, strict=True)


def pod_templates(node: Any) -> Iterator[Document]:
    """Every pod template within, wherever it is."""
    if isinstance(node, dict):
        if "template" in node:
            yield node["template"]
        for value in node.values():
            yield from pod_templates(value)
    elif isinstance(node, list):
        for value in node:
            yield from pod_templates(value)


def commands(document: Document) -> Iterator[list[str]]:
    """The command lines of our own programs."""
    if document["kind"] == "RayJob":
        yield shlex.split(document["spec"]["entrypoint"])
    for template in pod_templates(document):
        for container in template["spec"]["containers"]:
            if "command" in container:
                yield [*container["command"], *container.get("args", [])]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_is_valid(path: Path) -> None:
    for document in read(path):
        validate(document)


@pytest.mark.parametrize("name", ["train", "ray-train"])
def test_a_misspelt_field_anywhere_is_found(name: str) -> None:
    """So the check above can fail: every field of a manifest that is not a name, one at a time."""
    (document,) = read(ROOT / f"jobs/kubernetes/{name}.yaml")
    found = [*fields(document)]
    assert len(found) >= 5
    for keys in found:
        broken = copy.deepcopy(document)
        parent = broken
        for key in keys[:-1]:
            parent = parent[key]
        parent["zz" + keys[-1]] = parent.pop(keys[-1])
        with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
            validate(broken)


def fields(node: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all fields but those that Kubernetes leaves to the user, such as labels."""
    free = {"nodeSelector", "requests", "limits", "rayStartParams", "labels"}
    if isinstance(node, dict):
        for key, value in node.items():
            # Without these two nobody can say what the rest should be.
            if key not in ("kind", "apiVersion") and (not keys or keys[-1] not in free):
                yield (*keys, key)
            if key not in free:
                yield from fields(value, (*keys, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from fields(value, (*keys, index))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_what_is_mounted_is_declared_and_images_are_to_be_named(path: Path) -> None:
    for document in read(path):
        for template in pod_templates(document):
            spec = template["spec"]
            volumes = {volume["name"] for volume in spec["volumes"]}
            for container in spec["containers"]:
                assert {mount["name"] for mount in container["volumeMounts"]} == volumes
                assert container["image"] == "REGISTRY/sketch-rnn:VERSION"
            claims = [v["persistentVolumeClaim"] for v in spec["volumes"] if v["name"] == "storage"]
            (storage,) = read(ROOT / "jobs/kubernetes/storage.yaml")
            assert claims == [{"claimName": storage["metadata"]["name"]}]


def test_commands_are_entry_points_whose_overrides_compose() -> None:
    num_commands = 0
    for path in MANIFESTS:
        for document in read(path):
            for command in commands(document):
                check(command)
                num_commands += 1
    assert num_commands == 4


def check(command: list[str]) -> None:
    if command[:3] == ["python", "-m", "jobs.ray.train"]:
        options = parse(command[3:])
        make_trainer(compose(["trainer=ddp", *options.overrides]), options)
    elif command[:2] == ["bash", INGEST]:
        assert (ROOT / "jobs/ray/ingest.sh").exists()
        config = compose(["engine=ray", "ray_address=auto", *command[2:]])
        assert Path(config.data_dir).is_absolute(), "every machine must find the same folder"
    elif command[:2] == ["bash", SEARCH]:
        assert (ROOT / "jobs/ray/search.sh").exists()
        assert command[2] == "/mnt/sketch-rnn", "every machine must find the same folder"
        compose(["+search=rate_distortion", "search.ray_address=auto", *command[3:]])
    else:
        assert command[:3] == ["python", "-m", "pipeline.train"]
        compose(command[3:])


def test_restarts_follow_the_exit_code_of_an_interrupted_run() -> None:
    (job,) = read(ROOT / "jobs/kubernetes/train.yaml")
    rules = job["spec"]["podFailurePolicy"]["rules"]
    (on_exit,) = (rule["onExitCodes"] for rule in rules if "onExitCodes" in rule)
    assert on_exit == {"containerName": "train", "operator": "In", "values": [75]}
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never", "the policy asks for it"


@pytest.mark.parametrize("name", ["ray-ingest", "ray-train", "ray-search", "ray-cluster"])
def test_a_cluster_asks_for_its_token(name: str) -> None:
    (document,) = read(ROOT / f"jobs/kubernetes/{name}.yaml")
    spec = document["spec"].get("rayClusterSpec", document["spec"])
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["rayVersion"] == ray_version()
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def ray_version() -> str:
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    (version,) = (pin.removeprefix("ray==") for pin in pins if pin.startswith("ray=="))
    return version


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_configuration_of_ray_s_cluster_launcher_is_valid() -> None:
    config = yaml.safe_load((ROOT / "jobs/ray/cluster.yaml").read_text())
    validate_config(prepare_config(config))
    starts = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    (head,) = (command for command in starts if "--head" in command)
    assert "--dashboard-host=127.0.0.1" in head, "who reaches the dashboard can run code"
    assert all("RAY_AUTH_MODE=token" in start for start in starts if "ray start" in start)
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(config | {"file_mount": {}}))


def test_numbers_of_workers_that_cannot_share_a_batch_are_refused_before_anything_starts() -> None:
    """With 3 of 4 left, 100 sketches would not divide."""
    options = parse(
        ["--folder", "/shared", "--num-workers", "4", "--min-workers", "1", "+experiment=smoke"]
    )
    overrides = [*options.overrides, "trainer=ddp"]
    with pytest.raises(UserError, match=r"batch_size=100 must be a multiple of the 3"):
        make_trainer(compose([*overrides, "train.batch_size=100"]), options)
    scaling = make_trainer(compose([*overrides, "train.batch_size=96"]), options).scaling_config
    assert (scaling.min_workers, scaling.max_workers) == (1, 4)


def test_a_folder_that_other_machines_cannot_find_is_refused() -> None:
    options = parse(["--folder", "shared", "--num-workers", "1", "+experiment=smoke"])
    with pytest.raises(UserError, match="--folder=shared is relative"):
        make_trainer(compose(options.overrides), options)


@pytest.mark.parametrize("smallest", ["0", "3"])
def test_a_range_of_workers_that_is_none_is_refused(smallest: str) -> None:
    workers = ["--num-workers", "2", "--min-workers", smallest]
    options = parse(["--folder", "/shared", *workers, "+experiment=smoke"])
    with pytest.raises(UserError, match=rf"--min-workers={smallest} must be in \[1, 2\]"):
        make_trainer(compose(options.overrides), options)
