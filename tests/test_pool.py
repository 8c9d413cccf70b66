"""The pool of Ray workers, against real processes that misbehave."""

from __future__ import annotations

import math
import os
import pickle
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from misbehaving import asked
from pool_checks import (
    CORES,
    PATIENCE,
    Clock,
    Opener,
    is_alive,
    kind,
    message,
    next_result,
    noted_pid,
    pools,
    settled,
    small_ray,
    until,
    wait_until_all_are_ready,
)

from genomes import published
from workers.evaluator import EVALUATOR
from workers.exposure import token_of
from workers.limits import Limits, PoolError
from workers.messages import Progress, Request, Training
from workers.slot import Job, Slot
from workers.tasks import load_task
from workers.watch import is_dead


@pytest.fixture(scope="module", autouse=True)
def one_ray() -> Iterator[None]:
    with small_ray():
        yield


@pytest.fixture
def opened() -> Iterator[Opener]:
    with pools() as opener:
        yield opener


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("workers.pool.time", clock)
    return clock


def test_the_ray_of_a_test_has_a_token_of_its_own_and_needs_no_file_in_the_users_home() -> None:
    assert token_of(os.environ).text == "RAY_AUTH_TOKEN is set"


def test_every_request_settles_exactly_once(opened: Opener) -> None:
    pool = opened(workers=None)
    assert pool.capacity == pool.free() == CORES
    results = settled(pool, [asked("behaves", birth) for birth in range(9)])
    assert [result.birth for result in results] == list(range(9))
    assert [result.seed for result in results] == list(range(100, 109))
    assert {kind(result) for result in results} == {"ok"}
    hosts = {result.worker for result in results}
    assert hosts <= {f"worker-{number}@{os.uname().nodename}" for number in range(CORES)}
    assert str(os.getpid()) not in {result.engine for result in results}


def test_two_requests_of_one_birth_are_two_requests(opened: Opener) -> None:
    assert len(settled(opened(), [asked("behaves", 5), asked("behaves", 5)])) == 2


def test_results_that_wait_are_returned_together(opened: Opener) -> None:
    pool = opened()
    wait_until_all_are_ready(pool)
    for birth in range(CORES):
        pool.submit(asked("gives_fitness:1", birth))
    pool._give_out()
    streams = [slot.stream for slot in pool._slots]
    assert len(ray.wait(streams, num_returns=CORES, timeout=PATIENCE)[0]) == CORES
    assert len(pool.poll(0)) == CORES


def test_a_poll_wakes_as_soon_as_a_result_is_there(opened: Opener) -> None:
    pool = opened(workers=1)
    settled(pool, [asked("behaves")])
    began = time.monotonic()
    pool.submit(asked("takes:0.5"))
    assert len(pool.poll(PATIENCE)) == 1
    assert 0.4 < time.monotonic() - began < PATIENCE / 2


def test_a_poll_waits_no_longer_than_told_and_not_at_all_for_nothing(
    opened: Opener,
) -> None:
    pool = opened(workers=1)
    began = time.monotonic()
    assert pool.poll(PATIENCE) == []
    assert time.monotonic() - began < PATIENCE / 2
    pool.submit(asked("takes:600"))
    began = time.monotonic()
    assert pool.poll(0.3) == []
    assert 0.25 < time.monotonic() - began < PATIENCE / 2


def test_a_full_or_closed_pool_takes_nothing(opened: Opener) -> None:
    pool = opened(workers=1)
    pool.submit(asked("takes:600"))
    with pytest.raises(RuntimeError, match=r"no slot is free: 1 requests have not settled"):
        pool.submit(asked("behaves"))
    pool.close()
    with pytest.raises(RuntimeError, match="the pool is closed"):
        pool.submit(asked("behaves"))
    assert pool.poll(0.1) == []


def test_progress_shows_while_an_evaluation_runs(opened: Opener) -> None:
    pool = opened(workers=1)
    pool.submit(asked("takes:600", birth=6))
    (first,) = pool.running()
    assert (first.birth, first.step, first.steps) == (6, 0, 10) and math.isnan(first.loss)
    end = time.monotonic() + PATIENCE
    while pool.running()[0].step < 10:
        assert pool.poll(0.2) == []
        assert time.monotonic() < end
    assert pool.running()[0].loss == 1.0


def test_a_killed_worker_costs_one_retry_and_no_result(opened: Opener, tmp_path: Path) -> None:
    pool = opened()
    requests = [asked("takes:1", 0), asked(f"kills_its_process:{tmp_path}|1", 1)]
    requests += [asked("behaves", birth) for birth in range(2, 6)]
    results = settled(pool, requests)
    assert {kind(result) for result in results} == {"ok"}
    first, second = ((tmp_path / name).read_text() for name in ("0", "1"))
    assert first != second and results[1].engine == second
    until(lambda: not is_alive(int(first)))


