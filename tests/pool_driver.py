"""Managers of their own process for the tests of the pool: ``python pool_driver.py NAME``.

Each line on stdout is JSON; anything else there is a fault.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from misbehaving import asked

from workers.limits import Limits, Pool, PoolError
from workers.messages import Request, Result
from workers.open_pool import open_pool


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def opened(workers: int | None, **more: Any) -> Pool:
    return open_pool(workers, None, Limits(), evaluator="misbehaving:evaluator", **more)  # type: ignore[arg-type]


def settled(pool: Pool, requests: list[Request]) -> list[Result]:
    for request in requests:
        pool.submit(request)
    results: list[Result] = []
    while len(results) < len(requests):
        results += pool.poll(1)
    return results


def interrupted(directory: str) -> None:
    """Notes signals, as the search does, and goes on until everything is settled."""
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: signals.append(number))
    pool = opened(2)
    pids: set[str] = set()
    while len(pids) < 2:  # one worker may be ready long before the other
        pids |= {result.engine for result in settled(pool, [asked("takes:0.5", b) for b in (0, 1)])}
    for birth in (2, 3):
        pool.submit(asked("takes:4", birth))
    pool.poll(0.5)
    say(running=sorted(pids))
    results: list[Result] = []
    while len(results) < 2:
        results += pool.poll(0.5)
    # A death under the pool's eyes, of which nothing may appear on stdout.
    results += settled(pool, [asked(f"kills_its_process:{directory}|1", 4)])
    pool.close()
    say(signals=signals, fitness=[r.fitness for r in results], pids=[r.engine for r in results])


def waiting() -> None:
    """Runs something endless until it is killed."""
    pool = opened(1)
    pids = [result.engine for result in settled(pool, [asked("behaves")])]
    pool.submit(asked("takes:600", 1))
    pool.poll(0.5)
    say(running=pids)
    time.sleep(600)


def alone() -> None:
    """Opens a local pool although RAY_ADDRESS names a cluster."""
    pool = opened(1, address="local")
    say(fitness=[result.fitness for result in settled(pool, [asked("behaves")])])
    pool.close()


def clustered() -> None:
    """Uses the cluster that RAY_ADDRESS names, and asks for what it has not."""
    pool = opened(None, address="auto")
    say(capacity=pool.capacity, fitness=[r.fitness for r in settled(pool, [asked("behaves")])])
    pool.close()
    try:
        opened(9, address=os.environ["RAY_ADDRESS"], labels={"kind": "another"})
    except PoolError as error:
        say(error=str(error))


def lost() -> None:
    """Looks for a cluster where none is."""
    for address in ("auto", "127.0.0.1:1", "ray://127.0.0.1:10001"):
        try:
            opened(1, address=address)
        except PoolError as error:
            say(error=str(error))


def stranger() -> None:
    """Comes to the cluster that RAY_ADDRESS names with a token of its own."""
    try:
        opened(1, address="auto")
    except PoolError as error:
        say(error=str(error))


def greedy(size: str) -> None:
    """Lets a worker take more memory than Ray's monitor allows on this machine."""
    pool = open_pool(
        1,
        None,  # type: ignore[arg-type]
        Limits(attempts=2),
        evaluator="misbehaving:evaluator",
    )
    results = settled(pool, [asked(f"allocates_step_by_step:{size}")])
    results += settled(pool, [asked("behaves", 1)])
    pool.close()
    say(results=[(r.failure.kind, r.failure.message) if r.failure else ("ok", "") for r in results])


def shared_gpu() -> None:
    """Two workers on a GPU that Ray counts but torch does not have."""
    import ray

    ray.init(address="local", num_cpus=2, num_gpus=1, log_to_driver=False, include_dashboard=False)
    pool = opened(None, workers_per_gpu=2)
    say(capacity=pool.capacity)
    pool.submit(asked("behaves"))
    try:
        while True:
            pool.poll(1)
    except PoolError as error:
        say(error=str(error))
    ray.shutdown()


if __name__ == "__main__":
    os.environ["PYTHONUNBUFFERED"] = "1"
    globals()[sys.argv[1]](*sys.argv[2:])
