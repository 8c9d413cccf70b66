"""What tests of the Ray pool share: a small Ray, pools that are closed, and results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from misbehaving import asked

from workers.limits import Limits, Pool
from workers.messages import Request, Result
from workers.open_pool import open_pool

CORES = 2
PATIENCE = 90.0
"""Seconds a test waits for what should take a few: the machine may be busy."""

Opener = Callable[..., Pool]


class Clock:
    """Stands for `time` in the supervisor, and can be set forward."""

    sleep = staticmethod(time.sleep)

    def __init__(self) -> None:
        self.ahead = 0.0
        """Seconds."""

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@contextmanager
def small_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=CORES, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def pools() -> Iterator[Opener]:
    """Opens pools of misbehaving workers, and closes them at the end."""
    opened: list[Pool] = []

    def opener(
        limits: Limits | None = None, workers: int | None = CORES, task: Any = None, **more: Any
    ) -> Pool:
        more = {"evaluator": "misbehaving:evaluator"} | more
        opened.append(open_pool(workers, task, limits or Limits(), **more))
        return opened[-1]

    try:
        yield opener
    finally:
        for pool in opened:
            pool.close()


def settled(pool: Pool, requests: list[Request]) -> list[Result]:
    """The results of requests by birth; the pool is free again and gives nothing more."""
    todo = list(requests)
    results: list[Result] = []
    end = time.monotonic() + PATIENCE
    while len(results) < len(requests):
        while todo and pool.free():
            pool.submit(todo.pop(0))
        if more := pool.poll(1.0):
            results += more
            end = time.monotonic() + PATIENCE
        assert time.monotonic() < end, f"stuck with {pool.running()}"
    assert_nothing_is_left(pool)
    return sorted(results, key=lambda result: result.birth)


def wait_until_all_are_ready(pool: Pool) -> None:
    """Every worker of the pool has answered: they hold their part of the machine from now on."""
    met: set[str] = set()
    while len(met) < pool.capacity:
        met |= {result.worker for result in settled(pool, [asked("takes:0.2")] * pool.capacity)}


def assert_nothing_is_left(pool: Pool, seconds: float = 0) -> None:
    """Whatever still comes from workers in so many seconds is not given as a result."""
    end = time.monotonic() + seconds
    assert pool.poll(seconds) == []
    time.sleep(max(end - time.monotonic(), 0))  # a pool with nothing to do does not wait
    assert pool.poll(0) == []
    assert pool.free() == pool.capacity
    assert pool.running() == []


def kind(result: Result) -> str:
    return "ok" if result.failure is None else result.failure.kind


def message(result: Result) -> str:
    assert result.failure is not None
    return result.failure.message


def until(condition: Callable[[], bool]) -> None:
    """Wait for what comes about by itself."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def noted_pid(pool: Pool, note: Path) -> int:
    """Of an evaluation that notes its process in a file: see `misbehaving.noted`."""
    end = time.monotonic() + PATIENCE
    while not (note.exists() and note.read_text()):
        assert pool.poll(0.05) == []
        assert time.monotonic() < end
    return int(note.read_text())


def next_result(pool: Pool) -> Result:
    end = time.monotonic() + PATIENCE
    while not (results := pool.poll(1)):
        assert time.monotonic() < end, f"stuck with {pool.running()}"
    (result,) = results
    return result


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the second if it ends while it is read
        return False
    return state != "Z"
