"""Cohorts with real workers, in this process and in a search: none feels the others."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from misbehaving import asked, good
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
from simulated_ray import SimulatedRay

from evo_nas.config_tables import BudgetConfig, SearchConfig
from evo_nas.events import Asked
from evo_nas.interrupt import Interrupt
from evo_nas.past import COLUMNS
from evo_nas.record import create_run, open_run, read_events
from evo_nas.searching import search_in
from genomes import published
from genomes.published import PUBLISHED
from tests.free_pool import FreePool, scored
from tests.test_record import header
from tests.tiny import tiny_text
from workers.limits import Limits, Pool
from workers.messages import Progress, Request, Result, Training
from workers.open_pool import open_pool
from workers.tasks import load_task
from workers.tasks.base import Task
from workers.training import evaluate

TRAINING = Training(hidden_size=8, steps=20, batch_size=4, learning_rate=1e-2)


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
    # Alone twice, and before that in company: of one more if the result before it was lost too.
    assert 3 <= len(list(tmp_path.iterdir())) <= 4


@pytest.mark.parametrize("way", ["segfault", "exit_politely", "break_the_device"])
def test_one_that_loses_its_worker_twice_is_tried_again_with_the_others(
    opened: Opener, tmp_path: Path, way: str
) -> None:
    pool = opened(Limits(attempts=3), workers=2, cohort=3)
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
        yield good(request)

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


# A search.


@pytest.fixture
def config() -> SearchConfig:
    return SearchConfig(budget=BudgetConfig(evaluations=40))


def searched(folder: Path, config: SearchConfig, pool: Pool, interrupt: Interrupt) -> list[Any]:
    with create_run(folder / "run", header()):
        pass
    with open_run(folder / "run", COLUMNS) as record:
        search_in(config, record, pool, interrupt)
    return read_events(folder / "run")[0]


def test_a_search_says_what_its_candidates_cost(tmp_path: Path, config: SearchConfig) -> None:
    costs: dict[int, float] = {}

    def score(request: Request) -> Result:
        costs[request.birth] = request.cost
        return scored(request)

    events = searched(tmp_path, config, FreePool(8, score=score), Interrupt())
    asked_for = [event for event in events if isinstance(event, Asked)]
    assert costs == {each.birth: each.recurrent_parameters * each.budget for each in asked_for}
    assert len(set(costs.values())) > 5


def test_a_budget_of_time_is_kept_for_all_that_lies_behind_each_other(
    tmp_path: Path, config: SearchConfig
) -> None:
    """Eighty evaluations of 0.1 s each are 8 s for one worker, of a budget of 6 s."""
    config = replace(config, budget=BudgetConfig(hours=6 / 3600))
    events = searched(tmp_path, config, FreePool(80), Interrupt())
    assert sum(isinstance(event, Asked) for event in events) == 80


class InTurn(FreePool):
    """Settles one request at each poll; is interrupted at the third."""

    interrupt = Interrupt()

    def begun(self) -> frozenset[int]:
        return frozenset(request.birth for request in self.requests[:1])

    def poll(self, timeout: float) -> list[Result]:
        first, self.requests = self.requests[:1], self.requests[1:]
        if first[0].birth == 2:
            self.interrupt.since = time.monotonic()
        return [scored(request) for request in first]


def test_after_ctrl_c_what_runs_may_finish_and_nothing_else_of_a_cohort_begins(
    tmp_path: Path, config: SearchConfig
) -> None:
    pool = InTurn(8)
    events = searched(tmp_path, config, pool, pool.interrupt)
    told = [event.birth for event in events if not isinstance(event, Asked)]
    assert told == [0, 1, 2, 3]