def test_a_worker_killed_from_outside_is_replaced_and_its_request_tried_again(
    opened: Opener, tmp_path: Path
) -> None:
    pool = opened(workers=1)
    pool.submit(asked(f"waits_on_the_first_worker:{tmp_path}", 1))
    killed = noted_pid(pool, tmp_path / "0")
    os.kill(killed, 9)
    result = next_result(pool)
    assert kind(result) == "ok"
    assert result.engine == (tmp_path / "1").read_text() != str(killed)
    assert result.worker.startswith("worker-1@")


def test_an_idle_worker_that_dies_costs_no_result(opened: Opener) -> None:
    pool = opened(Limits(attempts=1), workers=1)
    (before,) = settled(pool, [asked("behaves")])
    actor = pool._slots[0].actor  # type: ignore[attr-defined]
    os.kill(int(before.engine), 9)
    until(lambda: is_dead(actor))
    (after,) = settled(pool, [asked("behaves", 1)])
    assert kind(after) == "ok" and after.engine != before.engine


def test_a_request_that_kills_every_worker_is_given_up(opened: Opener, tmp_path: Path) -> None:
    pool = opened()
    deadly, fine = settled(pool, [asked(f"kills_its_process:{tmp_path}"), asked("behaves", 1)])
    assert kind(deadly) == "worker_lost" and kind(fine) == "ok"
    assert len(list(tmp_path.iterdir())) == 3
    assert message(deadly).startswith("3 workers died over it; the last, worker-")
    assert "ActorDiedError" in message(deadly) and "Worker unexpectedly exits" in message(deadly)
    assert "\x1b" not in message(deadly) and "actor_id" not in message(deadly)


def test_an_evaluation_that_exceeds_its_time_is_ended_and_not_tried_again(
    opened: Opener, clock: Clock
) -> None:
    pool = opened(Limits(evaluation_seconds=600, stall_seconds=None), workers=1)
    pool.submit(asked("takes:3600"))
    end = time.monotonic() + PATIENCE
    while pool.running()[0].step < 2:
        assert pool.poll(0.1) == []
        assert time.monotonic() < end
    clock.ahead += 601
    (slow,) = pool.poll(0)
    assert kind(slow) == "timed_out" and slow.seconds > 600
    assert message(slow) == "the evaluation took longer than 600 s."
    assert slow.worker.startswith("worker-0@"), "nobody tries again what had all its time"
    assert len(slow.curve) >= 2
    (fine,) = settled(pool, [asked("behaves", 1)])
    assert kind(fine) == "ok" and fine.worker.startswith("worker-1@")


def test_signs_of_life_do_not_lift_the_limit_of_an_evaluation() -> None:
    limits = Limits(evaluation_seconds=10, stall_seconds=4)
    slot = Slot(None, 0.0, None, "worker-0")
    slot.begin([Job(asked("takes:60"), Progress(0, 4, 10, 1.0))], "a stream", now=100.0)
    ends = []
    for slot.sign in (100.0, 103.0, 109.0):
        end = slot.deadline(limits)
        assert end is not None
        ends.append((end.at, end.is_lost))
    assert ends == [(104.0, True), (107.0, True), (110.0, False)]


def test_a_manager_that_was_busy_itself_still_takes_results_that_came_in_time(
    opened: Opener, clock: Clock
) -> None:
    pool = opened(Limits(evaluation_seconds=600, stall_seconds=300), workers=1)
    settled(pool, [asked("behaves")])
    pool.submit(asked("gives_fitness:1", 1))
    pool._give_out()
    assert ray.wait([pool._slots[0].stream], timeout=PATIENCE)[0]
    clock.ahead += 601
    (result,) = pool.poll(0)
    assert kind(result) == "ok"


def test_a_flood_of_progress_does_not_hold_up_the_result(opened: Opener) -> None:
    (result,) = settled(opened(workers=1), [asked("floods")])
    assert kind(result) == "ok"


