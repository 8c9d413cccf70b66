"""Workers that are lost: others try again, a candidate is not blamed, and each settles once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from misbehaving import HangsOnArrival, asked, good, noted
from pool_checks import (
    Clock,
    Opener,
    assert_nothing_is_left,
    is_alive,
    kind,
    message,
    next_result,
    noted_pid,
    pools,
    settled,
    small_ray,
    until,
)

from workers.actor import Worker
from workers.limits import Limits, Pool, PoolError
from workers.losses import Loss
from workers.messages import Progress, Request
from workers.slot import Job

STALL = 2.0
"""Seconds without a sign of life that a worker is granted here."""

DEATHS = ["kill", "segfault", "exit", "exit_politely"]
STALLS = ["hang", "hold_the_gil", "stop"]
"""Ways of losing a worker: see ``misbehaving.WAYS``."""


@pytest.fixture(scope="module", autouse=True)
def one_ray() -> Iterator[None]:
    with small_ray():
        yield


@pytest.fixture
def opened() -> Iterator[Opener]:
    with pools() as opener:
        yield opener


@pytest.fixture
def directories(tmp_path: Path) -> Callable[[str], Path]:
    def made(name: str) -> Path:
        (tmp_path / name).mkdir()
        return tmp_path / name

    return made


def pid_of(pool: Pool) -> int:
    """The process of a pool's only worker."""
    return int(settled(pool, [asked("behaves")])[0].engine)


@pytest.mark.slow
def test_a_worker_lost_in_any_way_costs_one_retry_and_no_result(
    opened: Opener, directories: Callable[[str], Path]
) -> None:
    pool = opened(Limits(stall_seconds=STALL))
    folders = {way: directories(way) for way in DEATHS + STALLS}
    genomes = [f"loses_workers:{way}|1|{folder}" for way, folder in folders.items()]
    genomes.insert(3, "behaves")
    results = settled(pool, [asked(genome, birth) for birth, genome in enumerate(genomes)])
    assert [kind(result) for result in results] == ["ok"] * len(genomes)
    del results[3]
    for result, folder in zip(results, folders.values(), strict=True):
        first, second = ((folder / name).read_text() for name in ("0", "1"))
        assert len(list(folder.iterdir())) == 2
        assert first != second == result.engine


@pytest.mark.slow
def test_a_request_that_loses_every_worker_is_settled_with_what_became_of_them(
    opened: Opener, directories: Callable[[str], Path]
) -> None:
    pool = opened(Limits(stall_seconds=STALL))
    folders = [directories(way) for way in DEATHS + STALLS]
    genomes = [f"loses_workers:{folder.name}|9|{folder}" for folder in folders] + ["behaves"]
    results = settled(pool, [asked(genome, birth) for birth, genome in enumerate(genomes)])
    assert kind(results.pop()) == "ok"
    for folder, lost in zip(folders, results, strict=True):
        died = folder.name in DEATHS
        assert kind(lost) == ("worker_lost" if died else "timed_out")
        what = "died" if died else "stalled"
        assert message(lost).startswith(f"3 workers {what} over it; the last, {lost.worker}: ")
        assert len(list(folder.iterdir())) == 3


def test_workers_lost_in_different_ways_are_lost_workers_and_all_are_counted() -> None:
    job = Job(asked("behaves"), Progress(0, 0, 10, 0.0))
    stalled = Loss("timed_out", "stalled", "worker-7", "Ray said so.")
    for loss, expected, counted in [
        (stalled, "timed_out", "1 worker stalled"),
        (replace(stalled, kind="worker_lost", fate="died"), "worker_lost", "and 1 worker died"),
        (replace(stalled, kind="out_of_memory", fate="died"), "worker_lost", "and 2 workers died"),
        (replace(stalled, kind="worker_lost", fate="broke down"), "worker_lost", "broke down"),
    ]:
        job.losses.add(loss, "own")
        failure, said = job.losses.said()
        assert failure == expected
        assert said.startswith("1 worker stalled")
        assert said.endswith(f"{counted} over it; the last, worker-7: Ray said so.")


