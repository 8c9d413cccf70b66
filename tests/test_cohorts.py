"""Several requests for one worker: which go together, and that none feels the others."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from misbehaving import asked
from pool_checks import (
    PATIENCE,
    Opener,
    assert_nothing_is_left,
    kind,
    message,
    next_result,
    pools,
    settled,
    small_ray,
)
from simulated_ray import Answer, SimulatedRay, Stream, settled_after, simulated

from genomes import published
from genomes.published import PUBLISHED
from tests.tiny import tiny_text
from workers.cohorts import cohorts, suspect
from workers.evaluator import nothing_yet
from workers.limits import Limits, Pool
from workers.losses import Loss
from workers.messages import Progress, Request, Result, Training
from workers.open_pool import open_pool
from workers.slot import Job, Slot
from workers.tasks import load_task
from workers.tasks.base import Task
from workers.training import evaluate

LIMITS = Limits(machines=4)
TRAINING = Training(hidden_size=8, steps=20, batch_size=4, learning_rate=1e-2)


def job(birth: int, cost: float = 0.0, company: int | None = None, machines: int = 0) -> Job:
    request = replace(asked("behaves", birth), cost=cost)
    made = Job(request, nothing_yet(request), company=company)
    for _ in range(machines):
        made.lost(Loss("worker_lost", "died", "worker-7", "gone", "node", 1.0), "machine")
    return made


def idle(count: int) -> list[Slot]:
    return [Slot(None, 0.0, None, f"worker-{n}", node=f"node{n}") for n in range(count)]


def births(found: list[tuple[Slot, list[Job]]]) -> list[list[int]]:
    return [[job.request.birth for job in cohort] for _, cohort in found]


def formed(todo: list[Job], workers: int, most: int) -> list[list[int]]:
    slots = idle(workers)
    return births(cohorts(slots, todo, slots, LIMITS, most))


def test_idle_workers_share_what_waits() -> None:
    assert formed([job(n) for n in range(5)], 2, 4) == [[0, 1, 2], [3, 4]]
    assert formed([job(n) for n in range(5)], 3, 4) == [[0, 1], [2, 3], [4]]
    assert formed([job(n) for n in range(2)], 3, 4) == [[0], [1]]
    assert formed([job(n) for n in range(9)], 2, 4) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_candidates_alike_in_cost_go_together_with_the_one_that_has_waited_longest() -> None:
    todo = [job(0, 100.0), job(1, 9.0), job(2, 90.0), job(3, 10.0), job(4, 500.0), job(5, 110.0)]
    assert formed(todo, 1, 3) == [[0, 2, 5]]
    assert formed(todo, 2, 2) == [[0, 5], [1, 3]]


def test_of_equal_cost_those_of_the_same_hidden_size_go_together() -> None:
    todo = [job(n, 5.0) for n in range(3)]
    for each, hidden_size in zip(todo, (64, 128, 70), strict=True):
        training = replace(each.request.training, hidden_size=hidden_size)
        each.request = replace(each.request, training=training)
    assert formed(todo, 1, 2) == [[0, 2]]


def test_those_of_a_lost_cohort_come_into_smaller_company_and_among_themselves() -> None:
    todo = [job(0, company=2), job(1), job(2, company=2), job(3, company=2), job(4, company=1)]
    assert formed(todo, 4, 4) == [[0, 2], [1], [3], [4]]


def test_one_that_lost_too_many_machines_goes_alone() -> None:
    assert formed([job(0, machines=2), job(1), job(2)], 1, 4) == [[0]]
    assert formed([job(0), job(1, machines=2), job(2)], 1, 4) == [[0, 2]]


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e12),
            st.none() | st.integers(1, 4),
            st.integers(0, 3),
        ),
        max_size=12,
    ),
    st.integers(1, 5),
    st.integers(1, 6),
)
def test_a_job_is_in_one_cohort_at_most_and_the_oldest_that_may_always_begins(
    drawn: list[tuple[float, int | None, int]], workers: int, most: int
) -> None:
    todo = [job(birth, *each) for birth, each in enumerate(drawn)]
    slots = idle(workers)
    found = cohorts(slots, todo, slots, LIMITS, most)
    given = Counter(id(each) for _, cohort in found for each in cohort)
    assert set(given.values()) <= {1}
    assert len({id(slot) for slot, _ in found}) == len(found)
    for _, cohort in found:
        assert 1 <= len(cohort) <= most
        assert all(each.company is None or len(cohort) <= each.company for each in cohort)
        assert len(cohort) == 1 or not any(suspect(each, LIMITS) for each in cohort)
    if todo:
        assert found[0][1][0] is todo[0]
    # Nobody is idle while somebody waits, for each machine has one worker here.
    assert len(found) == workers or sum(given.values()) == len(todo)


# The supervisor, on a Ray where time is counted and not spent.


def in_turn(seconds: dict[int, float], reports: float = 50.0) -> Any:
    """Evaluations of a cohort that take so long each, with a report every now and then."""

    def evaluation(actor: Any, first: Request, *others: Request) -> Stream:
        items: list[Answer] = []
        at = actor.ray.now
        for request in (first, *others):
            for n in range(1, math.ceil(seconds[request.birth] / reports)):
                items.append(Answer(at + n * reports, Progress(request.birth, n, 10, 1.0)))
            at += seconds[request.birth]
            items.append(Answer(at, done(request)))
        return Stream(items)

    return evaluation


def done(request: Request) -> Result:
    return Result(request.birth, request.seed, 2.5, -2.5, None, (), 7, 1.0, "somebody", "")


def test_the_time_limit_is_that_of_each_evaluation_and_not_of_the_cohort() -> None:
    ray = SimulatedRay()
    ray.on_evaluation = in_turn({0: 500.0, 1: 500.0, 2: 700.0, 3: 500.0, 4: 500.0})
    limits = Limits(evaluation_seconds=600, stall_seconds=300)
    with simulated(ray, limits=limits, cohort=5) as pool:
        for birth in range(5):
            pool.submit(asked("behaves", birth))
        results = settled_after(pool, ray, 6000)
    assert [(result.birth, kind(result)) for result in results] == [
        *((0, "ok"), (1, "ok"), (2, "timed_out"), (3, "ok"), (4, "ok"))
    ]
    assert message(results[2]) == "the evaluation took longer than 600 s."
    assert results[2].seconds == pytest.approx(600, abs=1)
    assert results[2].curve[-1] == (12, 1.0), "what was reported is kept"
    assert [actor.killed for actor in ray.actors] == [True, False]


def test_a_worker_that_stalls_over_a_cohort_is_no_attempt_of_those_in_it() -> None:
    ray = SimulatedRay()
    fine = in_turn(dict.fromkeys(range(4), 10.0))

    def evaluation(actor: Any, first: Request, *others: Request) -> Stream:
        if 2 not in (request.birth for request in (first, *others)):
            return fine(actor, first, *others)  # type: ignore[no-any-return]
        return Stream([Answer(math.inf, None)])

    ray.on_evaluation = evaluation
    limits = Limits(stall_seconds=300, attempts=2)
    with simulated(ray, limits=limits, cohort=4) as pool:
        for birth in range(4):
            pool.submit(asked("behaves", birth))
        results = settled_after(pool, ray, 6000)
    assert sorted((result.birth, kind(result)) for result in results) == [
        *((0, "ok"), (1, "ok"), (2, "timed_out"), (3, "ok"))
    ]
    (lost,) = [result for result in results if result.failure]
    assert message(lost).startswith("2 workers stalled over it; the last, worker-")
    # Of four, of two, and twice alone: each of these cost a worker.
    assert len(ray.actors) == 5


def test_busy_workers_are_counted_and_not_their_requests() -> None:
    ray = SimulatedRay()
    ray.on_evaluation = in_turn(dict.fromkeys(range(3), 10.0))
    with simulated(ray, workers=2, cohort=4) as pool:
        assert (pool.workers, pool.capacity, pool.free(), pool.busy()) == (2, 8, 8, 0)
        for birth in range(3):
            pool.submit(asked("behaves", birth))
        assert (pool.free(), pool.busy()) == (5, 1)
        pool.poll(0)
        pool.poll(0)
        assert (pool.free(), pool.busy()) == (5, 2)
        assert sorted(progress.birth for progress in pool.running()) == [0, 1, 2]


# Real workers.


@pytest.fixture(scope="module")
def one_ray() -> Iterator[None]:
    with small_ray():
        yield


@pytest.fixture
def opened(one_ray: None) -> Iterator[Opener]:
    with pools() as opener:
        yield opener


UNHARMED = [
    *("behaves", "raises", "behaves", "allocates_too_much", "gives_fitness:nan", "behaves"),
    *("gives_nothing", "gives_another_birth", "raises_the_unpicklable", "gives_two_results"),
    "behaves",
]
KINDS = [
    *("ok", "error", "ok", "out_of_memory", "diverged", "ok"),
    *("error", "error", "error", "ok", "ok"),
]


def test_what_one_of_a_cohort_raises_is_its_own_and_all_are_of_one_process(opened: Opener) -> None:
    pool = opened(workers=1, cohort=len(UNHARMED))
    assert pool.capacity == len(UNHARMED)
    results = settled(pool, [asked(genome, birth) for birth, genome in enumerate(UNHARMED)])
    assert [kind(result) for result in results] == KINDS
    pids = {result.engine for result in results if result.engine}
    assert len(pids) == 1 and str(os.getpid()) not in pids
    assert {result.worker.split("@")[0] for result in results} == {"worker-0"}


def test_each_result_is_given_as_soon_as_it_is_there(opened: Opener) -> None:
    pool = opened(workers=1, cohort=3)
    for birth, genome in enumerate(["behaves", "takes:1", "behaves"]):
        pool.submit(asked(genome, birth))
    first = next_result(pool)
    assert (first.birth, pool.free(), pool.busy()) == (0, 1, 1)
    pool.submit(asked("behaves", 3))
    later = settled_too(pool, 3)
    assert [result.birth for result in later] == [1, 2, 3]
    assert_nothing_is_left(pool)


def settled_too(pool: Pool, count: int) -> list[Result]:
    """So many results of what was submitted already, in the order in which they came."""
    results: list[Result] = []
    end = time.monotonic() + PATIENCE
    while len(results) < count:
        results += pool.poll(1)
        assert time.monotonic() < end, f"stuck with {pool.running()}"
    return results


def test_one_that_kills_its_worker_fails_alone(opened: Opener, tmp_path: Path) -> None:
    pool = opened(Limits(attempts=2), workers=1, cohort=8)
    requests = [asked("behaves", birth) for birth in range(7)]
    requests.insert(5, asked(f"kills_its_process:{tmp_path}", 7))
    results = settled(pool, requests)
    assert [kind(result) for result in results] == ["ok"] * 7 + ["worker_lost"]
    assert message(results[7]).startswith("2 workers died over it; the last, worker-")
    # In company of at most 8, 4 and 2, and twice alone; with less where results had come before.
    assert 3 <= len(list(tmp_path.iterdir())) <= 5


@pytest.mark.parametrize("way", ["segfault", "exit_politely", "break_the_device"])
def test_one_that_loses_its_worker_twice_is_tried_again_with_the_others(
    opened: Opener, tmp_path: Path, way: str
) -> None:
    pool = opened(Limits(attempts=2), workers=2, cohort=3)
    requests = [asked("behaves", birth) for birth in range(5)]
    requests.insert(1, asked(f"loses_workers:{way}|2|{tmp_path}", 5))
    results = settled(pool, requests)
    assert [kind(result) for result in results] == ["ok"] * 6
    assert len(list(tmp_path.iterdir())) == 3


# In this process.


def test_in_process_a_cohort_settles_one_by_one_and_none_feels_the_others() -> None:
    task: Any = None
    pool = open_pool(0, task, Limits(), evaluator="misbehaving:evaluator", cohort=len(UNHARMED))
    assert (pool.workers, pool.capacity) == (1, len(UNHARMED))
    for birth, genome in enumerate(UNHARMED):
        pool.submit(asked(genome, birth))
    results: list[Result] = []
    for number, expected in enumerate(KINDS):
        (result,) = pool.poll(0)
        assert (result.birth, kind(result)) == (number, expected)
        assert pool.free() == number + 1 and pool.busy() == int(number + 1 < len(KINDS))
        results.append(result)
    assert_nothing_is_left(pool)


def test_in_process_what_is_asked_for_meanwhile_is_the_next_cohort() -> None:
    task: Any = None
    pool = open_pool(0, task, Limits(), evaluator="misbehaving:evaluator", cohort=2)
    for birth in (0, 1):
        pool.submit(asked("behaves", birth))
    assert [result.birth for result in pool.poll(0)] == [0]
    pool.submit(asked("behaves", 2))
    with pytest.raises(RuntimeError, match="no slot is free: birth 1, 2 has not settled"):
        pool.submit(asked("behaves", 3))
    assert [pool.poll(0)[0].birth for _ in range(2)] == [1, 2]


def test_in_process_one_that_takes_too_long_leaves_the_others_their_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimulatedRay()
    monkeypatch.setattr("workers.local.time", clock)

    def evaluator(request: Request, task: Any, worker: str) -> Iterator[Progress | Result]:
        for step in range(4):
            clock.now += 400.0 if request.birth == 1 else 200.0
            yield Progress(request.birth, step, 4, 1.0)
        yield done(request)

    monkeypatch.setattr("misbehaving.slow", evaluator, raising=False)
    task: Any = None
    limits = Limits(evaluation_seconds=1000)
    pool = open_pool(0, task, limits, evaluator="misbehaving:slow", cohort=3)
    for birth in range(3):
        pool.submit(asked("any", birth))
    assert [kind(pool.poll(0)[0]) for _ in range(3)] == ["ok", "timed_out", "ok"]


def test_in_process_ctrl_c_leaves_a_whole_cohort_to_the_next_poll(tmp_path: Path) -> None:
    task: Any = None
    pool = open_pool(0, task, Limits(), evaluator="misbehaving:evaluator", cohort=3)
    for birth, genome in enumerate(["behaves", f"is_interrupted_once:{tmp_path / 'm'}", "behaves"]):
        pool.submit(asked(genome, birth))
    assert pool.poll(0)[0].birth == 0
    with pytest.raises(KeyboardInterrupt):
        pool.poll(0)
    assert pool.free() == 1
    assert [(progress.birth, progress.step) for progress in pool.running()] == [(1, 0), (2, 0)]
    assert [kind(pool.poll(0)[0]) for _ in range(2)] == ["ok", "ok"]
    assert_nothing_is_left(pool)


# Fitness is a function of the request, not of its company.


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return load_task("text", str(tiny_text(tmp_path_factory.mktemp("data"))), {"length": 16})


def company() -> list[Request]:
    """Every published cell, with trainings between them that diverge and that do not fit."""
    requests = []
    for number, name in enumerate(row.name for row in PUBLISHED):
        training = replace(TRAINING, dropout=0.2 * (number % 2), num_layers=1 + number % 2)
        if number % 4 == 1:
            training = replace(training, learning_rate=1e38)
        elif number % 4 == 3:
            training = replace(training, hidden_size=3_000_000)
        for each in (training, TRAINING):
            birth = len(requests)
            requests.append(Request(birth, published(name).to_json(), 7 + birth, each))
    return requests


def bare(result: Result) -> Result:
    """Without clock, place and how much memory happened to be free."""
    failure = result.failure
    if failure is not None and failure.kind == "out_of_memory":
        failure = replace(failure, message=failure.message.split(" needs ")[0])
    return replace(result, seconds=0.0, worker="", failure=failure)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_request_gives_the_same_bits_alone_and_in_any_cohort(task: Task, workers: int) -> None:
    requests = company()
    expected = {request.birth: bare(evaluate(request, task)) for request in requests}
    kinds = Counter(kind(result) for result in expected.values())
    assert kinds["diverged"] > 2 and kinds["out_of_memory"] > 2 and kinds["ok"] > 10
    for cohort, order in ((len(requests), requests), (7, requests[::-1])):
        pool = open_pool(workers, task, Limits(), cohort=cohort)
        try:
            found = settled(pool, order)
        finally:
            pool.close()
        assert {result.birth: bare(result) for result in found} == expected
