"""Which idle workers take which jobs: the cohorts of a pool. No Ray.

A cohort is what a worker takes at once. On a CPU it trains one after the other, so the idle workers
share what waits by cost: they are to end at about the same time.

A job that ran when its worker was lost goes alone. A machine that goes down takes all its workers
with it: jobs that lost too many machines go alone too, and one to a machine, so that the others do
not go down with the one again.
"""

from __future__ import annotations

from collections.abc import Sequence

from workers.limits import Limits
from workers.slot import Job, Slot


def cohorts(
    idle: Sequence[Slot], todo: Sequence[Job], slots: Sequence[Slot], limits: Limits, most: int
) -> list[tuple[Slot, list[Job]]]:
    """Give jobs to idle workers, none of which gets a second while another has none.

    Args:
        idle: The workers that would begin at once, in the order in which they are given jobs.
        todo: The jobs that may begin, in the order in which they came.
        slots: All workers.
        limits: Of the pool.
        most: How many jobs a worker takes at once.
    """
    kept_apart = {slot.node for slot in slots if any(suspect(job, limits) for job in slot.jobs)}
    left, found = list(todo), list[tuple[Slot, list[Job]]]()
    for slot in idle:
        apart = slot.node in kept_apart
        first = next((job for job in left if not (apart and suspect(job, limits))), None)
        if first is None:
            continue
        left.remove(first)
        if suspect(first, limits):
            kept_apart.add(slot.node)
        found.append((slot, [first]))
    shared = [cohort for _, cohort in found if not _goes_alone(cohort[0], limits)]
    # The dearest first, each to whoever has least to do: what is left then fills the gaps.
    rest = [job for job in left if not _goes_alone(job, limits)]
    for job in sorted(rest, key=lambda job: -job.request.cost):
        open_ = [cohort for cohort in shared if len(cohort) < most]
        if not open_:
            break
        min(open_, key=_cost).append(job)
    order = {id(job): place for place, job in enumerate(todo)}
    for _, cohort in found:
        cohort.sort(key=lambda job: order[id(job)])
    return found


def _cost(cohort: Sequence[Job]) -> tuple[float, int]:
    """What a cohort costs; where nobody knows, how many it is."""
    return sum(job.request.cost for job in cohort), len(cohort)


def _goes_alone(job: Job, limits: Limits) -> bool:
    return job.alone or suspect(job, limits)


def suspect(job: Job, limits: Limits) -> bool:
    """Whether a job has lost half the machines that it may lose."""
    return bool(job.losses.machines) and 2 * len(job.losses.machines) >= limits.machines
