"""A cluster whose machines come and go: each request settles once, and a machine is no candidate.

The machines are real ones to Ray: a raylet each, with workers of its own, on this machine.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from misbehaving import asked
from pool_checks import Opener, assert_nothing_is_left, kind, message, pools, settled
from ray_head import processes_of_session
from ray_machines import Machine, Machines, machines

from workers.limits import Limits, Pool, PoolError
from workers.messages import Result

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PATIENCE = 90.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Machines]:
    """A head alone, which holds no workers, and a driver connected to it."""
    with machines() as running:
        ray._private.worker._worker_logs_enabled = False
        ray.init(address=running.address, log_to_driver=False, logging_level=logging.ERROR)
        try:
            yield running
        finally:
            ray.shutdown()


@pytest.fixture
def add(cluster: Machines) -> Iterator[Callable[..., Machine]]:
    """Adds machines for one test."""
    added: list[Machine] = []

    def adder(cpus: int = 1, **more: Any) -> Machine:
        added.append(cluster.add(cpus=cpus, **more))
        return added[-1]

    yield adder
    for machine in added:
        machine.vanish()
    until(lambda: not any(node["Alive"] and node["Resources"].get("CPU") for node in ray.nodes()))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def opened(cluster: Machines, said: list[str]) -> Iterator[Opener]:
    with pools() as opener:
        yield lambda *args, **more: opener(
            *args, **({"address": cluster.address, "say": said.append} | more)
        )


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def polled(pool: Pool, until: Callable[[list[Result]], bool]) -> list[Result]:
    """Results, until there are those that are wanted."""
    results: list[Result] = []
    end = time.monotonic() + PATIENCE
    while not until(results):
        assert time.monotonic() < end, f"stuck with {pool.running()} after {results}"
        results += pool.poll(0.3)
    return results


def all_work(pool: Pool) -> Callable[[list[Result]], bool]:
    """Whether every request that a pool took has made a step."""
    return lambda results: all(progress.step > 0 for progress in pool.running())


def births(results: list[Result]) -> list[int]:
    return sorted(result.birth for result in results)


def pids_on(machine: Machine) -> set[str]:
    return {str(pid) for pid in processes_of_session(machine.process.pid)}


def pids_of_workers() -> set[str]:
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    alive = ray._private.state.state.actor_table(None, job, "ALIVE")
    return {str(entry["Pid"]) for entry in alive.values()}


def living() -> set[str]:
    list_nodes: Any = ray.nodes
    return {node["NodeName"] for node in list_nodes() if node["Alive"]}


@pytest.mark.parametrize("how", ["vanish", "kill_raylet"])
def test_a_machine_that_is_lost_costs_no_attempt_and_one_that_comes_late_gets_work(
    cluster: Machines, add: Callable[..., Machine], opened: Opener, how: str
) -> None:
    first = add()
    add()
    pool = opened(Limits(attempts=1), workers=2)
    for birth in (0, 1):
        pool.submit(asked("takes:5", birth))
    results = polled(pool, all_work(pool))
    assert results == []
    getattr(first, how)()
    results = polled(pool, lambda so_far: bool(so_far))
    late = add()
    results += polled(pool, lambda so_far: len(so_far) + len(results) == 2)
    assert births(results) == [0, 1] and {kind(r) for r in results} == {"ok"}
    assert_nothing_is_left(pool, 0.5)
    more = settled(pool, [asked("takes:2", birth) for birth in range(2, 6)])
    assert {kind(r) for r in more} == {"ok"}
    assert len({r.engine for r in more}) == 2
    assert {r.engine for r in more} & pids_on(late), "the late one has no work"


def test_a_machine_that_ends_its_workers_before_it_goes_costs_no_attempt(
    cluster: Machines, add: Callable[..., Machine], opened: Opener
) -> None:
    going = add()
    pool = opened(Limits(attempts=1), workers=1)
    pool.submit(asked("takes:4"))
    assert polled(pool, all_work(pool)) == []
    (worker,) = pids_of_workers()
    os.kill(int(worker), signal.SIGKILL)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert pool.poll(0.5) == []
    assert [p.step for p in pool.running()] == [0], "nobody tries the last attempt yet"
    going.vanish()
    add()
    (result,) = polled(pool, lambda so_far: bool(so_far))
    assert kind(result) == "ok"
    assert_nothing_is_left(pool, 0.5)


def test_all_workers_are_lost_and_machines_come_back(
    cluster: Machines, add: Callable[..., Machine], opened: Opener
) -> None:
    only = add(cpus=2)
    pool = opened(Limits(attempts=1), workers=2)
    for birth in (0, 1):
        pool.submit(asked("takes:3", birth))
    assert polled(pool, all_work(pool)) == []
    only.vanish()
    end = time.monotonic() + 8
    while time.monotonic() < end:
        assert pool.poll(0.5) == []
    assert [p.step for p in pool.running()] == [0, 0]
    add(cpus=2)
    results = polled(pool, lambda so_far: len(so_far) == 2)
    assert births(results) == [0, 1] and {kind(r) for r in results} == {"ok"}
    assert_nothing_is_left(pool, 0.5)


def test_a_draining_machine_finishes_what_it_runs_and_gets_nothing_new(
    cluster: Machines, add: Callable[..., Machine], opened: Opener
) -> None:
    leaving, staying = add(cpus=2), add()
    pool = opened(Limits(attempts=1), workers=3)
    for birth in (0, 1):
        pool.submit(asked("takes:9", birth))
    assert polled(pool, all_work(pool)) == []
    pool.submit(asked("takes:1", 2))
    polled(pool, lambda so_far: bool(so_far))  # so that all three are there
    on_leaving = pids_of_workers() & pids_on(leaving)
    cluster.drain(leaving)
    pool.submit(asked("takes:1", 3))
    results = polled(pool, lambda so_far: len(so_far) == 3)
    assert births(results) == [0, 1, 3] and {kind(r) for r in results} == {"ok"}
    long = {r.engine for r in results if r.birth < 2}
    assert long & on_leaving, "what ran on the draining machine was not let finish"
    # Nothing is left on it, so that it ends by itself; what is new goes elsewhere.
    pool.submit(asked("takes:8", 4))
    until(lambda: pool.poll(0.3) == [] and leaving.name not in living())
    (last,) = polled(pool, lambda so_far: bool(so_far))
    assert kind(last) == "ok" and last.engine in pids_on(staying)


def test_a_machine_that_is_drained_and_then_taken_away_costs_nothing(
    cluster: Machines, add: Callable[..., Machine], opened: Opener
) -> None:
    leaving = add()
    pool = opened(Limits(attempts=1, machines=1), workers=1)
    pool.submit(asked("takes:6"))
    assert polled(pool, all_work(pool)) == []
    cluster.drain(leaving)
    # The manager looks every three seconds; a warning comes some more before its machine goes.
    until(lambda: pool.poll(0.3) == [] and pool._watch.draining)  # type: ignore[attr-defined]
    leaving.vanish()
    add()
    (result,) = polled(pool, lambda so_far: bool(so_far))
    assert kind(result) == "ok"
    assert_nothing_is_left(pool, 0.5)


def test_a_candidate_that_takes_machines_down_again_and_again_is_given_up(
    cluster: Machines, add: Callable[..., Machine], opened: Opener, tmp_path: Path
) -> None:
    for _ in range(2):
        add()
    pool = opened(Limits(attempts=1, machines=2), workers=1)
    pool.submit(asked(f"takes_its_machine_down:9|{tmp_path}"))

    def attempts() -> int:
        return sum(entry.name.isdigit() for entry in tmp_path.iterdir())

    def given_up(so_far: list[Result]) -> bool:
        if any(progress.step == 4 for progress in pool.running()):
            (tmp_path / f"seen{attempts() - 1}").touch()
        return bool(so_far)

    (lost,) = polled(pool, given_up)
    assert kind(lost) == "worker_lost" and attempts() == 2
    assert message(lost).startswith("2 machines went down under it; the last, with worker-")
    assert "node has died" in message(lost)
    assert (lost.curve, lost.steps) == (((4, 1.0),), 4)
    add()
    (fine,) = settled(pool, [asked("behaves", 1)])
    assert kind(fine) == "ok"


def test_a_candidate_that_kills_its_workers_is_given_up_on_a_cluster_too(
    cluster: Machines,
    add: Callable[..., Machine],
    opened: Opener,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.watch.JUDGE_SECONDS", 4.0)
    add(cpus=2)
    pool = opened(Limits(attempts=2), workers=2)
    deadly, fine = settled(pool, [asked(f"kills_its_process:{tmp_path}"), asked("takes:1", 1)])
    assert kind(deadly) == "worker_lost" and kind(fine) == "ok"
    assert message(deadly).startswith("2 workers died over it; the last, worker-")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_machine_on_which_no_worker_starts_is_left_alone(
    cluster: Machines,
    add: Callable[..., Machine],
    opened: Opener,
    said: list[str],
) -> None:
    bad = add(cpus=2, PYTHONPATH="/nowhere")
    good = add(cpus=2)
    pool = opened(workers=4)
    results = settled(pool, [asked("takes:2", birth) for birth in range(8)])
    assert {kind(r) for r in results} == {"ok"}
    assert {r.engine for r in results} <= pids_on(good)
    (warned,) = [text for text in said if "gets no more workers" in text]
    assert warned.startswith(f"machine {bad.name} gets no more workers: 3 in a row did not start")
    assert warned.endswith("The last said: ModuleNotFoundError: No module named 'misbehaving'")


def test_workers_that_do_not_fit_wait_and_say_why_once(
    cluster: Machines,
    add: Callable[..., Machine],
    opened: Opener,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.waiting.PATIENCE_SECONDS", 2.0)
    add()
    # No worker that waits for room counts as one that does not start.
    pool = opened(Limits(start_seconds=5.0), workers=2)
    assert pool.capacity == pool.free() == 2
    (at_start,) = said
    assert at_start == (
        "2 workers are asked for, and there is room for 1 now; the others start as soon as there "
        "are machines for them."
    )
    results = settled(pool, [asked("takes:4", birth) for birth in range(4)])
    assert births(results) == [0, 1, 2, 3] and len({r.engine for r in results}) == 1
    _, why = said
    assert why.startswith("1 of 2 workers have waited ")
    assert "s for room. Each wants 1 CPU. The cluster has 2 machines with 1 CPUs and 0 GPUs" in why
    assert "0 CPUs and 0 GPUs of the whole cluster are free. No autoscaler would start" in why
    assert why.endswith("The search goes on with 1 worker.")
    add()
    results = settled(pool, [asked("takes:3", birth) for birth in range(4, 8)])
    assert len({r.engine for r in results}) == 2
    assert len(said) == 2


def test_what_no_machine_could_hold_is_refused_at_start(
    cluster: Machines, add: Callable[..., Machine], opened: Opener
) -> None:
    with pytest.raises(PoolError, match="no worker could ever start: each wants 1 CPU; the clust"):
        opened(workers=1)
    add(labels="zone=north,kind=L4")
    with pytest.raises(
        PoolError,
        match=r"each wants 1 CPU on a machine with kind = T4; the cluster has 2 machines and no "
        r"autoscaler, and the largest has 1 CPUs, 0 GPUs and labels kind = L4 and zone = north",
    ):
        opened(workers=1, labels={"kind": "T4"})


def test_workers_go_to_machines_with_the_labels_alone(
    cluster: Machines, add: Callable[..., Machine], opened: Opener
) -> None:
    add(cpus=2)
    right = add(cpus=2, labels="kind=L4")
    pool = opened(workers=None, labels={"kind": "in(L4,L40S)"})
    assert pool.capacity == 2
    results = settled(pool, [asked("takes:1", birth) for birth in range(4)])
    assert {r.engine for r in results} <= pids_on(right)
    assert len({r.engine for r in results}) == 2


def test_idle_workers_are_ended_and_made_anew_when_there_is_work(
    cluster: Machines, add: Callable[..., Machine], opened: Opener
) -> None:
    add(cpus=3)
    pool = opened(Limits(idle_seconds=2.0), workers=3)
    for birth in range(3):
        pool.submit(asked("takes:8", birth))
    assert len({r.engine for r in polled(pool, lambda so_far: len(so_far) == 3)}) == 3
    (long,) = settled(pool, [asked("takes:9", 3)])
    assert pids_of_workers() == {long.engine}
    for birth in range(4, 7):
        pool.submit(asked("takes:8", birth))
    results = polled(pool, lambda so_far: len(so_far) == 3)
    assert births(results) == [4, 5, 6] and len({r.engine for r in results}) == 3


def test_shares_of_a_gpu_are_given_out_on_a_cluster(
    cluster: Machines,
    add: Callable[..., Machine],
    opened: Opener,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from workers.actor import Worker

    class Pretending(Worker):
        def start(self, evaluator: str, task: Any, needs_gpu: bool) -> Any:
            assert needs_gpu
            return super().start(evaluator, task, False)

    monkeypatch.setattr("workers.pool.Worker", Pretending)
    add(cpus=4)
    gpus = add(cpus=4, gpus=1)
    pool = opened(workers=3, workers_per_gpu=2)
    results = settled(pool, [asked("takes:2", birth) for birth in range(4)])
    assert {kind(r) for r in results} == {"ok"} and len({r.engine for r in results}) == 2
    assert {r.engine for r in results} <= pids_on(gpus)
