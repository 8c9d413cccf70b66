"""The pool of Ray workers and its supervisor.

The supervisor lives in the manager's process and waits for all workers at once. Ray restarts and
retries nothing: so a death shows at once and with its cause, nothing runs twice unnoticed, and
the supervisor decides who tries again.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from workers import runtime
from workers.actor import Started, Worker
from workers.evaluator import EVALUATOR, MESSAGE_LIMIT, nothing_yet
from workers.limits import Limits, PoolError
from workers.messages import FailureKind, Progress, Request, Result, Unusable
from workers.resources import Plan, plan
from workers.slot import Fate, Job, Loss, Slot, cause

if TYPE_CHECKING:
    from workers.tasks.base import Task

START_ATTEMPTS = 3
"""After so many workers in a row that do not start, the pool gives up."""


class RayPool:
    """Runs requests on Ray workers; see `workers.limits.Pool`.

    A request is settled by its result; by exceeding the time limit of an evaluation; or when
    ``Limits.attempts`` workers were lost over it: they died, gave no sign of life, or said that
    their device is broken. Each of these may be the machine's fault (a memory monitor, too, may
    kill an innocent worker), so that another worker tries first. A worker that is late or lost
    is killed and replaced. What it still yields is read by nobody, for only the stream of the
    present attempt is: each request settles once.

    Attributes:
        capacity: Number of workers.
    """

    def __init__(
        self,
        asked: Plan,
        task: Task,
        limits: Limits,
        evaluator: str,
        environment: dict[str, Any],
        stops_ray: bool,
    ) -> None:
        self.capacity = asked.workers
        self._limits, self._evaluator, self._needs_gpu = limits, evaluator, asked.gpus > 0
        self._stops_ray = stops_ray
        self._task = _stored(task)
        self._actor: Any = ray.remote(Worker).options(
            num_cpus=asked.cpus,
            num_gpus=asked.gpus,
            max_restarts=0,
            max_task_retries=0,
            runtime_env=environment,
        )
        self._started = 0
        self._failed_starts = 0
        self._broken: PoolError | None = None
        self._waiting: deque[Job] = deque()
        self._settled: list[Result] = []
        self._slots = [self._new_worker() for _ in range(asked.workers)]

    def free(self) -> int:
        """How many requests it would take now."""
        return self.capacity - len(self._jobs())

    def submit(self, request: Request) -> None:
        """Take a request; it begins as soon as a worker is ready.

        Raises:
            RuntimeError: If no slot is free, or the pool is closed.
        """
        if not self._slots:
            raise RuntimeError("the pool is closed.")
        if self.free() < 1:
            raise RuntimeError(
                f"no slot is free: {self.capacity} requests have not settled. Poll first."
            )
        self._waiting.append(Job(request, nothing_yet(request)))
        self._give_out()

    def poll(self, timeout: float) -> list[Result]:
        """Results settled since the last poll; wakes as soon as there is one.

        Returns at once if nothing was submitted.

        Raises:
            PoolError: If workers do not start; results known by then are returned first.
        """
        deadline = time.monotonic() + timeout
        patience = timeout if self._jobs() and not self._broken else 0.0
        while True:
            ready = self._wait(min(patience, self._until_next_limit()))
            # All news first: nobody is late whose report waits to be read.
            while ready:
                for slot in ready:
                    self._read(slot)
                ready = self._wait(0)
            self._enforce_limits()
            self._give_out()
            patience = deadline - time.monotonic()
            if self._settled or self._broken or not self._jobs() or patience <= 0:
                break
        if self._broken and not self._settled:
            raise self._broken
        settled, self._settled = self._settled, []
        return settled

    def running(self) -> list[Progress]:
        """The last progress of each request taken and not settled."""
        return [job.progress for job in self._jobs()]

    def close(self) -> None:
        """Kill the workers; stop Ray if it was started, or connected to, for this pool."""
        slots, self._slots = self._slots, []
        self._waiting.clear()
        if not ray.is_initialized():
            return
        for slot in slots:
            ray.kill(slot.actor)
        self._task.clear()
        if self._stops_ray:
            runtime.stop()

    def _jobs(self) -> list[Job]:
        return [slot.job for slot in self._slots if slot.job is not None] + list(self._waiting)

    def _new_worker(self) -> Slot:
        number = self._started
        self._started += 1
        actor = self._actor.remote(number)
        starting = actor.start.remote(self._evaluator, self._task, self._needs_gpu)
        return Slot(number, actor, time.monotonic(), starting, f"worker-{number}")

    def _replace(self, slot: Slot) -> None:
        ray.kill(slot.actor)
        self._slots[self._slots.index(slot)] = self._new_worker()

    def _give_out(self) -> None:
        for slot in self._slots:
            if slot.idle and self._waiting:
                job = self._waiting.popleft()
                job.curve.clear()
                stream = slot.actor.evaluations.options(num_returns="streaming")
                slot.begin(job, stream.remote(job.request), time.monotonic())

    def _wait(self, seconds: float) -> list[Slot]:
        """Slots with news: the first within so many seconds or, within 0 s, all that there are."""
        awaited = {slot.awaited: slot for slot in self._slots if slot.awaited is not None}
        if not awaited:
            return []
        most = 1 if seconds > 0 else len(awaited)
        ready, _ = ray.wait(list(awaited), num_returns=most, timeout=max(seconds, 0))
        return [awaited[reference] for reference in ready]

    def _until_next_limit(self) -> float:
        ends = [slot.deadline(self._limits) for slot in self._slots]
        next_end = min((end.at for end in ends if end is not None), default=float("inf"))
        # Never 0: ray.wait counts in milliseconds and would spin through the last of them.
        return max(next_end - time.monotonic(), 0.002)

    def _enforce_limits(self) -> None:
        now = time.monotonic()
        for slot in list(self._slots):
            end = slot.deadline(self._limits)
            if end is None or now < end.at:
                continue
            if slot.starting is not None:
                self._not_started(slot, f"{end.why} Is the cluster busy with something else?")
            elif end.is_lost:
                self._lost(slot, "timed_out", "stalled", end.why)
            else:
                self._settle(slot, "timed_out", end.why)
                self._replace(slot)

    def _read(self, slot: Slot) -> None:
        """Take in one piece of news of a slot."""
        slot.sign = time.monotonic()
        if slot.starting is not None:
            self._read_start(slot)
        else:
            self._read_stream(slot)

    def _read_start(self, slot: Slot) -> None:
        try:
            started: Started = ray.get(slot.starting)
        except RayError as error:
            self._not_started(slot, cause(error))
            return
        if started.error:
            self._not_started(slot, started.error)
            return
        slot.starting, slot.name = None, started.name
        self._failed_starts = 0

    def _not_started(self, slot: Slot, why: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= START_ATTEMPTS:
            self._broken = PoolError(
                f"{START_ATTEMPTS} workers in a row did not start. The last said:\n{why}"
            )
        self._replace(slot)

    def _read_stream(self, slot: Slot) -> None:
        assert slot.job is not None
        try:
            item = ray.get(next(slot.stream))
        except StopIteration:
            self._settle(slot, "error", f"{slot.name} ended the evaluation without a result.")
        except OutOfMemoryError as error:
            # Not a RayActorError: Ray's memory monitor killed the worker to save its machine.
            self._lost(slot, "out_of_memory", "died", cause(error))
        except RayTaskError as error:
            self._settle(slot, "error", str(error)[-MESSAGE_LIMIT:])
        except RayError as error:
            self._lost(slot, "worker_lost", "died", cause(error))
        else:
            if isinstance(item, Progress):
                slot.job.report(item)
            elif isinstance(item, Unusable):
                self._lost(slot, "worker_lost", "broke down", item.why)
            else:
                slot.job = slot.stream = None
                self._settled.append(item)

    def _lost(self, slot: Slot, kind: FailureKind, fate: Fate, why: str) -> None:
        """A worker was lost over its job: somebody else tries, or it is given up."""
        job = slot.job
        assert job is not None
        job.losses.append(Loss(kind, fate, slot.name, why))
        if len(job.losses) < self._limits.attempts:
            job.progress = nothing_yet(job.request)
            slot.job = slot.stream = None
            self._waiting.appendleft(job)
        else:
            self._settle(slot, *job.verdict())
        self._replace(slot)

    def _settle(self, slot: Slot, kind: FailureKind, message: str) -> None:
        assert slot.job is not None
        seconds = time.monotonic() - slot.since
        self._settled.append(slot.job.failed(kind, message, seconds, slot.name))
        slot.job = slot.stream = None


def _stored(task: Task) -> list[Any]:
    try:
        return [ray.put(task)]
    except (TypeError, AttributeError, ValueError) as error:
        raise PoolError(
            f"the task of type {type(task).__qualname__} cannot be sent to workers: {error}. "
            "Keep open files, locks and the like out of it, or use --workers 0."
        ) from error


def open_ray_pool(
    workers: int | None,
    task: Task,
    limits: Limits,
    address: str = "local",
    workers_per_gpu: int = 1,
    dashboard: bool = False,
    evaluator: str = EVALUATOR,
    at_most: int | None = None,
) -> RayPool:
    """Connect to Ray, or start one, and open a pool on it: see `workers.open_pool.open_pool`."""
    started = runtime.start(address, workers=workers, dashboard=dashboard)
    try:
        asked = plan(workers, runtime.nodes(), workers_per_gpu, at_most)
        environment = runtime.worker_environment(address, asked.gpus)
        return RayPool(asked, task, limits, evaluator, environment, stops_ray=started)
    except BaseException:
        if started:
            runtime.stop()
        raise
