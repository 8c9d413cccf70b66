"""How many workers fit, and what each of them asks Ray for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workers.limits import PoolError


@dataclass(frozen=True, slots=True)
class Share:
    """What the workers of a pool ask for.

    Attributes:
        workers: How many there are.
        cpus: CPU cores of each.
        gpus: GPUs of each: 0, or 1/n. Other shares would let every second actor wait for ever.
    """

    workers: int
    cpus: float
    gpus: float


def plan_workers(
    workers: int | None, workers_per_gpu: int, resources: Mapping[str, float]
) -> Share:
    """Share out what a cluster has.

    Ray never reports a request that no node can hold, it waits for ever; so this refuses it.

    Raises:
        PoolError: If the resources do not suffice, saying for how many they would.
    """
    gpus = int(resources.get("GPU", 0))
    cpus = int(resources.get("CPU", 0))
    room = min(gpus * workers_per_gpu, cpus) if gpus else cpus
    wanted = room if workers is None else workers
    if wanted < 1 or wanted > room:
        raise PoolError(
            f"{wanted or 1} workers were asked for, but Ray has room for {room} "
            f"({cpus} CPUs, {gpus} GPUs, {workers_per_gpu} workers per GPU). "
            "Lower --workers, raise workers_per_gpu, or add nodes."
        )
    return Share(wanted, 1.0, 1.0 / workers_per_gpu if gpus else 0.0)
