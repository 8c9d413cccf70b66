"""A machine that is cut off, and not ended: Ray takes a minute to miss it, and so long it may."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
import ray
from misbehaving import asked
from pool_checks import kind, pools
from ray_machines import machines

from workers.limits import Limits

PATIENCE = 120.0
RAYS_OWN = {
    "RAY_health_check_period_ms": "3000",
    "RAY_health_check_failure_threshold": "5",
    "RAY_health_check_initial_delay_ms": "5000",
}
"""What Ray does unless it is told otherwise."""


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end


def living() -> set[str]:
    list_nodes: Any = ray.nodes
    return {node["NodeName"] for node in list_nodes() if node["Alive"]}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_machine_that_is_stopped_costs_no_attempt_for_as_long_as_ray_takes_to_miss_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray._private.worker, "_worker_logs_enabled", False)
    with machines(**RAYS_OWN) as cluster, pools() as opened:
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        try:
            stopped = cluster.add()
            limits = Limits(attempts=1, stall_seconds=2.0)
            pool = opened(limits, workers=1, address=cluster.address)
            pool.submit(asked("takes:3"))
            until(lambda: pool.poll(0.1) == [] and pool.running()[0].step > 0)
            stopped.stop()
            # It stalls long before its machine is missed, and is the last attempt there is.
            until(lambda: pool.poll(0.1) == [] and pool.running()[0].step == 0)
            assert stopped.name in living()
            cluster.add()
            until(lambda: pool.poll(0.3) == [] and stopped.name not in living())
            results = pool.poll(0.1)
            until(lambda: bool(results) or bool(results.extend(pool.poll(0.3))))
            assert [kind(result) for result in results] == ["ok"]
        finally:
            ray.shutdown()
