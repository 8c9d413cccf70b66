"""Manifests of KubeRay: RayCluster, and RayJob, which is a cluster and the job it runs.

Fields as in the reference of KubeRay 1.6 (``ray.io/v1``).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from evo_nas.cluster.launcher import image_problems, table_of_texts
from evo_nas.cluster.room import Machines
from evo_nas.record.paths import stays

KINDS = ("RayCluster", "RayJob")
GPU = "nvidia.com/gpu"


def manifest_problems(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Everything wrong with a manifest of one of `KINDS`."""
    if manifest.get("apiVersion") != "ray.io/v1":
        yield (
            f"apiVersion is {manifest.get('apiVersion')!r}, which KubeRay 1.6 does not read. "
            "Write ray.io/v1."
        )
    spec = _table(manifest.get("spec"))
    if manifest["kind"] == "RayJob":
        yield from _job(spec)
    cluster = cluster_of(manifest)
    if not cluster:
        key = "spec.rayClusterSpec" if manifest["kind"] == "RayJob" else "spec"
        yield f"{key} is missing: there is no cluster. Write headGroupSpec and workerGroupSpecs."
        return
    if not cluster.get("rayVersion"):
        yield "rayVersion is missing. Write the version that the image has."
    head = _table(cluster.get("headGroupSpec"))
    if not head:
        yield "headGroupSpec is missing, so that nobody leads the cluster. Add it."
    else:
        yield from _head(head)
        yield from _group("headGroupSpec", head)
    groups = [_table(group) for group in cluster.get("workerGroupSpecs") or []]
    if not groups:
        yield "workerGroupSpecs is missing, so that nobody trains anything. Add a group."
    for group in groups:
        name = str(group.get("groupName") or "a worker group")
        yield from _replicas(name, group, cluster.get("enableInTreeAutoscaling") is True)
        yield from _group(name, group)
    yield from _token(cluster, [("headGroupSpec", head)] * bool(head) + _named(groups))


