"""Which idle worker takes which job. No Ray.

A machine that goes down takes all its candidates with it, and one of them may be the cause. Those
that were there too often are kept apart, so that the others do not go down with the one again.
"""

from __future__ import annotations

from collections.abc import Sequence

from workers.limits import Limits
from workers.slot import Job, Slot


def pairs(
    idle: Sequence[Slot], todo: Sequence[Job], slots: Sequence[Slot], limits: Limits
) -> list[tuple[Slot, Job]]:
    """Give jobs, in their order, to idle workers in theirs; one suspect to a machine at a time.

    Args:
        idle: The workers that would begin at once.
        todo: The jobs that may begin.
        slots: All workers.
        limits: Of the pool.
    """
    kept_apart = {slot.node for slot in slots if slot.job is not None and suspect(slot.job, limits)}
    left, found = list(todo), []
    for slot in idle:
        job = next((j for j in left if slot.node not in kept_apart or not suspect(j, limits)), None)
        if job is None:
            continue
        left.remove(job)
        if suspect(job, limits):
            kept_apart.add(slot.node)
        found.append((slot, job))
    return found


def suspect(job: Job, limits: Limits) -> bool:
    """Whether a job has lost half the machines that it may lose."""
    return bool(job.losses.machines) and 2 * len(job.losses.machines) >= limits.machines
