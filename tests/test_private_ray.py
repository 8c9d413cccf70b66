"""What we ask of Ray that it documents nowhere: a version that answers otherwise is noticed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import ray
from pool_checks import CORES, PATIENCE, small_ray, until

from workers.autoscaler import node_types, outlook
from workers.labels import NODE
from workers.resources import Plan
from workers.waiting import _unplaced
from workers.watch import Watch, is_dead, machine_of, machines


@pytest.fixture(scope="module", autouse=True)
def one_ray() -> Iterator[None]:
    with small_ray():
        yield


def test_what_ray_says_of_machines_and_of_requests_that_wait_is_understood() -> None:
    here = ray.get_runtime_context().get_node_id()
    said: list[str] = []
    assert node_types(said.append) == [] == said
    (machine,) = machines()
    assert (machine.node, machine.resources["CPU"], machine.labels[NODE]) == (here, CORES, here)
    watch = Watch(cluster=True)
    watch.look()
    assert not watch.leaves(here)
    assert watch.name_of(here) != here and watch.name_of("unknown") == "unknown"

    class Holder:
        def answers(self) -> bool:
            return True

    holder: Any = ray.remote(Holder)
    selector = {NODE: f"!in({'a' * 56},{'b' * 56})"}
    holds = holder.options(num_cpus=CORES, label_selector=selector).remote()
    assert ray.get(holds.answers.remote(), timeout=PATIENCE)  # so that no room is left
    waits = holder.options(num_cpus=1.0, label_selector=selector).remote()
    try:
        asked_for = Plan(1, 1.0, 0.0)
        until(lambda: outlook(asked_for, {}).queued == 1)
        assert outlook(replace(asked_for, gpus=0.5), {}).queued == 0
        assert outlook(asked_for, {"kind": "L4"}).queued == 0
        assert outlook(asked_for, {}).free == (0.0, 0.0)
        assert _unplaced() == {waits._actor_id.hex()}
        assert (machine_of(holds), machine_of(waits)) == (here, "")
        assert not is_dead(holds) and not is_dead(waits)
    finally:
        ray.kill(holds)
        ray.kill(waits)
    until(lambda: is_dead(holds) and is_dead(waits))
