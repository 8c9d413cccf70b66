"""Ray's real autoscaler starts machines for workers that wait, and ends those without any."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from misbehaving import asked
from pool_checks import Opener, kind, pools
from ray_machines import Machines, machines
from ray_provider import HEAD_ENVIRONMENT, write_autoscaling_file

from workers.autoscaler import node_types
from workers.limits import Limits, Pool, PoolError
from workers.messages import Result

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

SMALL = {"resources": {"CPU": 1, "object_store_memory": 80_000_000}, "max_workers": 2}
PATIENCE = 120.0


@pytest.fixture(scope="module", params=["0", "1"], ids=["older", "v2"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Machines]:
    folder: Path = tmp_path_factory.mktemp("autoscaler")

    def options(address: str) -> list[str]:
        kinds = {"small": SMALL | {"labels": {"kind": "L4"}}}
        return [f"--autoscaling-config={write_autoscaling_file(folder, address, kinds)}"]

    environment = HEAD_ENVIRONMENT | {"RAY_enable_autoscaler_v2": request.param}
    with machines(options=options, **environment) as running:
        ray._private.worker._worker_logs_enabled = False
        ray.init(address=running.address, log_to_driver=False, logging_level=logging.ERROR)
        try:
            yield running
        finally:
            ray.shutdown()


@pytest.fixture
def opened() -> Iterator[Opener]:
    with pools() as opener:
        yield opener


def count() -> int:
    """Machines beside the head."""
    list_nodes: Any = ray.nodes
    return sum(bool(node["Alive"] and node["Resources"].get("CPU")) for node in list_nodes())


def polled(pool: Pool, number: int) -> list[Result]:
    results: list[Result] = []
    end = time.monotonic() + PATIENCE
    while len(results) < number:
        assert time.monotonic() < end, f"stuck with {pool.running()} on {count()} machines"
        results += pool.poll(0.5)
    return results


def test_machines_come_for_workers_that_wait_and_go_when_there_is_less_to_do(
    cluster: Machines, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.waiting.PATIENCE_SECONDS", 0.0)
    said: list[str] = []
    with pytest.raises(PoolError, match="Say with --workers how many the cluster is to make room"):
        opened(workers=None, address=cluster.address)
    limits = Limits(attempts=1, start_seconds=4.0, idle_seconds=2.0)
    pool = opened(limits, workers=2, address=cluster.address, say=said.append)
    assert count() == 0 and pool.capacity == 2
    for birth in (0, 1):
        pool.submit(asked("takes:3", birth))
    results = polled(pool, 2)
    assert {kind(r) for r in results} == {"ok"} and len({r.engine for r in results}) == 2
    assert count() == 2
    assert said[0].startswith("2 workers are asked for, and there is room for 0 now")
    assert said[1].startswith("2 of 2 workers have waited ") and len(said) == 2
    pool.submit(asked("takes:60", 2))
    end = time.monotonic() + 55
    while count() == 2:
        assert pool.poll(0.5) == [] and time.monotonic() < end
    assert count() == 1
    (last,) = polled(pool, 1)
    assert kind(last) == "ok" and last.birth == 2


def test_what_the_autoscaler_could_never_start_is_refused_with_what_it_could(
    cluster: Machines, opened: Opener
) -> None:
    with pytest.raises(
        PoolError,
        match=r"each wants 1 CPU on a machine with kind = T4; the largest of the autoscaler's 1 "
        r"kinds of machines, small, has 1 CPUs, 0 GPUs and labels kind = L4 \(at most 2 of them\)",
    ):
        opened(workers=1, address=cluster.address, labels={"kind": "T4"})


def test_a_manager_elsewhere_than_on_the_head_asks_it_and_says_so_if_it_cannot_tell(
    cluster: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    here = node_types(said.append)
    assert here is not None and [kind.name for kind in here] == ["small"]
    monkeypatch.setattr("workers.autoscaler._on_head", lambda: False)
    assert node_types(said.append) == here
    assert said == []

    def unknown(session: str) -> None:
        raise ModuleNotFoundError("No module named 'workers'")

    monkeypatch.setattr("workers.autoscaler.autoscaling_file", unknown)
    assert node_types(said.append) is None
    (warning,) = said
    assert "are not noticed now. Is this project installed there?" in warning
    assert warning.endswith("No module named 'workers'")
