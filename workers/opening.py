"""Opens the pool of Ray workers: joins or starts Ray, and decides what to ask it for."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from workers import runtime
from workers.autoscaler import node_types
from workers.cluster_plan import plan_on_cluster
from workers.exposure import (
    descendants,
    is_loopback,
    listeners,
    listeners_at,
    takes_anyone,
    token_of,
    warning,
)
from workers.limits import Limits, PoolError
from workers.pool import RayPool
from workers.resources import Wanted, plan
from workers.waiting import WaitingRoom
from workers.watch import machines

if TYPE_CHECKING:
    from workers.tasks.base import Task


def open_ray_pool(
    wanted: Wanted,
    task: Task,
    limits: Limits,
    *,
    address: str,
    dashboard: bool,
    evaluator: str,
    say: Callable[[str], None],
) -> RayPool:
    """Connect to Ray, or start one, and open a pool on it: see `workers.open_pool.open_pool`."""
    if address == "local" and wanted.labels:
        raise PoolError(
            "labels choose among the machines of a cluster, but the address is 'local'. Leave "
            "them out, or give the cluster's --address."
        )
    started = runtime.start(address, workers=wanted.workers, dashboard=dashboard)
    try:
        if started and (text := _exposed(address)) is not None:
            say(text)
        room = None
        if address == "local":
            asked = plan(wanted, [machine.resources for machine in machines()])
        else:
            types = node_types(say)
            asked, now = plan_on_cluster(wanted, machines(), types)
            room = WaitingRoom(asked, wanted.labels, types != [], say)
            if now < asked.workers:
                say(
                    f"{asked.workers} workers are asked for, and there is room for {now} now; the "
                    "others start as soon as there are machines for them."
                )
        environment = runtime.worker_environment(address, asked.gpus)
        cohort = wanted.cohort
        return RayPool(asked, task, limits, evaluator, environment, started, room, cohort)
    except BaseException:
        if started:
            runtime.stop()
        raise


def _exposed(address: str) -> str | None:
    """What the user should know of who else reaches the Ray in use; None if nothing."""
    if address == "local":
        return warning(address, os.environ, listeners(descendants(os.getpid())))
    head = runtime.address()
    host, _, port = head.rpartition(":")
    # Ray listens to all interfaces, whatever address it goes by.
    listening = listeners_at(int(port)) if is_loopback(host) else []
    try:
        # A token of our own says nothing of whether the cluster asks for it.
        is_open = token_of(os.environ).wanted and takes_anyone(head)
    except OSError as error:
        return f"it cannot be found out whether the Ray cluster at {head} asks for a token: {error}"
    return warning(head, os.environ, listening, is_open)
