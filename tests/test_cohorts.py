"""Several requests for one worker: which go together, and what comes of each. Nothing is real."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from misbehaving import asked, good
from pool_checks import kind, message
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayTaskError
from simulated_ray import Answer, SimulatedRay, Stream, settled_after, simulated

from workers.cohorts import cohorts, suspect
from workers.evaluator import nothing_yet
from workers.limits import Limits
from workers.losses import Loss
from workers.messages import Progress, Request, Result, Unusable
from workers.pool import RayPool
from workers.slot import Job, Slot

LIMITS = Limits(machines=4)


def job(birth: int, cost: float = 0.0, alone: bool = False, machines: int = 0) -> Job:
    request = replace(asked("behaves", birth), cost=cost)
    made = Job(request, nothing_yet(request))
    for _ in range(machines):
        made.lost(Loss("worker_lost", "died", "worker-7", "gone", "node", 1.0), "machine")
    made.alone = alone
    return made


def idle(count: int) -> list[Slot]:
    return [Slot(None, 0.0, None, f"worker-{n}", node=f"node{n}") for n in range(count)]


def formed(todo: list[Job], workers: int, most: int) -> list[list[int]]:
    slots = idle(workers)
    found = cohorts(slots, todo, slots, LIMITS, most)
    return [[each.request.birth for each in cohort] for _, cohort in found]


def test_idle_workers_share_what_waits() -> None:
    assert formed([job(n) for n in range(5)], 2, 4) == [[0, 2, 4], [1, 3]]
    assert formed([job(n) for n in range(5)], 3, 4) == [[0, 3], [1, 4], [2]]
    assert formed([job(n) for n in range(2)], 3, 4) == [[0], [1]]
    assert formed([job(n) for n in range(9)], 2, 4) == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_they_share_it_by_cost_to_end_at_about_the_same_time() -> None:
    todo = [job(n, cost) for n, cost in enumerate([1.0, 10.0, 10.0, 2.0, 3.0, 4.0])]
    assert formed(todo, 2, 5) == [[0, 2, 4], [1, 3, 5]]
    # Room for two each: the dearest are not left for the end.
    assert formed(todo, 2, 2) == [[0, 2], [1, 5]]


def test_one_that_lost_a_worker_goes_alone() -> None:
    assert formed([job(0, alone=True), job(1), job(2)], 1, 4) == [[0]]
    assert formed([job(0), job(1, alone=True), job(2)], 1, 4) == [[0, 2]]
    assert formed([job(0), job(1, alone=True), job(2), job(3)], 2, 4) == [[0, 2, 3], [1]]


def test_one_that_lost_too_many_machines_goes_alone() -> None:
    assert formed([job(0, machines=2), job(1), job(2)], 1, 4) == [[0]]
    assert formed([job(0), job(1, machines=2), job(2)], 1, 4) == [[0, 2]]


@pytest.mark.parametrize(
    ("blame", "alone"), [("own", True), ("open", True), ("machine", True), ("drained", False)]
)
def test_any_loss_but_with_a_drained_machine_sends_it_alone_from_then_on(
    blame: Any, alone: bool
) -> None:
    each = job(0)
    each.lost(Loss("worker_lost", "died", "worker-7", "gone", "node", 1.0), blame)
    assert each.alone == alone
    each.begin_again()
    assert each.alone == alone


COSTS = st.floats(0, allow_infinity=False)


@given(
    st.lists(st.tuples(COSTS, st.booleans(), st.integers(0, 3)), max_size=12),
    st.integers(1, 5),
    st.integers(1, 6),
)
def test_a_job_is_in_one_cohort_at_most_and_the_oldest_that_may_always_begins(
    drawn: list[tuple[float, bool, int]], workers: int, most: int
) -> None:
    todo = [job(birth, *each) for birth, each in enumerate(drawn)]
    slots = idle(workers)
    found = cohorts(slots, todo, slots, LIMITS, most)
    given = Counter(id(each) for _, cohort in found for each in cohort)
    assert set(given.values()) <= {1}
    assert len({id(slot) for slot, _ in found}) == len(found)
    for _, cohort in found:
        assert 1 <= len(cohort) <= most
        assert len(cohort) == 1 or not any(each.alone or suspect(each, LIMITS) for each in cohort)
        births = [each.request.birth for each in cohort]
        assert births == sorted(births)
    if todo:
        assert found[0][1][0] is todo[0]
    # Nobody is idle while somebody waits, for each machine has one worker here.
    assert len(found) == min(workers, len(todo))


# The supervisor, on a Ray where time is counted and not spent.

Evaluation = Callable[..., Stream]


def in_turn(seconds: dict[int, float], ends: dict[int, Any] | None = None) -> Evaluation:
    """Evaluations of a cohort that take so long each, with a report every 50 seconds.

    Args:
        ends: By birth, what comes instead of its result; nothing more does, then.
    """

    def evaluation(actor: Any, *cohort: Request) -> Stream:
        items: list[Answer] = []
        at = actor.ray.now
        for request in cohort:
            took = seconds.get(request.birth, 10.0)
            for n in range(1, math.ceil(took / 50)):
                items.append(Answer(at + 50 * n, Progress(request.birth, n, 10, 1.0)))
            at += took
            if request.birth in (ends or {}):
                end = (ends or {})[request.birth]
                return Stream([*items, *([] if end is None else [Answer(at, end)])])
            items.append(Answer(at, good(request)))
        return Stream(items)

    return evaluation


def submitted(pool: RayPool, count: int) -> None:
    for birth in range(count):
        pool.submit(asked("behaves", birth))


def kinds(results: list[Result]) -> list[tuple[int, str]]:
    return sorted((result.birth, kind(result)) for result in results)


def test_the_time_limit_is_that_of_each_evaluation_and_not_of_the_cohort() -> None:
    ray = SimulatedRay()
    ray.on_evaluation = in_turn({0: 500.0, 1: 500.0, 2: 700.0, 3: 500.0, 4: 500.0})
    limits = Limits(evaluation_seconds=600, stall_seconds=300)
    with simulated(ray, limits=limits, cohort=5) as pool:
        submitted(pool, 5)
        results = settled_after(pool, ray, 6000)
    expected = [(0, "ok"), (1, "ok"), (2, "timed_out"), (3, "ok"), (4, "ok")]
    assert kinds(results) == expected
    assert message(results[2]) == "the evaluation took longer than 600 s."
    assert results[2].seconds == pytest.approx(600, abs=1)
    assert results[2].curve[-1] == (12, 1.0), "what was reported is kept"
    assert [actor.killed for actor in ray.actors] == [True, False]


def test_what_another_was_late_for_comes_before_what_was_asked_for_since() -> None:
    ray = SimulatedRay()
    given: list[list[int]] = []

    def evaluation(actor: Any, *cohort: Request) -> Stream:
        given.append([request.birth for request in cohort])
        return in_turn({1: 700.0})(actor, *cohort)

    ray.on_evaluation = evaluation
    with simulated(ray, limits=Limits(evaluation_seconds=600), cohort=4) as pool:
        submitted(pool, 4)
        assert kinds(pool.poll(20)) == [(0, "ok")]
        pool.submit(asked("behaves", 4))
        assert len(settled_after(pool, ray, 6000)) == 4
    assert given == [[0, 1, 2, 3], [2, 3, 4]]


NEVER = Answer(math.inf, None)
FATES = {
    "died": ActorDiedError(),
    "out_of_memory": OutOfMemoryError("the machine has no memory left"),
    "broke down": Unusable("CUDA error"),
    "stalled": NEVER,
}


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("guilty", range(4))
def test_a_worker_lost_over_a_cohort_is_no_attempt_of_any_and_who_ran_is_tried_alone(
    fate: str, guilty: int
) -> None:
    ray = SimulatedRay()
    given: list[list[int]] = []

    def evaluation(actor: Any, *cohort: Request) -> Stream:
        given.append([request.birth for request in cohort])
        end = FATES[fate]
        ends = {guilty: None if end is NEVER else end}
        stream = in_turn({guilty: 60.0}, ends)(actor, *cohort)
        if end is NEVER and guilty in given[-1]:
            stream.items.append(NEVER)
        return stream

    ray.on_evaluation = evaluation
    with simulated(ray, limits=Limits(stall_seconds=300, attempts=2), cohort=4) as pool:
        submitted(pool, 4)
        results = settled_after(pool, ray, 6000)
    failure = {"stalled": "timed_out", "out_of_memory": "out_of_memory"}.get(fate, "worker_lost")
    assert kinds(results) == [(n, failure if n == guilty else "ok") for n in range(4)]
    (lost,) = [result for result in results if result.failure]
    assert lost.curve == ((1, 1.0),), "what was reported in the last attempt"
    word = "died" if fate == "out_of_memory" else fate
    assert message(lost).startswith(f"2 workers {word} over it; the last, worker-")
    assert [cohort for cohort in given if guilty in cohort and len(cohort) > 1] == [[0, 1, 2, 3]]
    # The last of a cohort was alone when its worker was lost: that was an attempt.
    assert given.count([guilty]) == (1 if guilty == 3 else 2)


def test_one_whose_last_result_was_lost_with_its_worker_is_not_blamed_for_the_next() -> None:
    ray = SimulatedRay()

    def evaluation(actor: Any, *cohort: Request) -> Stream:
        births = [request.birth for request in cohort]
        if 1 in births:  # it ends its process at once, and what the one before it gave is lost
            return Stream([Answer(actor.ray.now + 10 * len(births), ActorDiedError())])
        return in_turn({})(actor, *cohort)

    ray.on_evaluation = evaluation
    with simulated(ray, limits=Limits(attempts=1), cohort=4) as pool:
        submitted(pool, 4)
        results = settled_after(pool, ray, 6000)
    assert kinds(results) == [(0, "ok"), (1, "worker_lost"), (2, "ok"), (3, "ok")]


def test_a_worker_that_goes_with_a_drained_machine_leaves_the_cohort_together() -> None:
    ray, said = SimulatedRay(nodes_there=["node", "other"]), list[str]()
    given: list[list[int]] = []

    def evaluation(actor: Any, *cohort: Request) -> Stream:
        given.append([request.birth for request in cohort])
        if actor.number:
            return in_turn({})(actor, *cohort)
        ray.draining = ["node"]
        return Stream([Answer(ray.now + 20, ActorDiedError())])

    ray.on_start = lambda actor: ray.ready(actor, 5.0, "other" if actor.number else "node")
    ray.on_evaluation = evaluation
    with simulated(ray, said, Limits(attempts=1, machines=1), cohort=3) as pool:
        submitted(pool, 3)
        assert kinds(settled_after(pool, ray, 600)) == [(0, "ok"), (1, "ok"), (2, "ok")]
    assert given == [[0, 1, 2]] * 2


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (RayTaskError("evaluations", "Traceback: SystemExit: enough", None), "SystemExit: enough"),
        (None, "worker-0@node ended the evaluation without a result."),
    ],
)
def test_a_stream_that_breaks_off_fails_the_one_that_ran_and_the_worker_stays(
    end: Any, text: str
) -> None:
    ray = SimulatedRay()
    ray.on_evaluation = in_turn({}, {1: end})
    with simulated(ray, cohort=4) as pool:
        submitted(pool, 4)
        results = settled_after(pool, ray, 600)
    assert kinds(results) == [(0, "ok"), (1, "error"), (2, "ok"), (3, "ok")]
    assert text in message(results[1])
    assert len(ray.actors) == 1


def test_of_two_results_in_a_cohort_the_first_counts_and_later_progress_is_ignored() -> None:
    ray = SimulatedRay()

    def evaluation(actor: Any, first: Request, second: Request) -> Stream:
        worse = replace(good(first), fitness=-9.0, metric=9.0)
        late = Progress(first.birth, 7, 10, 1.0)
        items = [good(first), late, worse, good(second)]
        return Stream([Answer(ray.now + 10 * n, item) for n, item in enumerate(items)])

    ray.on_evaluation = evaluation
    with simulated(ray, cohort=2) as pool:
        submitted(pool, 2)
        results = settled_after(pool, ray, 600)
    assert [(result.birth, result.fitness) for result in results] == [(0, -2.5), (1, -2.5)]


def test_busy_workers_are_counted_and_not_their_requests() -> None:
    ray = SimulatedRay()
    ray.on_evaluation = in_turn({})
    with simulated(ray, workers=2, cohort=4) as pool:
        assert (pool.workers, pool.capacity, pool.free(), pool.busy()) == (2, 8, 8, 0)
        submitted(pool, 3)
        assert (pool.free(), pool.busy(), pool.begun()) == (5, 2, frozenset())
        pool.poll(0)
        assert (pool.free(), pool.busy(), pool.begun()) == (5, 2, {0, 1})
        assert sorted(progress.birth for progress in pool.running()) == [0, 1, 2]
        pool.poll(10.5)
        assert pool.begun() == {2} and pool.busy() == 1


def test_a_cluster_gets_a_worker_for_each_candidate_and_never_more_than_were_asked_for() -> None:
    for waiting, workers in ((1, 1), (3, 3), (4, 4), (20, 4)):
        ray, said = SimulatedRay(), list[str]()
        ray.on_evaluation = in_turn({})
        with simulated(ray, said, workers=4, cohort=8) as pool:
            submitted(pool, waiting)
            pool.poll(0)
            assert len(ray.actors) == workers
            assert len(settled_after(pool, ray, 600)) == waiting
            assert len(ray.actors) == workers


def test_an_idle_worker_of_a_cluster_is_ended_while_others_go_on() -> None:
    ray, said = SimulatedRay(), list[str]()
    ray.on_evaluation = in_turn({0: 500.0, 1: 500.0})
    with simulated(ray, said, Limits(idle_seconds=60), workers=3, cohort=8) as pool:
        submitted(pool, 3)
        settled_after(pool, ray, 300)
        assert [actor.killed for actor in ray.actors] == [False, False, True]
        assert pool.begun() == {0, 1}
