"""What a cluster's autoscaler may start, and what it is about to.

Ray tells neither: the kinds of machines stand in the file that the autoscaler was started with, on
the head, and what is being started in a report that the autoscaler leaves there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.core.generated import autoscaler_pb2
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from workers.labels import NODE
from workers.limits import PoolError
from workers.resources import NodeType, Plan
from workers.watch import nodes

HEAD = "node:__internal_head__"
"""The resource that only the head has."""
ASK_SECONDS = 60.0
"""How long the head may take to read the file."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a cluster is short of, and what is to come.

    Attributes:
        queued: Requests for a place like those of the pool that wait for one, those of others
            included.
        free: CPUs and GPUs that nobody uses.
        starting: Machines that the autoscaler is starting, by kind.
        failed: Of how many kinds a start failed lately.
    """

    queued: int
    free: tuple[float, float]
    starting: Counter[str]
    failed: Counter[str]


def node_types(say: Callable[[str], None]) -> list[NodeType] | None:
    """The kinds of machines that an autoscaler may start: see `plan_on_cluster`.

    Empty if there is no autoscaler; None if there is one whose file is not to be found, because it
    runs elsewhere than on the head, or if the head cannot say, which is told.

    Raises:
        PoolError: If the file is none of an autoscaler, or the cluster has no head.
    """
    worker = ray._private.worker.global_worker
    session = str(worker.node.session_name)
    try:
        text, watched = autoscaling_file(session) if _on_head() else _ask_head(session)
    except (ray.exceptions.RayError, OSError) as error:
        say(
            "the head of the cluster cannot say what an autoscaler may start, so that "
            "workers that never fit are not noticed now. Is this project installed there? "
            f"It says: {(str(error).strip() or repr(error)).splitlines()[-1]}"
        )
        return None
    if text is not None:
        return read_types(text)
    # Without a monitor on the head, whoever reports is an autoscaler elsewhere.
    elsewhere = not watched and (bool(_reports()) or is_autoscaler_v2(True, worker.gcs_client))
    return None if elsewhere else []


def _head() -> str:
    """The machine of the control plane, by Ray's identifier."""
    heads = [n["NodeID"] for n in nodes() if n["Alive"] and HEAD in n["Resources"]]
    if len(heads) != 1:
        raise PoolError(
            f"Ray names {len(heads)} machines as the head of the cluster, not one. Is it just "
            "being replaced? Try again in a minute."
        )
    return str(heads[0])


def _on_head() -> bool:
    return _head() == str(ray.get_runtime_context().get_node_id())


def _ask_head(session: str) -> tuple[str | None, bool]:
    """`autoscaling_file` on the head; raises what Ray raises."""
    there = NodeAffinitySchedulingStrategy(_head(), soft=False)
    asked = ray.remote(autoscaling_file).options(num_cpus=0, scheduling_strategy=there)
    answer: tuple[str | None, bool] = ray.get(asked.remote(session), timeout=ASK_SECONDS)
    return answer


def autoscaling_file(session: str) -> tuple[str | None, bool]:
    """On the head: the text of the autoscaler's file, if it has one, and if there is a monitor.

    Args:
        session: Name of Ray's session; there may be several Rays on a machine.
    """
    watched = False
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # ended, or another's
            continue
        is_monitor = any(word.endswith("/monitor.py") for word in words)
        if not is_monitor or not any(f"/{session}/" in f"{word}/" for word in words):
            continue
        watched = True
        for word in words:
            if word.startswith("--autoscaling-config="):
                path = Path(word.partition("=")[2]).expanduser()
                return path.read_text(encoding="utf-8"), True
    return None, watched


def read_types(text: str) -> list[NodeType]:
    """The kinds of machines beside the head in the text of an autoscaler's file.

    Raises:
        PoolError: If it is no such file.
    """
    import yaml

    try:
        config = yaml.safe_load(text)
        kinds, head = config["available_node_types"], config.get("head_node_type")
        total = config.get("max_workers", 0)
        return [
            NodeType(
                name,
                kind.get("resources") or None,
                kind.get("labels") or {},
                min(kind.get("max_workers", total), total),
            )
            for name, kind in kinds.items()
            if name != head or kind.get("max_workers", 0) > 0
        ]
    except (yaml.YAMLError, KeyError, AttributeError, TypeError) as error:
        raise PoolError(
            f"the file of the cluster's autoscaler cannot be read: {error!r}. It needs "
            "available_node_types, each with its resources."
        ) from error


def outlook(asked: Plan, labels: Mapping[str, str]) -> Outlook:
    """What the cluster is short of now.

    Args:
        asked: What each worker of the pool asks for.
        labels: What the labels of its machine have to be.
    """
    client = ray._private.worker.global_worker.gcs_client
    reply = autoscaler_pb2.GetClusterStatusReply.FromString(client.get_cluster_status())
    state, scaling = reply.cluster_resource_state, reply.autoscaling_state
    living = [n for n in state.node_states if n.status != autoscaler_pb2.DEAD]
    starting = Counter(each.ray_node_type_name for each in scaling.pending_instances)
    for each in scaling.pending_instance_requests:
        starting[each.ray_node_type_name] += each.count
    failed = Counter(each.ray_node_type_name for each in scaling.failed_instance_requests)
    report = _reports().get("autoscaler_report") or {}
    starting.update(report.get("pending_launches") or {})
    starting.update(kind for _, kind, _ in report.get("pending_nodes") or ())
    failed.update(kind for _, kind in report.get("failed_nodes") or ())
    return Outlook(
        queued=sum(
            each.count
            for each in state.pending_resource_requests
            if _is_like(each.request, asked, labels)
        ),
        free=(
            sum(n.available_resources.get("CPU", 0.0) for n in living),
            sum(n.available_resources.get("GPU", 0.0) for n in living),
        ),
        starting=starting,
        failed=failed,
    )


def _is_like(request: Any, asked: Plan, labels: Mapping[str, str]) -> bool:
    """Whether a request for a place may be one of the pool's."""
    wants = {name: amount for name, amount in request.resources_bundle.items() if amount}
    keys = {each.label_key for one in request.label_selectors for each in one.label_constraints}
    # In Ray's unit, a 10,000th.
    return {name: round(amount, 4) for name, amount in wants.items()} == {
        name: round(amount, 4)
        for name, amount in (("CPU", asked.cpus), ("GPU", asked.gpus))
        if amount
    } and keys - {NODE} == set(labels) - {NODE}


def _reports() -> dict[str, Any]:
    """What an autoscaler of Ray's older kind, or the monitor of a head without one, last said."""
    client = ray._private.worker.global_worker.gcs_client
    text = client.internal_kv_get(DEBUG_AUTOSCALING_STATUS.encode(), namespace=None)
    report: dict[str, Any] = json.loads(text) if text else {}
    return report