@pytest.mark.slow
def test_a_stalled_request_is_tried_by_as_many_workers_as_one_that_kills_them(
    opened: Opener, tmp_path: Path
) -> None:
    pool = opened(Limits(stall_seconds=1.0), workers=1)
    lost, fine = settled(pool, [asked(f"loses_workers:hang|9|{tmp_path}"), asked("behaves", 1)])
    assert kind(lost) == "timed_out" and kind(fine) == "ok"
    assert lost.worker.startswith("worker-2@") and fine.worker.startswith("worker-3@")
    assert message(lost) == (
        f"3 workers stalled over it; the last, {lost.worker}: "
        "it gave no sign of life for 1 s, the last at step 4 of 10."
    )
    assert (lost.metric, lost.fitness, lost.curve) == (None, None, ((4, 1.0),))
    assert 1.0 <= lost.seconds < 10
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.slow
def test_a_worker_stopped_from_outside_costs_one_retry_and_its_return_no_second_result(
    opened: Opener,
) -> None:
    pool = opened(Limits(stall_seconds=STALL), workers=1)
    stopped = pid_of(pool)
    pool.submit(asked("takes:1", 1))
    assert pool.poll(0.1) == []
    os.kill(stopped, signal.SIGSTOP)
    result = next_result(pool)
    assert kind(result) == "ok" and result.engine != str(stopped)
    if is_alive(stopped):  # Ray has its own patience with what does not die
        os.kill(stopped, signal.SIGCONT)
    until(lambda: not is_alive(stopped))
    assert_nothing_is_left(pool, 0.3)
    (after,) = settled(pool, [asked("behaves", 2)])
    assert after.worker == result.worker


def test_a_worker_stopped_for_a_moment_costs_nothing(opened: Opener, tmp_path: Path) -> None:
    pool = opened(workers=1)
    pool.submit(asked(f"waits_on_the_first_worker:{tmp_path}", 1))
    stopped = noted_pid(pool, tmp_path / "0")
    os.kill(stopped, signal.SIGSTOP)
    (tmp_path / "go").touch()
    assert pool.poll(0.5) == []
    os.kill(stopped, signal.SIGCONT)
    result = next_result(pool)
    assert kind(result) == "ok" and result.engine == str(stopped)


