"""The pool of Ray workers and its supervisor.

The supervisor lives in the manager's process and waits on all workers at once. It never lets Ray
restart or retry anything: a death is seen at once, with its cause, and the same request goes to
another worker at most ``Limits.attempts`` times.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayError, RayTaskError

from workers.actor import EvaluationActor
from workers.limits import Limits, PoolError
from workers.messages import FailureKind, Progress, Request, Result, failed
from workers.outcome import checked
from workers.resources import Share, plan_workers
from workers.tasks.base import Task

EVALUATION = "workers.training:evaluation"
MESSAGE_CHARACTERS = 2000
START_ATTEMPTS = 3
"""After so many workers in a row that die while starting, the pool gives up."""
LONGEST_WAIT = 1.0


@dataclass
class Slot:
    """A place for one worker.

    Attributes:
        name: Of the worker in it.
        actor: Its handle.
        starting: Pending answer that it is up; None once it is.
        stream: What it yields for ``request``; None if it is idle.
        request: What it runs.
        began: When the request began, by the monotonic clock.
        sign: When it last showed a sign of life.
        progress: What it last reported.
    """

    name: str
    actor: Any
    starting: Any
    stream: Any = None
    request: Request | None = None
    began: float = 0.0
    sign: float = 0.0
    progress: Progress | None = None

    def waits_for(self) -> Any:
        """What would wake the supervisor for this slot, or None."""
        return self.starting if self.starting is not None else self.stream


class RayPool:
    """Runs requests on Ray actors; see ``workers.limits.Pool``."""

    def __init__(
        self, share: Share, task: Task, limits: Limits, evaluation: str, stops_ray: bool
    ) -> None:
        self.capacity = share.workers
        self._share, self._limits, self._evaluation = share, limits, evaluation
        self._stops_ray = stops_ray
        self._task = [ray.put(task)]
        self._made = 0
        self._failed_starts = 0
        self._waiting: deque[Request] = deque()
        self._attempts: Counter[tuple[int, int]] = Counter()
        self._slots = [self._start() for _ in range(share.workers)]

    def free(self) -> int:
        """How many requests it would take now."""
        busy = sum(slot.request is not None for slot in self._slots)
        return self.capacity - busy - len(self._waiting)

    def submit(self, request: Request) -> None:
        """Run a request as soon as a worker is up.

        Raises:
            RuntimeError: If nothing is free.
        """
        if self.free() <= 0:
            raise RuntimeError("the pool has no free worker: poll before submitting again.")
        self._waiting.append(request)
        self._dispatch()

    def running(self) -> list[Progress]:
        """The last progress of what runs."""
        return [slot.progress for slot in self._slots if slot.progress is not None]

    def poll(self, timeout: float) -> list[Result]:
        """Results settled since the last poll; wakes as soon as there is one.

        Raises:
            PoolError: If workers keep dying while they start.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._dispatch()
            results = self._overdue()
            pending = {slot.waits_for(): slot for slot in self._slots if slot.waits_for()}
            patience = 0.0 if results else max(0.0, min(LONGEST_WAIT, deadline - time.monotonic()))
            if pending:
                # First until something happens, then whatever else has happened meanwhile.
                ray.wait(list(pending), num_returns=1, timeout=patience, fetch_local=False)
                ready, _ = ray.wait(
                    list(pending), num_returns=len(pending), timeout=0, fetch_local=False
                )
                for reference in ready:
                    results += self._advance(pending[reference])
            elif patience:
                time.sleep(patience)
            if results or time.monotonic() >= deadline:
                return results

    def close(self) -> None:
        """Kill the workers; stop Ray if this pool started it."""
        for slot in self._slots:
            ray.kill(slot.actor)
        self._slots.clear()
        if self._stops_ray:
            ray.shutdown()

    def _start(self) -> Slot:
        self._made += 1
        name = f"worker-{self._made}"
        actor_class: Any = ray.remote(EvaluationActor)
        actor = actor_class.options(
            num_cpus=self._share.cpus,
            num_gpus=self._share.gpus,
            max_restarts=0,
            max_task_retries=0,
        ).remote(name, self._task, self._evaluation, list(sys.path))
        return Slot(name, actor, actor.ready.remote(), sign=time.monotonic())

    def _replace(self, slot: Slot) -> None:
        """Put a new worker into a slot; the old one is killed if it still lives."""
        ray.kill(slot.actor)
        self._slots[self._slots.index(slot)] = self._start()

    def _dispatch(self) -> None:
        for slot in self._slots:
            if slot.request is None and slot.starting is None and self._waiting:
                slot.request = self._waiting.popleft()
                method = slot.actor.run.options(num_returns="streaming")
                slot.stream = method.remote(slot.request)
                slot.began = slot.sign = time.monotonic()
                slot.progress = Progress(slot.request.birth, 0, slot.request.training.steps, 0.0)

    def _overdue(self) -> list[Result]:
        """Kill what has run too long or shows no sign of life, and settle it."""
        now, results = time.monotonic(), []
        for slot in list(self._slots):
            if slot.request is None:
                continue
            limit, stall = self._limits.evaluation_seconds, self._limits.stall_seconds
            message = ""
            if limit is not None and now - slot.began > limit:
                message = f"took longer than {limit:g} seconds"
            elif stall is not None and now - slot.sign > stall:
                message = f"showed no sign of life for {stall:g} seconds"
            if message:
                results.append(self._settle(slot, "timed_out", f"{slot.name} {message}"))
                self._replace(slot)
        return results

    def _advance(self, slot: Slot) -> list[Result]:
        """Take in what a slot was waiting for."""
        slot.sign = time.monotonic()
        if slot.starting is not None:
            self._started(slot)
            return []
        assert slot.request is not None
        try:
            item = ray.get(next(slot.stream), timeout=60)
        except StopIteration:
            return [self._settle(slot, "error", "the evaluation ended without a result")]
        except OutOfMemoryError as error:
            # Not a RayActorError: Ray's memory monitor killed the worker to save its node.
            return self._lost(slot, "out_of_memory", str(error))
        except RayTaskError as error:
            return [self._settle(slot, "error", str(error)[-MESSAGE_CHARACTERS:])]
        except (RayError, GetTimeoutError) as error:
            return self._lost(slot, "worker_lost", str(error))
        if isinstance(item, Progress):
            slot.progress = item
            return []
        result = checked(item, slot.request, slot.name)
        self._release(slot)
        return [result]

    def _started(self, slot: Slot) -> None:
        try:
            ray.get(slot.starting)
        except RayError as error:
            self._failed_starts += 1
            if self._failed_starts >= START_ATTEMPTS:
                raise PoolError(
                    f"{START_ATTEMPTS} workers in a row died while starting. The last one: "
                    f"{str(error)[-MESSAGE_CHARACTERS:]}"
                ) from error
            self._replace(slot)
            return
        slot.starting = None
        self._failed_starts = 0

    def _lost(self, slot: Slot, kind: FailureKind, message: str) -> list[Result]:
        """A worker died under a request: try it again elsewhere, or give it up."""
        assert slot.request is not None
        request = slot.request
        key = (request.birth, request.seed)
        self._attempts[key] += 1
        results = []
        if self._attempts[key] >= self._limits.attempts:
            note = f"{self._attempts[key]} workers were lost with it; the last: {message}"
            results.append(self._settle(slot, kind, note[:MESSAGE_CHARACTERS]))
        else:
            self._waiting.appendleft(request)
        self._replace(slot)
        return results

    def _settle(self, slot: Slot, kind: FailureKind, message: str) -> Result:
        assert slot.request is not None
        seconds = time.monotonic() - slot.began
        result = failed(slot.request, kind, message, seconds=seconds, worker=slot.name)
        self._release(slot)
        return result

    def _release(self, slot: Slot) -> None:
        if slot.request is not None:
            self._attempts.pop((slot.request.birth, slot.request.seed), None)
        slot.request = slot.stream = slot.progress = None


