"""The job of a RayJob: what it runs, what is left when it has ended, and the pod that sends it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from evo_nas.cluster.parts import ray_container, shown, table, variables_of
from evo_nas.cluster.runs import refuse_vanishing
from evo_nas.errors import ClusterError, RecordError


def job_problems(spec: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the job of a RayJob, its cluster left out."""
    rules = table(spec.get("deletionStrategy")).get("deletionRules")
    if spec.get("shutdownAfterJobFinishes") is not True and not spec.get("deletionStrategy"):
        yield (
            "shutdownAfterJobFinishes is not true, so that the machines stay when the search has "
            "ended. Write shutdownAfterJobFinishes: true."
        )
    elif rules and (
        spec.get("shutdownAfterJobFinishes") is True or spec.get("ttlSecondsAfterFinished")
    ):
        yield (
            "deletionStrategy.deletionRules do not go with shutdownAfterJobFinishes and "
            "ttlSecondsAfterFinished, and KubeRay refuses them together. Remove either."
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
        try:
            refuse_vanishing(run)
        except (ClusterError, RecordError) as error:
            yield f"entrypoint: {error}"
    retries = spec.get("backoffLimit", 0)
    if words[0].rpartition("/")[2] == "evo-nas" and words[1:2] not in (["job"], ["resume"]):
        if retries:
            yield (
                f"backoffLimit is {shown(retries)}, but a second '{' '.join(words[:2])}' finds the "
                "run of the first and refuses it. Use evo-nas job, which goes on with a run."
            )
    elif retries and "--new" in words:
        yield (
            f"backoffLimit is {shown(retries)}, but with --new a second try refuses the run of the "
            "first. Leave --new out."
        )


def submitter_problems(spec: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[str]:
    """Of the pod that sends the job: KubeRay gives it the token of authOptions, and no other."""
    if spec.get("submissionMode", "K8sJobMode") != "K8sJobMode":
        return
    if table(cluster.get("authOptions")).get("mode") == "token":
        return
    pod = {"template": spec.get("submitterPodTemplate")}
    if not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"} <= set(variables_of(ray_container(pod))):
        yield (
            "the pod that submits the job has no token, and the head refuses it. Write "
            "authOptions: {mode: token} beside rayVersion, or give submitterPodTemplate the same "
            "RAY_AUTH_MODE and RAY_AUTH_TOKEN in its env."
        )