def cluster_of(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """The specification of the cluster in a manifest; empty if there is none."""
    spec = _table(manifest.get("spec"))
    return _table(spec.get("rayClusterSpec")) if manifest["kind"] == "RayJob" else spec


def machines_of(manifest: Mapping[str, Any]) -> list[Machines]:
    """The kinds of pods for workers, and how many of each there may be."""
    cluster = cluster_of(manifest)
    scales = cluster.get("enableInTreeAutoscaling") is True
    found = []
    for name, group in _named([_table(g) for g in cluster.get("workerGroupSpecs") or []]):
        count = group.get("maxReplicas") if scales else group.get("replicas", 1)
        resources = {"CPU": _cpus(group), "GPU": _gpus(group)}
        if resources["CPU"] is not None and type(count) is int:
            has = {k: v for k, v in resources.items() if v}
            found.append(Machines(name, count, has, _labels(group)))
    return found


def _labels(group: Mapping[str, Any]) -> dict[str, str]:
    """Ray's labels of a pod: of its group, and ``a=b,c=d`` of its `ray start`."""
    text = str(_table(group.get("rayStartParams")).get("labels", ""))
    pairs = (pair.partition("=") for pair in text.split(",") if pair)
    return table_of_texts(group.get("labels")) | {key.strip(): value for key, _, value in pairs}


def _job(spec: Mapping[str, Any]) -> Iterator[str]:
    if spec.get("shutdownAfterJobFinishes") is not True:
        yield (
            "shutdownAfterJobFinishes is not true, so that the machines stay when the search has "
            "ended. Write shutdownAfterJobFinishes: true."
        )
    if spec.get("clusterSelector"):
        yield (
            "clusterSelector sends the job to a cluster that is there already, which this file "
            "does not describe. Use evo-nas submit for that, or remove it."
        )
    entrypoint = spec.get("entrypoint")
    if not isinstance(entrypoint, str) or not entrypoint.strip():
        yield "entrypoint is missing: the job does nothing. Write evo-nas job CONFIG --run URI."
        return
    try:
        words = shlex.split(entrypoint)
    except ValueError as error:
        yield f"entrypoint is no shell command: {error}. Close the quote."
        return
    runs = [b for a, b in pairwise(words) if a == "--run"]
    runs += [word.partition("=")[2] for word in words if word.startswith("--run=")]
    if not runs:
        yield "entrypoint names no run directory. Add --run s3://BUCKET/runs/first."
    for run in runs:
        if not stays(run):
            yield (
                f"entrypoint: --run {run} is relative to the job's own folder, which vanishes with "
                "the pod. Give a URI (s3://, gs://) or an absolute path on a volume."
            )
    if words[0].rpartition("/")[2] == "evo-nas" and words[1:2] not in (["job"], ["resume"]):
        retries = spec.get("backoffLimit", 0)
        if retries:
            yield (
                f"backoffLimit is {retries}, but a second '{' '.join(words[:2])}' finds the run of "
                "the first and refuses it. Use evo-nas job, which goes on with a run."
            )


def _head(head: Mapping[str, Any]) -> Iterator[str]:
    given = _table(head.get("rayStartParams"))
    for flag in ("num-cpus", "num-gpus"):
        if str(given.get(flag)) != "0" and (flag == "num-cpus" or _gpus_of_limits(head)):
            yield (
                f'headGroupSpec.rayStartParams must say {flag}: "0", or candidates are trained '
                "beside the population."
            )
    if head.get("serviceType") in ("LoadBalancer", "NodePort"):
        yield (
            f"headGroupSpec.serviceType is {head['serviceType']}, which opens the dashboard beyond "
            "the cluster. Write ClusterIP; 'kubectl port-forward' opens a tunnel to it."
        )


def _replicas(name: str, group: Mapping[str, Any], scales: bool) -> Iterator[str]:
    least, most = group.get("minReplicas", 0), group.get("maxReplicas")
    count = group.get("replicas", least)
    if scales and type(most) is not int:
        yield f"{name} has no maxReplicas, so that nothing limits what it costs. Add it."
    numbers = [n for n in (least, count, most) if n is not None]
    if any(type(n) is not int for n in numbers):
        yield f"{name}: minReplicas, replicas and maxReplicas must be whole numbers."
    elif numbers != sorted(numbers):
        yield (
            f"{name} has minReplicas {least}, replicas {count} and maxReplicas {most}, which must "
            "ascend. Mend the one that is wrong."
        )


def _group(name: str, group: Mapping[str, Any]) -> Iterator[str]:
    container = _ray_container(group)
    if not container:
        yield f"{name} has no container. Write template.spec.containers."
        return
    if not container.get("image"):
        yield f"{name} names no image. Give one that holds evo-nas, with its version."
    yield from image_problems(f"{name}.image", container.get("image"))
    resources = _table(container.get("resources"))
    requests, limits = _table(resources.get("requests")), _table(resources.get("limits"))
    for resource in ("cpu", "memory"):
        if resource not in limits:
            yield (
                f"{name} has no limit for {resource}, so that Ray counts the whole machine's. Add "
                f"it to resources.limits."
            )
        elif resource in requests and requests[resource] != limits[resource]:
            yield (
                f"{name} requests {resource} {requests[resource]} with a limit of "
                f"{limits[resource]}, but Ray counts on the limit. Write the same in both."
            )
    gpus, given = _gpus_of_limits(group), _table(group.get("rayStartParams")).get("num-gpus")
    if gpus is not None and not str(gpus).isdecimal():
        yield (
            f"{name} has {gpus} {GPU}, but a pod has whole ones. A worker's share of a GPU is 1/n: "
            "set workers_per_gpu = n in [workers]."
        )
    elif name != "headGroupSpec" and given is not None and str(given) != str(gpus or 0):
        yield (
            f"{name} has rayStartParams num-gpus {given}, but {gpus or 0} {GPU} in its limits. "
            "Leave num-gpus out."
        )


def _token(
    cluster: Mapping[str, Any], groups: list[tuple[str, Mapping[str, Any]]]
) -> Iterator[str]:
    if _table(cluster.get("authOptions")).get("mode") == "token":
        return
    for name, group in groups:
        variables = {
            str(v.get("name")): v for v in _ray_container(group).get("env") or [] if _table(v)
        }
        if _table(variables.get("RAY_AUTH_MODE")).get("value") != "token":
            yield (
                f"{name} starts Ray without a token, so that it takes jobs from anyone. Write "
                "authOptions: {mode: token} beside rayVersion (KubeRay 1.5.1 or newer)."
            )
        elif "RAY_AUTH_TOKEN" not in variables:
            yield (
                f"{name} has RAY_AUTH_MODE but no RAY_AUTH_TOKEN. Take it from a Secret "
                "(valueFrom.secretKeyRef)."
            )
        elif "value" in variables["RAY_AUTH_TOKEN"]:
            yield (
                f"{name} has the token itself in its env, for all to read who see this file. Take "
                "it from a Secret (valueFrom.secretKeyRef)."
            )


def _named(groups: list[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(str(group.get("groupName") or "a worker group"), group) for group in groups]


def _ray_container(group: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first container of a pod, which is Ray's; the others are helpers."""
    spec = _table(_table(group.get("template")).get("spec"))
    containers = spec.get("containers")
    return _table(containers[0]) if isinstance(containers, list) and containers else {}


def _gpus_of_limits(group: Mapping[str, Any]) -> Any:
    resources = _table(_ray_container(group).get("resources"))
    return _table(resources.get("limits")).get(GPU)


def _gpus(group: Mapping[str, Any]) -> int:
    gpus = str(_gpus_of_limits(group) or 0)
    return int(gpus) if gpus.isdecimal() else 0


def _cpus(group: Mapping[str, Any]) -> int | None:
    """CPUs that Ray counts for a pod: those of rayStartParams, else its limit, rounded up."""
    given = _table(group.get("rayStartParams")).get("num-cpus")
    resources = _table(_ray_container(group).get("resources"))
    text = str(given if given is not None else _table(resources.get("limits")).get("cpu", ""))
    try:
        cpus = float(text[:-1]) / 1000 if text.endswith("m") else float(text)
    except ValueError:
        return None
    return int(-(-cpus // 1))


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
