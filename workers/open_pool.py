"""Chooses the pool: in process, or Ray workers. Ray is imported only for the latter."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from genomes.readable import readable
from workers.evaluator import EVALUATOR
from workers.exposure import protect
from workers.limits import Limits, Pool, PoolError
from workers.resources import Wanted

if TYPE_CHECKING:
    from workers.tasks.base import Task


def _on_stderr(text: str) -> None:
    print(readable(text), file=sys.stderr)


def open_pool(
    workers: int | None,
    task: Task,
    limits: Limits,
    *,
    address: str = "local",
    workers_per_gpu: int = 1,
    dashboard: bool = False,
    evaluator: str = EVALUATOR,
    at_most: int | None = None,
    labels: Mapping[str, str] | None = None,
    cohort: int = 1,
    say: Callable[[str], None] = _on_stderr,
) -> Pool:
    """Open a pool; ``close`` it in any case.

    Args:
        workers: 0 evaluates in this process; None is one worker per core or, if there are GPUs,
            per GPU share. On a cluster there may be more than fit now: they start as machines
            come.
        task: Goes to the workers once.
        limits: How evaluations are guarded.
        address: ``local`` starts a Ray of its own on this machine and never joins another;
            ``auto`` joins the cluster that RAY_ADDRESS names or that runs on this machine;
            or ``host:port``. A process connected to Ray already stays with that.
        workers_per_gpu: n workers share a GPU, each 1/n of it.
        dashboard: Whether a local Ray starts its dashboard, on this machine's loopback.
        evaluator: What workers run, as ``package.module:function``.
        at_most: How many workers can have work at once; limits what None gives.
        labels: What the labels of a worker's machine have to be: see `workers.labels`.
        cohort: How many requests a worker takes at once, to train them one after the other.
        say: Takes what the user should know while it runs, a sentence or two at a time.

    Raises:
        PoolError: If there is no cluster at ``address``, it cannot hold the workers (on a cluster:
            could never hold one), or the task cannot be sent to them.
    """
    if workers == 0:
        if address != "local":
            raise PoolError(
                f"workers is 0, which evaluates in this process, but the address is {address!r}. "
                "Leave one of them out."
            )
        from workers.local import LocalPool

        return LocalPool(task, limits, evaluator, cohort)
    if address == "local" and "ray" not in sys.modules:
        protect(os.environ)
    from workers.opening import open_ray_pool

    return open_ray_pool(
        Wanted(workers, workers_per_gpu, at_most, labels or {}, cohort),
        task,
        limits,
        address=address,
        dashboard=dashboard,
        evaluator=evaluator,
        say=say,
    )
