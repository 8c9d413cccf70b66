"""How many workers a cluster may get, where machines come and go. No Ray.

Ray lets a request that never fits wait for ever without a word. On a cluster, though, what does
not fit now may fit later: only what no machine could ever hold is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workers.labels import NODE, could_match, matches, shown, with_accelerator
from workers.limits import PoolError
from workers.resources import (
    Machine,
    NodeType,
    Plan,
    Wanted,
    check_number,
    gpu_share,
    part_of_gpu,
    room_on,
)


def plan_on_cluster(
    wanted: Wanted, machines: Sequence[Machine], types: Sequence[NodeType] | None
) -> tuple[Plan, int]:
    """Decide on the workers to ask a cluster for.

    Args:
        wanted: The workers; for None there are as many as fit now.
        machines: Those there are.
        types: Those an autoscaler may start; empty without an autoscaler; None if there is one
            that does not say.

    Returns:
        The plan, and for how many of them there is room now.

    Raises:
        PoolError: If no machine could ever hold one, or a number makes no sense.
    """
    workers, labels = wanted.workers, wanted.labels
    share = gpu_share(wanted.workers_per_gpu)
    check_number(workers)
    here = [m.resources for m in machines if matches(m.labels, labels)]
    later = [kind for kind in types or () if kind.most > 0 and could_match(_labels(kind), labels)]
    known = [kind.resources for kind in later if kind.resources is not None]
    gpus = any(int(each.get("GPU", 0)) for each in (*here, *known))
    per_gpu = wanted.workers_per_gpu if gpus else None
    room = sum(room_on(each, per_gpu) for each in here)
    may_come = types is None or len(known) < len(later) or any(room_on(k, per_gpu) for k in known)
    asks = _asks(per_gpu, labels)
    if room == 0 and not may_come:
        raise PoolError(
            f"no worker could ever start: each wants {asks}; {_offers(machines, types)}. "
            f"{'Other labels in [workers], or other' if labels else 'Other'} machines are needed: "
            "a worker has to fit on one of them."
        )
    if workers is None and room == 0:
        raise PoolError(
            f"no machine that could hold a worker ({asks}) is there yet, so that there is "
            "nothing to count by. Say with --workers how many the cluster is to make room for."
        )
    number = min(room, wanted.at_most or room) if workers is None else workers
    return Plan(number, 1.0, share if gpus else 0.0), min(room, number)


def _asks(per_gpu: int | None, labels: Mapping[str, str]) -> str:
    wants = "1 CPU" if per_gpu is None else f"1 CPU and {part_of_gpu(per_gpu)}"
    return f"{wants} on a machine with {shown(labels)}" if labels else wants


def _offers(machines: Sequence[Machine], types: Sequence[NodeType] | None) -> str:
    """What the machines, or the kinds of them, offer; at most a handful are named."""
    if types:
        largest = max(types, key=lambda kind: _size(kind.resources or {}))
        there = largest.resources or {}
        what = (
            f"the largest of the autoscaler's {len(types)} kinds of machines, {largest.name}, has"
        )
        return f"{what} {_shown(there, _labels(largest))} (at most {largest.most} of them)"
    if not machines:
        return "the cluster has no machine, and no autoscaler that would start one"
    biggest = max(machines, key=lambda machine: _size(machine.resources))
    count = f"{len(machines)} machine{'s' * (len(machines) != 1)}"
    return (
        f"the cluster has {count} and no autoscaler, and the largest has "
        f"{_shown(biggest.resources, biggest.labels)}"
    )


def _size(resources: Mapping[str, float]) -> tuple[float, float]:
    return resources.get("GPU", 0), resources.get("CPU", 0)


def _shown(resources: Mapping[str, float], labels: Mapping[str, str]) -> str:
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    own = {key: value for key, value in labels.items() if key != NODE}
    return f"{cpus} CPUs, {gpus} GPUs and " + (f"labels {shown(own)}" if own else "no labels")


def _labels(kind: NodeType) -> dict[str, str]:
    return with_accelerator(kind.labels, kind.resources or {})
