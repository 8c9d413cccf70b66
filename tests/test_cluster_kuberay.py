"""The RayJob of this project is sound, and each way to break such a manifest is noticed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_files import Change, Config, checked, disturbed, drop, problems, put, read
from project import ROOT, pins

from evo_nas.cluster.check import is_manifest
from evo_nas.cluster.kuberay import machines_of, manifest_problems
from evo_nas.config_tables import SearchConfig, WorkersConfig
from tests.tiny import evo_nas

NAME = "examples/kuberay-rayjob.yaml"
CLUSTER = ("spec", "rayClusterSpec")
HEAD = (*CLUSTER, "headGroupSpec")
GROUP = (*CLUSTER, "workerGroupSpecs", 0)
POD = ("template", "spec", "containers", 0)
URI = "s3://BUCKET/runs/first"


def test_the_manifest_of_this_project_has_no_problem(tmp_path: Path) -> None:
    (tmp_path / "search.toml").write_text("[workers]\nworkers = 4\n")
    done = evo_nas("cluster", "check", NAME, str(tmp_path / "search.toml"), cwd=ROOT)
    assert done.returncode == 0, done.stdout
    assert done.stdout == (
        f"{NAME}: no problem found. Checked: RayJob evo-nas, and whether its machines hold the "
        "workers.\n"
    )
    assert f"warning: {NAME}: it still says BUCKET, REGISTRY, in the place of" in done.stderr


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


RULES = {"deletionRules": [{"policy": "DeleteCluster", "condition": {"jobStatus": "SUCCEEDED"}}]}
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
    "a run that vanishes": (_entrypoint(URI, "runs/first"), "--run runs/first is relative, but"),
    "a run that vanishes, written with =": (
        _entrypoint(f"--run {URI}", "--run=runs/first"),
        "--run runs/first is relative, but",
    ),
    "a run in a place that is none": (
        _entrypoint(URI, "s4://BUCKET/first"),
        "entrypoint: s4://BUCKET/first: runs cannot lie in s4://",
    ),
    "a bucket alone": (_entrypoint(URI, "s3://BUCKET"), "s3://BUCKET is no place for a run"),
    "a second try of a new run": (
        _entrypoint("evo-nas job", "evo-nas job --new"),
        "backoffLimit is 3, but with --new a second try refuses the run of the first",
    ),
    "a number where a text has to be": (
        put(*HEAD, "rayStartParams", "num-cpus", to=0),
        "headGroupSpec has 0 as rayStartParams num-cpus, but Kubernetes takes texts alone there. "
        'Write quotes: num-cpus: "0"',
    ),
    "a name in capitals": (
        put("metadata", "name", to="Evo"),
        "metadata.name is Evo, which",
    ),
    "a name with a digit first": (put("metadata", "name", to="1a"), "metadata.name is 1a, which"),
    "a name with a hyphen last": (put("metadata", "name", to="a-"), "metadata.name is a-, which"),
    "a long name": (put("metadata", "name", to="a" * 48), "Write at most 47 small letters"),
    "a limit that is no quantity": (
        put(*GROUP, *POD, "resources", "limits", "cpu", to=float("nan")),
        "gpu has nan as its limit for cpu, which is no quantity",
    ),
    "a token that the submitting pod lacks": (
        _env(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=SECRET),
        "the pod that submits the job has no token, and the head refuses it. Write authOptions",
    ),
    "two ways to end": (
        put("spec", "deletionStrategy", to=RULES),
        "deletionRules do not go with shutdownAfterJobFinishes and ttlSecondsAfterFinished",
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


def _with_submitter(before: Change) -> Change:
    def change(manifest: Config) -> None:
        before(manifest)
        head = manifest["spec"]["rayClusterSpec"]["headGroupSpec"]
        manifest["spec"]["submitterPodTemplate"] = head["template"]

    return change


def _ends_by_rules(manifest: Config) -> None:
    spec = manifest["spec"]
    del spec["shutdownAfterJobFinishes"], spec["ttlSecondsAfterFinished"]
    spec["deletionStrategy"] = RULES


SOUND: dict[str, Change] = {
    "a run on a volume": _entrypoint(URI, "/runs/first"),
    "a token from a Secret": _with_submitter(_env(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=SECRET)),
    "a number of cores": put(*GROUP, *POD, "resources", "requests", "cpu", to=4),
    "cores in thousandths": put(*GROUP, *POD, "resources", "requests", "cpu", to="4000m"),
    "memory in other words": put(*GROUP, *POD, "resources", "requests", "memory", to="16384Mi"),
    "memory in bytes": put(*GROUP, *POD, "resources", "limits", "memory", to=16 * 2**30),
    "another way to end": _ends_by_rules,
    "a run that is there already": _entrypoint("evo-nas job", "evo-nas job --resume"),
    "an image by its digest": put(*GROUP, *POD, "image", to="r/evo-nas@sha256:" + "0" * 64),
    "GPUs named twice alike": put(*GROUP, "rayStartParams", to={"num-gpus": "1"}),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_as_good_is_no_problem(tmp_path: Path, name: str) -> None:
    manifest = read(NAME)
    SOUND[name](manifest)
    assert problems(tmp_path, manifest) == []


def _fixed(**numbers: int) -> Change:
    """Without an autoscaler, with these numbers of pods."""

    def change(manifest: Config) -> None:
        cluster = manifest["spec"]["rayClusterSpec"]
        cluster["enableInTreeAutoscaling"] = False
        (group,) = cluster["workerGroupSpecs"]
        del group["replicas"], group["minReplicas"]
        group |= numbers

    return change


def _search(workers: int | None, **labels: str) -> SearchConfig:
    wanted = WorkersConfig(workers=workers, labels=labels)
    return dataclasses.replace(SearchConfig(), workers=wanted)


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
        # Ray counts 500m of a core as one.
        (4, put(*GROUP, *POD, "resources", "limits", "cpu", to="500m"), ""),
        (None, None, "there is nothing to count by"),
        (None, put(*GROUP, "minReplicas", to=1), ""),
        (1, put(*CLUSTER, "enableInTreeAutoscaling", to=False), "no worker could ever start"),
        (1, _fixed(replicas=1), ""),
        (1, _fixed(minReplicas=1), ""),  # KubeRay raises what is missing, or less, to that
        (1, _fixed(), "no worker could ever start"),
        (1, put(*GROUP, "rayStartParams", to={"num-cpus": "0"}), "no worker could ever start"),
        # Such a group says of its own what its pods have.
        (1, put(*GROUP, "resources", to={"CPU": "0"}), ""),
    ],
)
def test_a_search_that_no_pods_hold_is_noticed(
    tmp_path: Path, workers: int | None, change: Change | None, said: str
) -> None:
    manifest = read(NAME)
    if change is not None:
        change(manifest)
    found = [p for p in problems(tmp_path, manifest, search=_search(workers)) if "[workers]" in p]
    assert len(found) == bool(said), found
    assert all(said in problem for problem in found), found


@pytest.mark.parametrize(
    "change",
    [
        put(*GROUP, "labels", to={"tier": "gold"}),
        put(*GROUP, "rayStartParams", to={"labels": "zone=north, tier=gold"}),
    ],
)
def test_labels_of_pods_are_told_apart(tmp_path: Path, change: Change) -> None:
    manifest = read(NAME)
    search = _search(1, tier="gold")
    assert len(problems(tmp_path, manifest, search=search)) == 1
    change(manifest)
    assert problems(tmp_path, manifest, search=search) == []


def test_each_cluster_of_a_file_has_its_own_pods(tmp_path: Path) -> None:
    first, second = read(NAME), read(NAME)
    second["metadata"]["name"] = "other"
    second["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["numOfHosts"] = 2
    hints = [h for h in checked(tmp_path, first, second, search=_search(8)).hints if "[wor" in h]
    assert len(hints) == 1 and "room for 4" in hints[0]


def test_anything_anywhere_is_a_problem_and_no_traceback() -> None:
    for manifest in disturbed(read(NAME)):
        if is_manifest(manifest):
            list(manifest_problems(manifest))
            machines_of(manifest)


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
