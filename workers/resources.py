"""How many workers fit, and what each of them asks for. No Ray."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workers.limits import PoolError


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that Ray has.

    Attributes:
        node: Its identifier.
        resources: All it has, by Ray's names (``CPU``, ``GPU``).
        labels: Its labels.
    """

    node: str
    resources: Mapping[str, float]
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NodeType:
    """A kind of machine that an autoscaler may start.

    Attributes:
        name: How the autoscaler's configuration calls it.
        resources: What one has; None if the configuration does not say.
        labels: The labels it is started with.
        most: How many there may be.
    """

    name: str
    resources: Mapping[str, float] | None
    labels: Mapping[str, str]
    most: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """The workers a user wants.

    Attributes:
        workers: How many; None for as many as fit: one per core or, if there are GPUs, one per
            GPU share.
        workers_per_gpu: n workers share a GPU, each 1/n of it.
        at_most: How many can have work at once; limits what None gives.
        labels: What the labels of their machines have to be: see `workers.labels`.
        cohort: How many requests each takes at once.
    """

    workers: int | None
    workers_per_gpu: int = 1
    at_most: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    cohort: int = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of Ray.

    Attributes:
        workers: How many there are.
        cpus: CPU cores of each.
        gpus: GPUs of each: 0, or 1/n rounded down to what Ray can count.
    """

    workers: int
    cpus: float
    gpus: float


def plan(wanted: Wanted, nodes: Sequence[Mapping[str, float]]) -> Plan:
    """Decide on workers that can all run at once.

    Ray lets a request that never fits wait for ever without a word, so it is refused here.

    Args:
        wanted: The workers; labels are not looked at.
        nodes: Resources of each machine by Ray's names (``CPU``, ``GPU``).

    Raises:
        PoolError: If they do not fit, or a number makes no sense.
    """
    workers, workers_per_gpu = wanted.workers, wanted.workers_per_gpu
    share = gpu_share(workers_per_gpu)
    check_number(workers)
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    if not any(gpus):
        room, wants, offers, advice = sum(cpus), "1 CPU", f"{sum(cpus)} CPUs", ""
    else:
        room = sum(room_on(node, workers_per_gpu) for node in nodes)
        wants = f"1 CPU and {part_of_gpu(workers_per_gpu)}"
        offers = f"{sum(cpus)} CPUs and {sum(gpus)} GPUs"
        advice = ", raise workers_per_gpu, or hide the GPUs with CUDA_VISIBLE_DEVICES= (empty)"
    number = min(room, wanted.at_most or room) if workers is None else workers
    if number > room or room == 0:
        raise PoolError(
            f"{max(number, 1)} workers cannot run at once: each wants {wants}, and Ray has "
            f"{offers} on {len(nodes)} machine{'s' * (len(nodes) != 1)}: room for {room}. "
            f"Ask for fewer workers, give Ray more{advice}."
        )
    return Plan(number, 1.0, share if any(gpus) else 0.0)


def check_number(workers: int | None) -> None:
    """Refuse what is no number of workers.

    Raises:
        PoolError: If it is none.
    """
    if workers is not None and (type(workers) is not int or workers < 1):
        raise PoolError(
            f"workers is {workers!r}; it must be a whole number from 1 up, "
            "or 0 to evaluate in process."
        )


def room_on(machine: Mapping[str, float], workers_per_gpu: int | None) -> int:
    """How many workers fit on a machine; None for workers without a GPU."""
    cpus = int(machine.get("CPU", 0))
    return (
        cpus if workers_per_gpu is None else min(cpus, int(machine.get("GPU", 0)) * workers_per_gpu)
    )


def part_of_gpu(workers_per_gpu: int) -> str:
    """For messages: ``1 GPU`` or ``1/4 GPU``."""
    return "1 GPU" if workers_per_gpu == 1 else f"1/{workers_per_gpu} GPU"


def gpu_share(workers_per_gpu: int) -> float:
    """The part of a GPU each of n workers gets.

    Only 1/n: with 0.6, every second worker would wait for ever. Rounded down to Ray's unit, a
    10,000th, so that n shares are never more than one GPU.

    Raises:
        PoolError: If ``workers_per_gpu`` is no whole number from 1 to 100.
    """
    if type(workers_per_gpu) is not int or not 1 <= workers_per_gpu <= 100:
        raise PoolError(
            f"workers_per_gpu is {workers_per_gpu!r}; it must be a whole number n from 1 to 100: "
            "n workers share a GPU, each 1/n of it. With other shares some would wait for ever."
        )
    return math.floor(10_000 / workers_per_gpu) / 10_000
