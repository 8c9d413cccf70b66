"""Waits until a cluster has the machines that a search asks for; they may have to be started."""

from __future__ import annotations

import sys
import time
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from workers import runtime
from workers.limits import PoolError
from workers.resources import gpu_share, plan

LOOK_SECONDS = 1.0
SAY_SECONDS = 60.0


def wait_for_room(
    address: str,
    workers: int | None,
    workers_per_gpu: int = 1,
    *,
    gpus: bool = False,
    seconds: float = 1800.0,
) -> bool:
    """Ask the cluster for machines and wait until the workers fit.

    What is asked for is a placement group: the autoscaler sees it, and unlike a request to it, it
    ends with this process whatever happens, so that no machine is kept for a search that is gone.

    Args:
        address: As in `workers.runtime.start`; a connection made here stays.
        workers: How many have to fit; None for one at least.
        workers_per_gpu: n workers share a GPU.
        gpus: Whether machines still to come have GPUs; those that are there show it themselves.
        seconds: How long to wait.

    Returns:
        Whether a connection was made here, so that `workers.runtime.stop` is due.

    Raises:
        PoolError: If there is no such cluster, or no room in time.
    """
    share = gpu_share(workers_per_gpu)
    started = runtime.start(address)
    wanted = workers or 1
    asked: PlacementGroup | None = None
    begun = said = time.monotonic()
    try:
        while True:
            nodes = _machines()
            try:
                # Without a GPU on any of them, `plan` would take cores alone.
                if not gpus or any(node.get("GPU") for node in nodes):
                    plan(wanted, nodes, workers_per_gpu)
                    return started
                why = f"no machine with a GPU is there; the cluster has {len(nodes)} in all"
            except PoolError as error:
                why = str(error)
            now = time.monotonic()
            if now - begun > seconds:
                raise PoolError(
                    f"the machines for {wanted} worker{'s' * (wanted != 1)} did not come within "
                    f"{seconds / 60:g} minutes: {why} 'ray status' on the head says what was "
                    "asked for and why it does not come; --wait-minutes waits longer."
                )
            if asked is None:
                part = share if gpus or any(node.get("GPU") for node in nodes) else 0.0
                bundle = {"CPU": 1.0} | ({"GPU": part} if part else {})
                asked = placement_group([dict(bundle) for _ in range(wanted)])
                print(f"waiting for machines: {why}", file=sys.stderr, flush=True)
            elif now - said > SAY_SECONDS:
                said = now
                print("still waiting for machines", file=sys.stderr, flush=True)
            ray.wait([asked.ready()], timeout=LOOK_SECONDS)
    except BaseException:
        if started:
            runtime.stop()
        raise
    finally:
        if asked is not None and ray.is_initialized():
            # Its place is for the workers themselves.
            remove_placement_group(asked)


def _machines() -> list[dict[str, float]]:
    """Resources of each machine that Ray has now."""
    list_nodes: Any = ray.nodes
    return [dict(node["Resources"]) for node in list_nodes() if node["Alive"]]
