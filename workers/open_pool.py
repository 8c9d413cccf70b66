"""Chooses the pool: in process, or Ray workers. Ray is imported only for the latter."""

from __future__ import annotations

from workers.limits import Limits, Pool
from workers.tasks.base import Task


def open_pool(
    workers: int | None,
    task: Task,
    limits: Limits,
    *,
    address: str = "local",
    workers_per_gpu: int = 1,
    dashboard: bool = False,
) -> Pool:
    """A pool of ``workers``: 0 runs in this process, None is one per core or GPU share."""
    if workers == 0:
        from workers.local import LocalPool

        return LocalPool(task, limits)
    from workers.pool import open_ray_pool

    return open_ray_pool(
        workers,
        task,
        limits,
        address=address,
        workers_per_gpu=workers_per_gpu,
        dashboard=dashboard,
    )