def test_failures_that_leave_the_process_alive_keep_the_worker(
    opened: Opener,
) -> None:
    pool = opened(workers=1)
    behaviours = {
        "raises": "error",
        "raises_the_unpicklable": "error",
        "raises_without_end": "error",
        "allocates_too_much": "out_of_memory",
        "gives_fitness:nan": "diverged",
        "gives_metric:inf": "diverged",
        "gives_fitness:inf": "diverged",
        "gives_no_fitness": "error",
        "gives_a_pair_as_fitness": "error",
        "gives_a_vector_as_fitness": "error",
        "gives_a_dictionary": "error",
        "gives_nothing": "error",
        "gives_an_unpicklable_curve": "error",
        "gives_two_results": "ok",
        "behaves": "ok",
    }
    results = settled(pool, [asked(genome, birth) for birth, genome in enumerate(behaviours)])
    assert [kind(result) for result in results] == list(behaviours.values())
    assert {result.worker for result in results} == {f"worker-0@{os.uname().nodename}"}
    for result in results:
        assert (result.fitness is None) == (result.failure is not None)
    assert "ValueError: the candidate has no business here" in message(results[0])
    assert 'raise ValueError("the candidate' in message(results[0])
    assert len(message(results[2])) <= 2000
    said = " ".join(message(result) for result in results if kind(result) == "error")
    for given in ("None", "an object of type tuple", "an object of type ndarray"):
        assert f"the evaluator gave {given} as fitness, not a number." in said


def test_a_worker_has_one_thread_and_sees_no_gpu_it_was_not_given(
    opened: Opener,
) -> None:
    (result,) = settled(opened(workers=1), [asked("says_where_it_is")])
    assert result.engine == "CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 threads=1"


def test_a_task_from_a_module_only_the_manager_was_told_of_reaches_the_workers(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own folder").mkdir()
    source = "class Task:\n    name = 'birdsong'\n"
    (tmp_path / "own folder" / "users_own_task.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path / "own folder")
    from users_own_task import Task  # type: ignore[import-not-found]

    (result,) = settled(opened(workers=1, task=Task()), [asked("uses_its_task")])
    assert result.engine == "birdsong"


class WithoutEnd:
    def __reduce__(self) -> Any:
        return WithoutEnd, (WithoutEnd(),)


class Unpicklable:
    def __reduce__(self) -> Any:
        raise pickle.PicklingError("it holds a file")


@pytest.mark.parametrize(
    ("task", "name"),
    [(threading.Lock(), "lock"), (WithoutEnd(), "WithoutEnd"), (Unpicklable(), "Unpicklable")],
)
def test_a_task_that_cannot_travel_is_refused_at_once(opened: Opener, task: Any, name: str) -> None:
    with pytest.raises(PoolError, match=f"task of type .*{name}.* cannot be sent to") as info:
        opened(task=task)
    assert "or use --workers 0" in str(info.value)


def test_more_workers_than_ray_has_room_for_are_refused(opened: Opener) -> None:
    with pytest.raises(PoolError, match=r"3 workers cannot run at once.*2 CPUs.*room for 2"):
        opened(workers=3)


@pytest.mark.parametrize(
    ("evaluator", "cause"),
    [
        ("no_such_module:evaluator", "No module named 'no_such_module'"),
        ("misbehaving:deadly", "ActorDiedError"),
    ],
)
def test_workers_that_never_start_are_an_error_that_names_the_cause(
    opened: Opener, evaluator: str, cause: str
) -> None:
    pool = opened(workers=1, evaluator=evaluator)
    pool.submit(asked("behaves"))
    end = time.monotonic() + PATIENCE
    with pytest.raises(PoolError, match="3 workers in a row did not start") as info:
        while time.monotonic() < end:
            assert pool.poll(1) == []
    assert cause in str(info.value)


def test_workers_that_take_too_long_to_start_are_an_error(opened: Opener) -> None:
    wait_until_all_are_ready(opened(workers=CORES))  # no room is left
    pool = opened(Limits(start_seconds=0.3), workers=1)
    pool.submit(asked("behaves"))
    end = time.monotonic() + PATIENCE
    with pytest.raises(PoolError, match=r"was not ready within 0\.3 s\. Is the cluster busy"):
        while time.monotonic() < end:
            assert pool.poll(1) == []


def test_a_worker_gives_the_same_bits_as_an_evaluation_in_process(
    opened: Opener, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 60)
    task = load_task("text", str(tmp_path / "text.txt"), {})
    training = Training(hidden_size=16, batch_size=4, steps=5)
    request = Request(0, published("gru").to_json(), seed=11, training=training)
    results = []
    for workers in (0, 1):
        pool = opened(workers=workers, task=task, evaluator=EVALUATOR)
        results += settled(pool, [request])
    here, there = (replace(result, seconds=0.0, worker="") for result in results)
    assert here == there
    assert kind(here) == "ok"
    assert len(here.curve) == 5


def test_closing_ends_the_workers_and_leaves_a_ray_it_did_not_start(
    opened: Opener,
) -> None:
    pool = opened()
    results = settled(pool, [asked("takes:0.5", birth) for birth in range(CORES)])
    pool.submit(asked("hangs_holding_the_gil"))
    pool.poll(0.5)
    pool.close()
    pool.close()
    assert ray.is_initialized()
    until(lambda: not any(is_alive(int(result.engine)) for result in results))
