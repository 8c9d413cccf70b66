"""Which idle workers take which jobs: the cohorts of a pool. No Ray.

A cohort is what a worker takes at once. Idle workers share what waits, so that none takes all while
another has nothing. Alike in cost are put together: trained side by side they end at about the same
time, and nobody waits for the last.

A worker that is lost takes its whole cohort with it, and a machine that goes down all its
workers; one candidate may be the cause. Those of a lost cohort come into ever smaller company,
and among themselves. Those that lost too many machines go alone, and one to a machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from workers.limits import Limits
from workers.slot import Job, Slot


def cohorts(
    idle: Sequence[Slot], todo: Sequence[Job], slots: Sequence[Slot], limits: Limits, most: int
) -> list[tuple[Slot, list[Job]]]:
    """Give jobs to idle workers: the first of each cohort is the one that has waited longest.

    Args:
        idle: The workers that would begin at once, in the order in which they are given jobs.
        todo: The jobs that may begin, in the order in which they came.
        slots: All workers.
        limits: Of the pool.
        most: How many jobs a worker takes at once.
    """
    kept_apart = {slot.node for slot in slots if any(suspect(job, limits) for job in slot.jobs)}
    left, found = list(todo), []
    for number, slot in enumerate(idle):
        first = next(
            (j for j in left if slot.node not in kept_apart or not suspect(j, limits)), None
        )
        if first is None:
            continue
        if suspect(first, limits):
            kept_apart.add(slot.node)
            cohort = [first]
        else:
            share = math.ceil(len(left) / (len(idle) - number))
            cohort = _company(first, left, limits, min(share, most))
        left = [job for job in left if job not in cohort]
        found.append((slot, cohort))
    return found


def _company(first: Job, left: Sequence[Job], limits: Limits, most: int) -> list[Job]:
    """A job and those that are most like it, at most so many, in their order."""
    others = [
        job
        for job in left
        if job is not first and job.company == first.company and not suspect(job, limits)
    ]
    room = most if first.company is None else min(most, first.company)
    alike = sorted(others, key=lambda job: _distance(job, first))[: room - 1]
    return [first, *(job for job in left if job in alike)]


def _distance(a: Job, b: Job) -> tuple[float, int]:
    """How different two trainings are: in cost, as a ratio, then in size."""
    one, other = a.request, b.request
    ratio = abs(math.log((one.cost or 1.0) / (other.cost or 1.0)))
    return ratio, abs(one.training.hidden_size - other.training.hidden_size)


def suspect(job: Job, limits: Limits) -> bool:
    """Whether a job has lost half the machines that it may lose."""
    return bool(job.losses.machines) and 2 * len(job.losses.machines) >= limits.machines
