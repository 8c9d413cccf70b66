"""Joining a Ray that is not as it should be: what is said, and that nothing is left behind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import ObjectStoreFullError
from simulated_ray import SimulatedRay, simulated

from workers import autoscaler, runtime
from workers.limits import PoolError


@pytest.mark.parametrize("port", ["abc", "0", "65536", "-1"])
def test_a_port_that_is_none_is_refused_with_the_address(port: str) -> None:
    with pytest.raises(PoolError) as info:
        runtime.start(f"127.0.0.1:{port}")
    assert str(info.value).startswith(
        f"no Ray cluster at address '127.0.0.1:{port}': '{port}' is no port; write it as host:port"
    )


@pytest.mark.parametrize(
    ("raised", "told"), [(KeyboardInterrupt(), KeyboardInterrupt), (OSError("no room"), PoolError)]
)
def test_a_ray_that_was_half_started_is_ended_whatever_came_between(
    monkeypatch: pytest.MonkeyPatch, raised: BaseException, told: type[BaseException]
) -> None:
    ended: list[bool] = []

    def init(**given: Any) -> None:
        raise raised

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))
    with pytest.raises(told):
        runtime.start("local")
    assert ended == [True]


def connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this process had joined a cluster."""
    worker = SimpleNamespace(node=SimpleNamespace(session_name="session"))
    monkeypatch.setattr("ray._private.worker.global_worker", worker)


def test_a_head_that_says_nothing_of_its_failure_is_told_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails() -> bool:
        raise ray.exceptions.RayError

    connected(monkeypatch)
    monkeypatch.setattr(autoscaler, "_on_head", fails)
    said: list[str] = []
    assert autoscaler.node_types(said.append) is None
    assert said[0].startswith("the head of the cluster cannot say") and "RayError()" in said[0]


def test_a_cluster_without_a_head_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    connected(monkeypatch)
    monkeypatch.setattr(autoscaler, "nodes", list)
    with pytest.raises(PoolError, match="Ray names 0 machines as the head of the cluster, not one"):
        autoscaler.node_types(lambda text: None)


def test_a_task_that_is_too_large_for_rays_memory_is_refused_with_what_to_do() -> None:
    class Full(SimulatedRay):
        def put(self, value: Any) -> Any:
            raise ObjectStoreFullError("no room for 9 GB")

    words = r"does not fit .* no room for 9 GB\. Give Ray more .*object-store-memory"
    with pytest.raises(PoolError, match=words), simulated(Full()):
        raise AssertionError("it was opened")