def open_ray_pool(
    workers: int | None,
    task: Task,
    limits: Limits,
    *,
    address: str = "local",
    workers_per_gpu: int = 1,
    dashboard: bool = False,
    evaluation: str = EVALUATION,
) -> RayPool:
    """Connect to Ray, or start one for this process, and open a pool on it.

    Args:
        workers: How many; None for one per core, or ``workers_per_gpu`` per GPU if there are any.
        task: Goes into the object store once.
        limits: How evaluations are guarded.
        address: ``local`` never joins a cluster that happens to run; ``auto`` joins one.
        workers_per_gpu: How many workers share a GPU.
        dashboard: Whether a local Ray starts its dashboard.
        evaluation: ``module:function`` the workers run.

    Raises:
        PoolError: If there is no cluster at ``address``, or it cannot hold the workers.
    """
    connected = ray.is_initialized()
    if not connected:
        _connect(address, workers, dashboard)
    try:
        share = plan_workers(workers, workers_per_gpu, ray.cluster_resources())
        return RayPool(share, task, limits, evaluation, stops_ray=not connected)
    except BaseException:
        if not connected:
            ray.shutdown()
        raise


def _connect(address: str, workers: int | None, dashboard: bool) -> None:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address == "local":
        cores = len(os.sched_getaffinity(0))
        ray.init(
            address="local",
            num_cpus=max(cores, workers or 0),
            include_dashboard=dashboard,
            **quiet,
        )
        return
    try:
        ray.init(address=address, **quiet)
    except ConnectionError as error:
        raise PoolError(
            f"no Ray cluster at {address!r}: {error}. Start one with 'ray start --head', or leave "
            "out --address to start Ray on this machine."
        ) from error
