"""Manifests of KubeRay: RayCluster, and RayJob, which is a cluster and the job it runs.

Fields as in the reference of KubeRay 1.6 (``ray.io/v1``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from evo_nas.cluster.kuberay_job import job_problems, submitter_problems
from evo_nas.cluster.launcher import image_problems
from evo_nas.cluster.parts import ray_container, shown, table, tables, variables_of, whole
from evo_nas.cluster.quantities import quantity
from evo_nas.cluster.room import Machines

KINDS = ("RayCluster", "RayJob")
GPU = "nvidia.com/gpu"
_NAME = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?")
_LONGEST = {"RayCluster": 53, "RayJob": 47}
"""Characters of a name; KubeRay appends to it, and Kubernetes takes 63."""
_UNLIMITED = 2**31 - 1
"""What KubeRay takes for a maxReplicas that is missing."""


def manifest_problems(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Everything wrong with a manifest of one of `KINDS`."""
    if manifest.get("apiVersion") != "ray.io/v1":
        yield (
            f"apiVersion is {shown(manifest.get('apiVersion'))}, which KubeRay 1.6 does not read. "
            "Write ray.io/v1."
        )
    yield from _name(manifest)
    spec = table(manifest.get("spec"))
    if manifest["kind"] == "RayJob":
        yield from job_problems(spec)
    cluster = cluster_of(manifest)
    if not cluster:
        key = "spec.rayClusterSpec" if manifest["kind"] == "RayJob" else "spec"
        yield f"{key} is missing: there is no cluster. Write headGroupSpec and workerGroupSpecs."
        return
    if not cluster.get("rayVersion"):
        yield "rayVersion is missing. Write the version that the image has."
    head = table(cluster.get("headGroupSpec"))
    if not head:
        yield "headGroupSpec is missing, so that nobody leads the cluster. Add it."
    else:
        yield from _head(head)
        yield from _group("headGroupSpec", head)
    groups = tables(cluster.get("workerGroupSpecs"))
    if not groups:
        yield "workerGroupSpecs is missing, so that nobody trains anything. Add a group."
    for name, group in _named(groups):
        yield from _replicas(name, group, cluster.get("enableInTreeAutoscaling") is True)
        yield from _group(name, group)
    problems = list(_token(cluster, [("headGroupSpec", head)] * bool(head) + _named(groups)))
    yield from problems
    if manifest["kind"] == "RayJob" and not problems:
        yield from submitter_problems(spec, cluster)


def cluster_of(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """The specification of the cluster in a manifest; empty if there is none."""
    spec = table(manifest.get("spec"))
    return table(spec.get("rayClusterSpec")) if manifest["kind"] == "RayJob" else spec


def machines_of(manifest: Mapping[str, Any]) -> list[Machines]:
    """The kinds of pods for workers, and how many of each there may be."""
    cluster = cluster_of(manifest)
    scales = cluster.get("enableInTreeAutoscaling") is True
    found = []
    for name, group in _named(tables(cluster.get("workerGroupSpecs"))):
        most, hosts = whole(group.get("maxReplicas"), _UNLIMITED), whole(group.get("numOfHosts"), 1)
        # KubeRay raises and lowers the number to be within the limits.
        least, count = whole(group.get("minReplicas"), 0), whole(group.get("replicas"), 0)
        count = min(max(count, least), most)
        resources: dict[str, int] | None = None
        # A group may have resources beside its pods as well: then those count.
        if (cpus := _cpus(group)) is not None and not group.get("resources"):
            resources = {"CPU": cpus, "GPU": _gpus(group)}
        found.append(
            Machines(
                name,
                count * hosts,
                (most if scales else count) * hosts,
                resources,
                _labels(group),
            )
        )
    return found


def _labels(group: Mapping[str, Any]) -> dict[str, Any]:
    """Ray's labels of a pod: of its group, and ``a=b,c=d`` of its `ray start`."""
    text = table(group.get("rayStartParams")).get("labels")
    given = text.split(",") if isinstance(text, str) else []
    pairs = (pair.partition("=") for pair in given if pair)
    return {**table(group.get("labels")), **{key.strip(): value for key, _, value in pairs}}


def _head(head: Mapping[str, Any]) -> Iterator[str]:
    given = table(head.get("rayStartParams"))
    for flag in ("num-cpus", "num-gpus"):
        if shown(given.get(flag)) != "0" and (flag == "num-cpus" or _gpus_of_limits(head)):
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
            f"{name} has minReplicas {shown(least)}, replicas {shown(count)} and maxReplicas "
            f"{shown(most)}, which must ascend. Mend the one that is wrong."
        )