@pytest.mark.slow
def test_what_a_worker_gives_after_it_was_replaced_is_ignored(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    survivors: list[Any] = []
    kill = ray.kill
    monkeypatch.setattr("workers.pool.ray.kill", survivors.append)
    pool = opened(Limits(stall_seconds=1.0), workers=1)
    pool.submit(asked(f"waits_on_the_first_worker:{tmp_path}", 3))
    result = next_result(pool)
    second = (tmp_path / "1").read_text()
    assert (result.birth, result.engine) == (3, second)
    # Another request of that birth must not get the late result either.
    pool.submit(asked("takes:1.5", 3))
    (tmp_path / "go").touch()
    until((tmp_path / "gives").exists)
    assert next_result(pool).engine == second
    assert_nothing_is_left(pool)
    monkeypatch.undo()
    for actor in survivors:
        kill(actor)


def test_what_a_worker_gives_after_its_result_is_ignored(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Talkative(Worker):
        def evaluations(self, request: Request) -> Iterator[Any]:
            yield from super().evaluations(request)
            yield good(request, "again")
            yield Progress(request.birth, 9, 10, 1.0)

    monkeypatch.setattr("workers.pool.Worker", Talkative)
    pool = opened(workers=1)
    results = settled(pool, [asked("behaves", birth) for birth in range(6)])
    assert [result.birth for result in results] == list(range(6))
    assert "again" not in {result.engine for result in results}
    assert_nothing_is_left(pool, 0.3)


def test_a_stream_that_ends_without_a_result_is_an_error_and_keeps_the_worker(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgetful(Worker):
        def evaluations(self, request: Request) -> Iterator[Any]:
            for item in super().evaluations(request):
                if request.birth or isinstance(item, Progress):
                    yield item

    monkeypatch.setattr("workers.pool.Worker", Forgetful)
    pool = opened(workers=1)
    nothing, fine = settled(pool, [asked("behaves"), asked("behaves", 1)])
    assert kind(nothing) == "error" and kind(fine) == "ok"
    assert message(nothing) == f"{nothing.worker} ended the evaluation without a result."
    assert nothing.worker == fine.worker


def test_a_worker_killed_while_it_starts_costs_no_attempt(opened: Opener, tmp_path: Path) -> None:
    pool = opened(Limits(attempts=1), workers=1, task=HangsOnArrival(tmp_path))
    pool.submit(asked("behaves"))
    os.kill(noted_pid(pool, tmp_path / "0"), signal.SIGKILL)
    result = next_result(pool)
    assert kind(result) == "ok" and result.worker.startswith("worker-1@")
    assert_nothing_is_left(pool)


@pytest.mark.slow
def test_a_worker_stopped_while_it_starts_is_replaced_and_costs_no_attempt(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("workers.pool.time", clock)
    limits = Limits(attempts=1, start_seconds=600)
    pool = opened(limits, workers=1, task=HangsOnArrival(tmp_path))
    pool.submit(asked("behaves"))
    starting = noted_pid(pool, tmp_path / "0")
    os.kill(starting, signal.SIGSTOP)
    clock.ahead += 601
    result = next_result(pool)
    assert kind(result) == "ok" and result.worker.startswith("worker-1@")
    os.kill(starting, signal.SIGKILL)


@pytest.mark.parametrize("failures", [1, 9])
def test_workers_that_cannot_be_made_are_tried_again_and_given_up_after_three(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    class Stillborn(Worker):
        def __init__(self, number: int) -> None:
            if noted(tmp_path) < failures:
                raise OSError("no room for me here")
            super().__init__(number)

    monkeypatch.setattr("workers.pool.Worker", Stillborn)
    pool = opened(Limits(attempts=1), workers=1)
    pool.submit(asked("behaves"))
    if failures == 1:
        result = next_result(pool)
        assert kind(result) == "ok" and result.worker.startswith("worker-1@")
        assert_nothing_is_left(pool)
        return
    with pytest.raises(PoolError, match="3 workers in a row did not start") as info:
        next_result(pool)
    assert "OSError: no room for me here" in str(info.value)
    assert len(list(tmp_path.iterdir())) == 3


def test_an_evaluation_that_exceeds_the_memory_of_the_device_keeps_its_worker(
    opened: Opener,
) -> None:
    pool = opened(Limits(attempts=1), workers=1)
    too_large, fine = settled(pool, [asked("exceeds_the_device"), asked("behaves", 1)])
    assert kind(too_large) == "out_of_memory" and kind(fine) == "ok"
    assert message(too_large).startswith("torch.OutOfMemoryError: CUDA out of memory. Tried to")
    assert too_large.worker == fine.worker


def test_a_worker_with_a_broken_device_is_replaced_and_its_request_tried_elsewhere(
    opened: Opener, tmp_path: Path, directories: Callable[[str], Path]
) -> None:
    pool = opened(Limits(attempts=2), workers=1)
    once, always = directories("once"), directories("always")
    retried, lost, fine = settled(
        pool,
        [
            asked(f"loses_workers:break_the_device|1|{once}", 0),
            asked(f"loses_workers:break_the_device|9|{always}", 1),
            asked("behaves", 2),
        ],
    )
    assert kind(retried) == kind(fine) == "ok"
    assert retried.worker.startswith("worker-1@") and fine.worker.startswith("worker-3@")
    until(lambda: not is_alive(int((once / "0").read_text())))
    assert kind(lost) == "worker_lost" and lost.curve == ((4, 1.0),)
    assert message(lost).startswith(
        f"2 workers broke down over it; the last, {lost.worker}: RuntimeError: CUDA error: an "
        "illegal memory access was encountered\nTraceback"
    )
    assert len(list(always.iterdir())) == 2
