"""The pool of Ray workers and its supervisor.

The supervisor lives in the manager's process and waits for all workers at once. Ray restarts and
retries nothing: so a death shows at once and with its cause, nothing runs twice unnoticed, and
the supervisor decides who tries again.

On a cluster machines come and go. There workers are made when there is work for them and ended
when there is none for a while, which is what an autoscaler goes by; those for which there is no
room yet wait for it; and a worker that goes with its machine costs a request nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from workers import runtime
from workers.actor import Started, Worker
from workers.cohorts import cohorts
from workers.evaluator import MESSAGE_LIMIT, nothing_yet
from workers.labels import NODE, matches
from workers.limits import Limits, PoolError
from workers.losses import Blame, Fate, Loss
from workers.messages import FailureKind, Progress, Request, Result, Unusable
from workers.resources import Plan
from workers.slot import Job, Slot, cause, until_next_limit
from workers.starts import START_ATTEMPTS, Starts
from workers.stored import stored
from workers.surplus import least_busy_last, surplus
from workers.waiting import WaitingRoom
from workers.watch import LOOK_SECONDS, Watch, is_dead, is_preempted, machine_of, machines

if TYPE_CHECKING:
    from workers.tasks.base import Task

READ_SECONDS = 1.0
"""For so long a poll may read on after its time, or what hundreds of workers say would keep it."""


class RayPool:
    """Runs requests on Ray workers; see `workers.limits.Pool`.

    A request is settled by its result; by exceeding the time limit of an evaluation; or when
    ``Limits.attempts`` workers were lost over it: they died, gave no sign of life, or said that
    their device is broken. Each of these may be the machine's fault (a memory monitor, too, may
    kill an innocent worker), so that another worker tries first. A worker that is late or lost
    is killed and replaced. What it still yields is read by nobody, for only the stream of the
    present attempt is: each request settles once.

    Where the worker's machine went down, that was no attempt; `workers.losses` has the details.
    Nor is it one where a worker was lost over several requests of a cohort, for the last result
    before that may be lost too: the one that was running, as far as is known, is tried again
    alone (`workers.cohorts`), where it is known whose doing a loss is.

    Attributes:
        workers: Number of workers that were asked for; on a cluster, the most there may be.
        capacity: How many requests it takes: a cohort for each worker.
    """

    def __init__(
        self,
        asked: Plan,
        task: Task,
        limits: Limits,
        evaluator: str,
        environment: dict[str, Any],
        stops_ray: bool,
        room: WaitingRoom | None = None,
        cohort: int = 1,
    ) -> None:
        self.workers, self.capacity = asked.workers, asked.workers * cohort
        self._cohort_size = cohort
        self._limits, self._evaluator, self._needs_gpu = limits, evaluator, asked.gpus > 0
        self._stops_ray, self._closed = stops_ray, False
        self._room = room
        self._watch = Watch(cluster=room is not None)
        self._task = stored(task)
        self._actor: Any = ray.remote(Worker)
        self._options = {
            "num_cpus": asked.cpus,
            "num_gpus": asked.gpus,
            "max_restarts": 0,
            "max_task_retries": 0,
            "runtime_env": environment,
        }
        self._started = 0
        self._starts = Starts()
        self._broken: PoolError | None = None
        self._waiting: deque[Job] = deque()
        self._settled: list[Result] = []
        at_once = asked.workers if room is None else 0
        self._slots = [self._new_worker() for _ in range(at_once)]

    def free(self) -> int:
        """How many requests it would take now."""
        return self.capacity - len(self._jobs())

    def busy(self) -> int:
        """How many workers have something to do."""
        given = sum(bool(slot.jobs) for slot in self._slots)
        return min(given + len(self._waiting), self.workers)

    def begun(self) -> frozenset[int]:
        """Births of the evaluations that workers are at, each at the first of its cohort."""
        return frozenset(slot.jobs[0].request.birth for slot in self._slots if slot.jobs)

    def submit(self, request: Request) -> None:
        """Take a request; it begins when the pool is polled, as soon as a worker is ready.

        Raises:
            RuntimeError: If no slot is free, or the pool is closed.
        """
        if self._closed:
            raise RuntimeError("the pool is closed.")
        if self.free() < 1:
            raise RuntimeError(
                f"no slot is free: {self.capacity} requests have not settled. Poll first."
            )
        self._waiting.append(Job(request, nothing_yet(request)))

    def poll(self, timeout: float) -> list[Result]:
        """Results settled since the last poll; wakes as soon as there is one.

        Returns at once if nothing was submitted, or the pool is closed.

        Raises:
            PoolError: If workers do not start; results known by then are returned first.
        """
        if self._closed:
            return []
        self._give_out()
        deadline = time.monotonic() + timeout
        patience = timeout if self._jobs() and not self._broken else 0.0
        while True:
            ready = self._wait(min(patience, self._until_next_look()))
            # All news first: nobody is late whose report waits to be read.
            read_until = max(deadline, time.monotonic() + READ_SECONDS)
            while ready and time.monotonic() < read_until:
                for slot in ready:
                    self._read(slot)
                ready = self._wait(0)
            self._enforce_limits(set(self._slots).difference(ready))
            if self._watch.due():
                self._look_after_machines()
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
        slots, self._slots, self._closed = self._slots, [], True
        self._waiting.clear()
        if not ray.is_initialized():
            return
        try:
            for slot in slots:
                ray.kill(slot.actor)
        finally:
            self._task.clear()
            if self._stops_ray:
                runtime.stop()

    def _jobs(self) -> list[Job]:
        return [job for slot in self._slots for job in slot.jobs] + list(self._waiting)

    def _new_worker(self) -> Slot:
        number = self._started
        self._started += 1
        labels = dict(self._room.labels) if self._room is not None else {}
        if self._starts.shunned:
            labels.setdefault(NODE, f"!in({','.join(sorted(self._starts.shunned))})")
        actor = self._actor.options(**self._options, label_selector=labels or None).remote(number)
        starting = actor.start.remote(self._evaluator, self._task, self._needs_gpu)
        now = time.monotonic()
        return Slot(actor, now, starting, f"worker-{number}", asked=now)

    def _end(self, slot: Slot) -> None:
        ray.kill(slot.actor)
        self._slots.remove(slot)

    def _replace(self, slot: Slot) -> None:
        self._end(slot)
        if self._room is None:
            self._slots.append(self._new_worker())  # elsewhere when there is work for it

    def _give_out(self) -> None:
        idle = [slot for slot in self._slots if slot.idle] if self._waiting else []
        if self._room is not None:
            idle = least_busy_last(idle, self._slots)
        todo = [job for job in self._waiting if job.may_begin(self._limits)]
        chosen = cohorts(idle, todo, self._slots, self._limits, self._cohort_size)
        # Dead while they had nothing to do, which is nobody's fault here.
        if dead := [slot for slot, _ in chosen if is_dead(slot.actor)]:
            for slot in dead:
                self._replace(slot)
            self._give_out()
            return
        for slot, jobs in chosen:
            for job in jobs:
                self._waiting.remove(job)
                job.curve.clear()
            stream = slot.actor.evaluations.options(num_returns="streaming")
            requests = [job.request for job in jobs]
            slot.begin(jobs, stream.remote(*requests), time.monotonic())
        if self._room is not None and len(self._starts.losses.open) < START_ATTEMPTS:
            coming = sum(slot.starting is not None for slot in self._slots)
            missing = len(todo) - len(idle) - coming
            for _ in range(min(missing, self.workers - len(self._slots))):
                self._slots.append(self._new_worker())

    def _look_after_machines(self) -> None:
        """What only a cluster needs, every few seconds."""
        assert self._room is not None
        self._watch.look()
        self._judge()
        for slot in list(self._slots):
            slot.leaving = self._watch.leaves(slot.node)
            if slot.leaving and not slot.jobs:
                self._end(slot)
        self._room.look(self._slots, self.workers)
        todo = sum(job.may_begin(self._limits) for job in self._waiting)
        for slot in surplus(self._slots, todo, time.monotonic(), self._limits.idle_seconds):
            self._end(slot)

    def _judge(self) -> None:
        """Look anew at losses that may turn out to be those of machines."""
        for job in self._jobs():
            job.losses.judge(self._watch.blame)
        for job in list(self._waiting):
            if (result := job.given_up(self._limits)) is not None:
                self._waiting.remove(job)
                self._settled.append(result)
        self._starts.losses.judge(self._watch.blame)
        self._give_up_starting()

    def _until_next_look(self) -> float:
        seconds = until_next_limit(self._slots, self._limits, time.monotonic())
        return seconds if self._room is None else min(seconds, LOOK_SECONDS)

    def _wait(self, seconds: float) -> list[Slot]:
        """Slots with news: the first within so many seconds or, within 0 s, all that there are."""
        awaited = {slot.awaited: slot for slot in self._slots if slot.awaited is not None}
        if not awaited:
            time.sleep(max(seconds, 0))
            return []
        most = 1 if seconds > 0 else len(awaited)
        ready, _ = ray.wait(list(awaited), num_returns=most, timeout=max(seconds, 0))
        return [awaited[reference] for reference in ready]

    def _enforce_limits(self, slots: Iterable[Slot]) -> None:
        now = time.monotonic()
        late = [slot for slot in slots if slot.is_late(self._limits, now)]
        if self._room is not None and any(slot.starting is not None for slot in late):
            self._room.look(self._slots, self.workers)  # some may but wait for room
            late = [slot for slot in late if slot.is_late(self._limits, now)]
        for slot in late:
            end = slot.deadline(self._limits)
            assert end is not None
            if slot.starting is not None:
                why = f"{end.why} Is the cluster busy with something else?"
                self._not_started(slot, why, "own")
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
            self._not_started(slot, cause(error), "drained" if is_preempted(error) else None)
            return
        slot.name, slot.node = started.name, started.node
        if started.error:
            self._not_started(slot, started.error, "own")
            return
        slot.starting, slot.leaving = None, self._watch.leaves(slot.node)
        self._starts.ready(slot.node)

    def _not_started(self, slot: Slot, why: str, blame: Blame | None) -> None:
        """A worker did not come; ``blame`` if that is known."""
        node = slot.node or machine_of(slot.actor)
        loss = Loss("worker_lost", "died", slot.name, why, node, time.monotonic())
        self._watch.look()
        self._starts.losses.add(loss, blame or self._watch.blame(loss))
        self._replace(slot)
        self._give_up_starting()

    def _give_up_starting(self) -> None:
        """Leave machines alone on which no worker starts, or end where there are no others."""
        own = self._starts.losses.own
        if len(own) < START_ATTEMPTS:
            return
        if self._room is not None:
            for loss in self._starts.shun():
                self._room.say(
                    f"machine {self._watch.name_of(loss.node)} gets no more workers: "
                    f"{START_ATTEMPTS} in a row did not start there. The last said: "
                    f"{loss.why.splitlines()[0]}"
                )
            fitting = [m.node for m in machines() if matches(m.labels, self._room.labels)]
            if not self._starts.are_vain(fitting) or any(map(self._may_work, self._slots)):
                return
        self._broken = PoolError(
            f"{START_ATTEMPTS} workers in a row did not start. The last said:\n{own[-1].why}"
        )

    def _may_work(self, slot: Slot) -> bool:
        """Whether a worker is ready, or starting on a machine that may be in order."""
        if slot.starting is None:
            return not slot.leaving
        return machine_of(slot.actor) not in self._starts.shunned | {""}

    def _read_stream(self, slot: Slot) -> None:
        try:
            item = ray.get(next(slot.stream))
        except StopIteration:
            self._settle(slot, "error", f"{slot.name} ended the evaluation without a result.")
        except OutOfMemoryError as error:
            # Not a RayActorError: Ray's memory monitor killed the worker to save its machine.
            self._lost(slot, "out_of_memory", "died", cause(error), "own")
        except RayTaskError as error:
            self._settle(slot, "error", str(error)[-MESSAGE_LIMIT:])
        except RayError as error:
            blame: Blame | None = "drained" if is_preempted(error) else None
            self._lost(slot, "worker_lost", "died", cause(error), blame)
        else:
            if isinstance(item, Unusable):
                self._lost(slot, "worker_lost", "broke down", item.why, "own")
            elif (job := slot.job(item.birth)) is None:
                pass  # it has settled: its first result counts
            elif isinstance(item, Progress):
                job.report(item)
            else:
                slot.end(job, time.monotonic())
                self._settled.append(item)

    def _lost(
        self, slot: Slot, kind: FailureKind, fate: Fate, why: str, blame: Blame | None = None
    ) -> None:
        """A worker was lost over its jobs: somebody else tries, or one that was alone is given up.

        ``blame`` if it is known already.
        """
        now = time.monotonic()
        loss = Loss(kind, fate, slot.name, why, slot.node, now, now - slot.since)
        self._watch.look()
        blame = blame or self._watch.blame(loss)
        first, *others = slot.give_up()
        if others:
            first.begin_again(alone=blame != "drained")
        else:
            first.lost(loss, blame)
        if (result := first.given_up(self._limits)) is not None:
            self._settled.append(result)
        else:
            others.insert(0, first)
        self._wait_again(others)
        self._replace(slot)

    def _settle(self, slot: Slot, kind: FailureKind, message: str) -> None:
        """What a worker was at has failed; those after it had not begun, and go elsewhere."""
        seconds = time.monotonic() - slot.since
        first, *others = slot.give_up()
        self._settled.append(first.failed(kind, message, seconds, slot.name))
        self._wait_again(others)

    def _wait_again(self, jobs: list[Job]) -> None:
        for job in jobs:
            job.begin_again()
        self._waiting.extendleft(reversed(jobs))
