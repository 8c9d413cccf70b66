"""Do any machines of a cluster hold what ``[workers]`` asks for?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evo_nas.config_tables import WorkersConfig
from workers.labels import could_match, shown, with_accelerator
from workers.limits import PoolError
from workers.resources import Wanted, plan


@dataclass(frozen=True, slots=True)
class Machines:
    """Machines of one kind.

    Attributes:
        name: Of the kind.
        count: How many there may be; None if only the cluster's limit holds.
        resources: What each has, by Ray's names (``CPU``, ``GPU``).
        labels: The labels it is started with.
    """

    name: str
    count: int | None
    resources: Mapping[str, Any]
    labels: Mapping[str, str] = field(default_factory=dict)


def room_problems(
    kinds: Sequence[Machines], limit: int | None, workers: WorkersConfig
) -> Iterator[str]:
    """Why a search would wait for ever; nothing if the machines hold its workers.

    Args:
        kinds: The machines that may be started for workers; empty if they are not known.
        limit: How many there may be altogether.
        workers: What the search asks for.
    """
    if workers.workers == 0:
        yield (
            "[workers] workers is 0, which evaluates in the job's own process and uses no machine. "
            "Leave it out, or write how many."
        )
        return
    if not kinds:
        return
    fitting = [kind for kind in kinds if could_match(_labels(kind), workers.labels)]
    if not fitting:
        there = ", ".join(f"{kind.name}: {shown(_labels(kind)) or 'none'}" for kind in kinds)
        yield (
            f"[workers] labels wants machines with {shown(workers.labels)}, but no machine of the "
            f"file has these labels ({there}). Change the labels here or there."
        )
        return
    kinds = fitting
    if workers.workers_per_gpu > 1 and not any(kind.resources.get("GPU") for kind in kinds):
        yield (
            f"[workers] workers_per_gpu is {workers.workers_per_gpu}, but no machine of the file "
            "has a GPU. Leave it out, or add GPU to the resources."
        )
        return
    try:
        wanted = Wanted(workers.workers, workers.workers_per_gpu)
        plan(wanted, _largest(kinds, limit, workers))
    except PoolError as error:
        yield f"[workers] asks for what no machines of the file hold: {error}"


def _labels(kind: Machines) -> dict[str, str]:
    return with_accelerator(kind.labels, kind.resources)


def _largest(
    kinds: Sequence[Machines], limit: int | None, workers: WorkersConfig
) -> list[dict[str, float]]:
    """The machines with the most room, as many as there may be."""
    gpus = any(kind.resources.get("GPU") for kind in kinds)

    def room(machine: Mapping[str, float]) -> float:
        shares = machine.get("GPU", 0) * workers.workers_per_gpu
        return min(machine.get("CPU", 0), shares) if gpus else machine.get("CPU", 0)

    wanted = workers.workers or 1
    machines: list[dict[str, float]] = []
    for kind in kinds:
        # More machines than workers wanted make no difference.
        count = min(wanted, *(n for n in (kind.count, limit) if n is not None), wanted)
        machines += [{k: v for k, v in kind.resources.items() if type(v) is int}] * count
    return sorted(machines, key=room, reverse=True)[:limit]