def _group(name: str, group: Mapping[str, Any]) -> Iterator[str]:
    container = ray_container(group)
    if not container:
        yield f"{name} has no container. Write template.spec.containers."
        return
    if not container.get("image"):
        yield f"{name} names no image. Give one that holds evo-nas, with its version."
    yield from image_problems(f"{name}.image", container.get("image"))
    resources = table(container.get("resources"))
    requests, limits = table(resources.get("requests")), table(resources.get("limits"))
    for resource in ("cpu", "memory"):
        if resource not in limits:
            yield (
                f"{name} has no limit for {resource}, so that Ray counts the whole machine's. Add "
                f"it to resources.limits."
            )
        elif quantity(limits[resource]) is None:
            yield (
                f"{name} has {shown(limits[resource])} as its limit for {resource}, which is no "
                "quantity. Write one, such as 4, 500m or 16Gi."
            )
        elif resource in requests and quantity(requests[resource]) != quantity(limits[resource]):
            yield (
                f"{name} requests {resource} {shown(requests[resource])} with a limit of "
                f"{shown(limits[resource])}, but Ray counts on the limit. Write the same in both."
            )
    for key, value in table(group.get("rayStartParams")).items():
        if not isinstance(value, str):
            yield (
                f"{name} has {shown(value)} as rayStartParams {shown(key)}, but Kubernetes takes "
                f'texts alone there. Write quotes: {shown(key)}: "{shown(value)}".'
            )
    gpus, given = _gpus_of_limits(group), table(group.get("rayStartParams")).get("num-gpus")
    if gpus is not None and not shown(gpus).isdecimal():
        yield (
            f"{name} has {shown(gpus)} {GPU}, but a pod has whole ones. A worker's share of a GPU "
            "is 1/n: set workers_per_gpu = n in [workers]."
        )
    elif name != "headGroupSpec" and given is not None and shown(given) != shown(gpus or 0):
        yield (
            f"{name} has rayStartParams num-gpus {shown(given)}, but {shown(gpus or 0)} {GPU} in "
            "its limits. Leave num-gpus out."
        )


def _token(
    cluster: Mapping[str, Any], groups: list[tuple[str, Mapping[str, Any]]]
) -> Iterator[str]:
    if table(cluster.get("authOptions")).get("mode") == "token":
        return
    for name, group in groups:
        variables = variables_of(ray_container(group))
        if table(variables.get("RAY_AUTH_MODE")).get("value") != "token":
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


def _name(manifest: Mapping[str, Any]) -> Iterator[str]:
    name, most = name_of(manifest), _LONGEST[manifest["kind"]]
    if not name:
        yield "metadata.name is missing. Write one."
    elif not _NAME.fullmatch(name) or len(name) > most:
        yield (
            f"metadata.name is {name}, which KubeRay refuses. Write at most {most} small letters, "
            "digits and hyphens, a letter first and no hyphen last."
        )


def name_of(manifest: Mapping[str, Any]) -> str:
    """The name of a manifest; empty if it has none."""
    name = table(manifest.get("metadata")).get("name")
    return "" if name is None else shown(name)


def _named(groups: list[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(shown(group.get("groupName") or "a worker group"), group) for group in groups]


def _gpus_of_limits(group: Mapping[str, Any]) -> Any:
    resources = table(ray_container(group).get("resources"))
    return table(resources.get("limits")).get(GPU)


def _gpus(group: Mapping[str, Any]) -> int:
    gpus = shown(_gpus_of_limits(group) or 0)
    return int(gpus) if gpus.isdecimal() else 0


def _cpus(group: Mapping[str, Any]) -> int | None:
    """CPUs that Ray counts for a pod: those of rayStartParams, else its limit, rounded up."""
    given = table(group.get("rayStartParams")).get("num-cpus")
    resources = table(ray_container(group).get("resources"))
    limit = table(resources.get("limits")).get("cpu")
    cpus = quantity(given if given is not None else limit)
    return None if cpus is None else math.ceil(cpus)
