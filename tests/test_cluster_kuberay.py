"""The RayJob of this project is sound, and each way to break such a manifest is noticed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_files import Change, Config, drop, problems, put, read
from project import ROOT, pins

from evo_nas.config_tables import SearchConfig, WorkersConfig
from tests.tiny import evo_nas

NAME = "examples/kuberay-rayjob.yaml"
CLUSTER = ("spec", "rayClusterSpec")
HEAD = (*CLUSTER, "headGroupSpec")
GROUP = (*CLUSTER, "workerGroupSpecs", 0)
POD = ("template", "spec", "containers", 0)
URI = "s3://BUCKET/runs/first"


def test_the_manifest_of_this_project_has_no_problem() -> None:
    done = evo_nas("cluster", "check", NAME, "examples/quickstart.toml", cwd=ROOT)
    assert done.returncode == 0, done.stdout
    assert done.stdout == (
        f"{NAME}: no problem found. Checked: RayJob evo-nas, and whether its machines hold the "
        "workers.\n"
    )


def test_its_ray_is_the_one_this_project_is_tested_with() -> None:
    assert read(NAME)["spec"]["rayClusterSpec"]["rayVersion"] == pins()["ray"]


def _entrypoint(old: str, new: str) -> Change:
    def change(manifest: Config) -> None:
        entrypoint = manifest["spec"]["entrypoint"]
        assert old in entrypoint
        manifest["spec"]["entrypoint"] = entrypoint.replace(old, new)

    return change


def _env(**variables: Any) -> Change:
    """Without authOptions, and with these variables in every container of Ray's."""

    def change(manifest: Config) -> None:
        cluster = manifest["spec"]["rayClusterSpec"]
        del cluster["authOptions"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            group["template"]["spec"]["containers"][0]["env"] = [
                {"name": name, **(value if isinstance(value, dict) else {"value": value})}
                for name, value in variables.items()
            ]

    return change


SECRET = {"valueFrom": {"secretKeyRef": {"name": "evo-nas", "key": "auth_token"}}}
BROKEN: dict[str, tuple[Change, str]] = {
    "an older format": (put("apiVersion", to="ray.io/v1alpha1"), "Write ray.io/v1"),
    "no name": (drop("metadata"), "metadata.name is missing"),
    "no cluster": (drop(*CLUSTER), "spec.rayClusterSpec is missing"),
    "no version of Ray": (drop(*CLUSTER, "rayVersion"), "rayVersion is missing"),
    "no head": (drop(*HEAD), "headGroupSpec is missing"),
    "no workers": (put(*CLUSTER, "workerGroupSpecs", to=[]), "workerGroupSpecs is missing"),
    "a head that trains": (
        put(*HEAD, "rayStartParams", to={}),
        'headGroupSpec.rayStartParams must say num-cpus: "0"',
    ),
    "a head with a GPU to give": (
        put(*HEAD, *POD, "resources", "limits", "nvidia.com/gpu", to=1),
        'headGroupSpec.rayStartParams must say num-gpus: "0"',
    ),
    "a dashboard for everyone": (
        put(*HEAD, "serviceType", to="LoadBalancer"),
        "serviceType is LoadBalancer, which opens the dashboard",
    ),
    "more pods at least than at most": (
        put(*GROUP, "minReplicas", to=5),
        "gpu has minReplicas 5, replicas 0 and maxReplicas 4, which must ascend",
    ),
    "more pods than at most": (put(*GROUP, "replicas", to=5), "replicas 5 and maxReplicas 4"),
    "no limit to what it costs": (drop(*GROUP, "maxReplicas"), "gpu has no maxReplicas"),
    "pods in words": (put(*GROUP, "replicas", to="one"), "must be whole numbers"),
    "the image of the day": (
        put(*GROUP, *POD, "image", to="rayproject/ray:nightly-py312-gpu"),
        "gpu.image is rayproject/ray:nightly-py312-gpu, which is another image tomorrow",
    ),
    "the latest image": (
        put(*HEAD, *POD, "image", to="registry:5000/evo-nas:latest"),
        "headGroupSpec.image is registry:5000/evo-nas:latest",
    ),
    "an image without a tag": (
        put(*HEAD, *POD, "image", to="registry:5000/evo-nas"),
        "headGroupSpec.image is registry:5000/evo-nas, which",
    ),
    "no image": (drop(*GROUP, *POD, "image"), "gpu names no image"),
    "no container": (put(*GROUP, "template", to={}), "gpu has no container"),
    "no limit of memory": (
        drop(*GROUP, *POD, "resources", "limits", "memory"),
        "gpu has no limit for memory",
    ),
    "a limit above the request": (
        put(*GROUP, *POD, "resources", "limits", "cpu", to="8"),
        "gpu requests cpu 4 with a limit of 8",
    ),
    "half a GPU": (
        put(*GROUP, *POD, "resources", "limits", "nvidia.com/gpu", to=0.5),
        "gpu has 0.5 nvidia.com/gpu, but a pod has whole ones",
    ),
    "GPUs that are not there": (
        put(*GROUP, "rayStartParams", to={"num-gpus": "2"}),
        "gpu has rayStartParams num-gpus 2, but 1 nvidia.com/gpu in its limits",
    ),
    "no token": (
        drop(*CLUSTER, "authOptions"),
        "headGroupSpec starts Ray without a token, so that it takes jobs from anyone",
    ),
    "a mode without a token": (_env(RAY_AUTH_MODE="token"), "gpu has RAY_AUTH_MODE but no"),
    "the token itself": (
        _env(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64),
        "gpu has the token itself in its env",
    ),
    "machines that stay": (drop("spec", "shutdownAfterJobFinishes"), "machines stay when the"),
    "another cluster": (put("spec", "clusterSelector", to={"a": "b"}), "clusterSelector sends"),
    "no entrypoint": (drop("spec", "entrypoint"), "entrypoint is missing"),
    "an entrypoint with an open quote": (
        _entrypoint("evo-nas job", "'evo-nas job"),
        "is no shell command",
    ),
    "no run directory": (_entrypoint(f"--run {URI}", ""), "entrypoint names no run directory"),
    "a run that vanishes": (_entrypoint(URI, "runs/first"), "--run runs/first is relative to"),
    "a run that vanishes, written with =": (
        _entrypoint(f"--run {URI}", "--run=runs/first"),
        "--run runs/first is relative to",
    ),
    "a second try that is refused": (
        _entrypoint("evo-nas job", "evo-nas search"),
        "backoffLimit is 3, but a second 'evo-nas search' finds the run of the first",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_manifest_is_noticed(tmp_path: Path, name: str) -> None:
    change, said = BROKEN[name]
    manifest = read(NAME)
    change(manifest)
    found = problems(tmp_path, manifest)
    assert any(said in problem for problem in found), found


SOUND: dict[str, Change] = {
    "a run on a volume": _entrypoint(URI, "/runs/first"),
    "a token from a Secret": _env(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=SECRET),
    "an image by its digest": put(*GROUP, *POD, "image", to="r/evo-nas@sha256:" + "0" * 64),
    "GPUs named twice alike": put(*GROUP, "rayStartParams", to={"num-gpus": "1"}),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_as_good_is_no_problem(tmp_path: Path, name: str) -> None:
    manifest = read(NAME)
    SOUND[name](manifest)
    assert problems(tmp_path, manifest) == []


def _cluster_alone(manifest: Config) -> Config:
    spec = manifest["spec"]["rayClusterSpec"]
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": "evo-nas"},
        "spec": spec,
    }


def test_a_cluster_without_a_job_is_checked_alike(tmp_path: Path) -> None:
    manifest = _cluster_alone(read(NAME))
    assert problems(tmp_path, manifest) == []
    manifest["spec"]["workerGroupSpecs"][0]["minReplicas"] = 9
    (found,) = problems(tmp_path, manifest)
    assert "gpu has minReplicas 9" in found


def test_other_documents_of_the_file_are_left_to_kubernetes(tmp_path: Path) -> None:
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {}}
    manifest = read(NAME)
    assert problems(tmp_path, settings, manifest) == []
    del manifest["spec"]["entrypoint"]
    assert len(problems(tmp_path, settings, manifest)) == 1


@pytest.mark.parametrize(
    ("workers", "change", "said"),
    [
        (4, None, ""),
        (5, None, "room for 4"),
        (1, put(*CLUSTER, "enableInTreeAutoscaling", to=False), "room for 0"),
        # Ray counts 500m of a core as one.
        (4, put(*GROUP, *POD, "resources", "limits", "cpu", to="500m"), ""),
        (1, put(*GROUP, "rayStartParams", to={"num-cpus": "0"}), "room for 0"),
    ],
)
def test_a_search_that_no_pods_hold_is_noticed(
    tmp_path: Path, workers: int, change: Callable[[Config], None] | None, said: str
) -> None:
    manifest = read(NAME)
    if change is not None:
        change(manifest)
    search = dataclasses.replace(SearchConfig(), workers=WorkersConfig(workers=workers))
    found = [p for p in problems(tmp_path, manifest, search=search) if "[workers]" in p]
    assert len(found) == bool(said), found
    assert all(said in problem for problem in found), found


@pytest.mark.parametrize(
    "change",
    [
        put(*GROUP, "labels", to={"kind": "L4"}),
        put(*GROUP, "rayStartParams", to={"labels": "zone=north,kind=L4"}),
    ],
)
def test_a_search_for_labels_that_no_pod_has_is_noticed(
    tmp_path: Path, change: Callable[[Config], None]
) -> None:
    manifest = read(NAME)
    wanted = WorkersConfig(workers=1, labels={"kind": "in(L4,L40S)"})
    search = dataclasses.replace(SearchConfig(), workers=wanted)
    (found,) = problems(tmp_path, manifest, search=search)
    assert "labels wants machines with kind = in(L4,L40S), but no machine of the file has" in found
    change(manifest)
    assert problems(tmp_path, manifest, search=search) == []


@pytest.mark.parametrize("value", [None, 3, "text", ["a"], {}])
@pytest.mark.parametrize("path", [("spec",), ("metadata",), CLUSTER, HEAD, GROUP, (*GROUP, *POD)])
def test_a_table_that_is_none_is_a_problem_and_no_traceback(
    tmp_path: Path, path: tuple[str | int, ...], value: object
) -> None:
    manifest = read(NAME)
    put(*path, to=value)(manifest)
    assert problems(tmp_path, manifest) != []


def test_the_manifest_holds_one_document() -> None:
    text = (ROOT / NAME).read_text(encoding="utf-8")
    assert [document["kind"] for document in yaml.safe_load_all(text)] == ["RayJob"]
