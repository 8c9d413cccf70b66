"""What the pool decides, hour by hour, with a Ray that is simulated: see `simulated_ray`."""

from __future__ import annotations

import math

import pytest
from misbehaving import asked
from ray.exceptions import RayError
from simulated_ray import Actor, Answer, SimulatedRay, Stream, settled_after, simulated

from workers.actor import Started
from workers.limits import Limits, PoolError
from workers.messages import Progress, Request

BAD = "ModuleNotFoundError: No module named 'workers'\nand where that was"


def test_signs_of_life_keep_a_long_training_and_are_no_points_of_its_curve() -> None:
    ray = SimulatedRay()
    hours = 2 * 3600

    def training(actor: Actor, request: Request) -> Stream:
        reports = [(360.0 * n, Progress(0, n, 20, 1.0)) for n in range(1, 20)]
        signs = [(10.0 * n, Progress(0, n // 36, 20, 1.0, on_curve=False)) for n in range(1, 720)]
        return ray.result(request, hours, *sorted(reports + signs, key=lambda item: item[0]))

    ray.on_evaluation = training
    with simulated(ray) as pool:
        pool.submit(asked("behaves"))
        assert settled_after(pool, ray, hours - 1) == []
        assert len(ray.actors) == 1
        (job,) = pool._jobs()
        assert [step for step, _ in job.curve] == list(range(1, 20))
        (result,) = settled_after(pool, ray, 2)
        assert result.failure is None


def test_a_machine_on_which_no_worker_starts_is_left_alone_and_the_search_goes_on() -> None:
    ray, said = SimulatedRay(nodes_there=["good", "bad"]), list[str]()

    def start(actor: Actor) -> Answer:
        # Whoever comes later finds room on the bad machine alone, unless kept away from it.
        selector = actor.options["label_selector"]
        if selector is not None:
            assert selector == {"ray.io/node-id": "!in(bad)"}
            return ray.waits(actor)
        if actor.number % 8 == 0 or actor.number >= 32:
            return ray.refusing(actor, BAD, 0.5, "bad")
        return ray.ready(actor, 6.0, "good")

    ray.on_start = start
    with simulated(ray, said, workers=32) as pool:
        for birth in range(32):
            pool.submit(asked("behaves", birth))
        results = settled_after(pool, ray, 30)
    assert len(results) == 32 and not any(result.failure for result in results)
    assert said == [
        "machine host of bad gets no more workers: 3 in a row did not start there. The "
        "last said: ModuleNotFoundError: No module named 'workers'"
    ]


@pytest.mark.parametrize("machines", [1, 2, 9])
def test_where_no_worker_starts_on_any_machine_the_search_ends_with_the_cause(
    machines: int,
) -> None:
    names = [f"bad{number}" for number in range(machines)]
    ray, said = SimulatedRay(nodes_there=names), list[str]()

    def start(actor: Actor) -> Answer:
        kept_from = str((actor.options["label_selector"] or {}).get("ray.io/node-id", ""))
        there = [name for name in names if name not in kept_from]
        return ray.refusing(actor, BAD, 1.0, there[0]) if there else ray.waits(actor)

    ray.on_start = start
    with simulated(ray, said, workers=4) as pool:
        for birth in range(4):
            pool.submit(asked("behaves", birth))
        with pytest.raises(PoolError, match="3 workers in a row did not start") as info:
            settled_after(pool, ray, 60)
    assert BAD in str(info.value)
    assert len(said) == min(machines, 3)


def test_a_bad_machine_that_is_left_alone_ends_no_search_hours_later() -> None:
    ray, said = SimulatedRay(nodes_there=["good", "bad"]), list[str]()
    starts = ["good", "bad", "bad", "bad", "waits"]

    def start(actor: Actor) -> Answer:
        where = starts.pop(0) if starts else "good"
        if where == "waits":
            return ray.waits(actor)
        if where == "bad":
            return ray.refusing(actor, BAD, 2.0, where)
        return ray.ready(actor, 1.0, where)

    ray.on_start = start
    ray.queued = 1
    ray.on_evaluation = lambda actor, request: ray.result(request, 100.0)
    with simulated(ray, said, workers=2) as pool:
        for birth in (0, 1):
            pool.submit(asked("behaves", birth))
        (first,) = settled_after(pool, ray, 102)
        # All that is left is a worker that waits for room on another machine.
        ray.actors[0].state = "DEAD"
        (second,) = settled_after(pool, ray, 7200)
    assert first.failure is second.failure is None
    assert len([text for text in said if "gets no more workers" in text]) == 1


def test_a_worker_that_becomes_ready_on_a_draining_machine_gets_nothing() -> None:
    ray, said = SimulatedRay(draining=["node"]), list[str]()
    ray.on_start = lambda actor: ray.ready(actor, 5.0, "node" if actor.number == 0 else "other")
    given: list[int] = []

    def evaluation(actor: Actor, request: Request) -> Stream:
        given.append(actor.number)
        return ray.result(request, 1.0)

    ray.on_evaluation = evaluation
    with simulated(ray, said) as pool:
        pool.submit(asked("behaves"))
        assert len(settled_after(pool, ray, 60)) == 1
    assert given == [1] and ray.actors[0].killed


def test_idle_workers_that_died_cost_the_next_request_no_attempt() -> None:
    ray = SimulatedRay()
    with simulated(ray, limits=Limits(attempts=1), workers=3) as pool:
        pool.submit(asked("behaves"))
        assert len(settled_after(pool, ray, 5)) == 1
        for actor in ray.actors:
            actor.state = "DEAD"
        pool.submit(asked("behaves", 1))
        (result,) = settled_after(pool, ray, 5)
    assert result.failure is None
    assert len(ray.actors) == 6 and all(actor.killed for actor in ray.actors[:3])


def test_a_worker_that_has_no_process_though_nothing_like_it_waits_for_room_is_late() -> None:
    ray, said = SimulatedRay(), list[str]()
    ray.on_start = ray.waits
    limits = Limits(start_seconds=300)
    with simulated(ray, said, limits) as pool:
        pool.submit(asked("behaves"))
        with pytest.raises(PoolError, match="not ready within 300 s. Is the cluster busy"):
            settled_after(pool, ray, 4 * 300)
    assert len(ray.actors) == 3 + 1 and said == []


def test_a_worker_whose_process_was_started_is_late_though_others_wait_for_room() -> None:
    ray, said = SimulatedRay(queued=1), list[str]()

    def start(actor: Actor) -> Answer:
        answer = ray.waits(actor)
        actor.pid, actor.node = 7, "node"
        return answer

    ray.on_start = start
    with simulated(ray, said, Limits(start_seconds=300)) as pool:
        pool.submit(asked("behaves"))
        with pytest.raises(PoolError, match="not ready within 300 s"):
            settled_after(pool, ray, 4 * 300)


def test_what_workers_wait_for_is_said_again_until_one_is_ready() -> None:
    ray, said = SimulatedRay(queued=1), list[str]()
    first = Answer(math.inf, None)
    ray.on_start = lambda actor: ray.waits(actor) if actor.number else first
    ray.on_evaluation = lambda actor, request: ray.result(request, 7200.0)
    with simulated(ray, said, Limits(stall_seconds=None), workers=2) as pool:
        for birth in (0, 1):
            pool.submit(asked("behaves", birth))
        pool.poll(0)
        ray.waits(ray.actors[0])
        settled_after(pool, ray, 3600)
        assert len(said) == 6 and all("for room. Each wants 1 CPU." in text for text in said)
        first.at, first.value = ray.now, Started("worker-0@host", node="node")
        said.clear()
        settled_after(pool, ray, 3600)
    assert said == []


def test_a_poll_ends_though_hundreds_of_workers_speak_faster_than_they_are_heard() -> None:
    ray = SimulatedRay(seconds_per_wait=5e-3, seconds_per_get=2e-4)

    def evaluation(actor: Actor, request: Request) -> Stream:
        late = request.birth / 2500  # they do not speak all at once
        reports = [(late + n / 5, Progress(request.birth, n, 10**6, 1.0)) for n in range(50)]
        return ray.result(request, 10.0, *reports)

    ray.on_evaluation = evaluation
    limits = Limits(stall_seconds=1.0)  # nobody is late whose report waits to be read
    with simulated(ray, limits=limits, workers=500) as pool:
        pool.poll(0)
        for birth in range(500):
            pool.submit(asked("behaves", birth))
        began = ray.now
        results = pool.poll(0.5)
        assert results == [] and ray.now - began < 2.0
        results += settled_after(pool, ray, 600)
    assert len(results) == 500 and not any(result.failure for result in results)
    assert len(ray.actors) == 500


def test_a_closed_pool_of_a_cluster_gives_nothing_and_asks_nobody() -> None:
    ray, said = SimulatedRay(), list[str]()
    stopped: list[bool] = []
    with simulated(ray, said) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.runtime.stop", lambda: stopped.append(True))
        pool.submit(asked("behaves"))
        pool.close()
        patch.setattr(ray, "get_draining_nodes", None)
        assert pool.poll(0.1) == [] and stopped == [True]


def test_ray_is_stopped_even_if_it_cannot_end_its_workers_any_more() -> None:
    ray = SimulatedRay(kill_raises=RayError("the control plane is gone"))
    stopped: list[bool] = []
    with simulated(ray, workers=3) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.runtime.stop", lambda: stopped.append(True))
        with pytest.raises(RayError, match="the control plane is gone"):
            pool.close()
        assert stopped == [True]
