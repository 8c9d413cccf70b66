"""The pool for ``--workers 0``: evaluations run in this process, inside ``poll``. No Ray."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from workers.evaluator import EVALUATOR, evaluated, load_evaluator, nothing_yet
from workers.limits import Limits, PoolError
from workers.messages import Progress, Request, Result, Unusable
from workers.slot import Job

if TYPE_CHECKING:
    from workers.tasks.base import Task

WORKER = "in-process"


class LocalPool:
    """Evaluates in the manager's own process: for debugging, and where Ray is not wanted.

    The time limit of an evaluation is coarse: it is looked at when the evaluation reports
    progress, so one that never does is never stopped; ``stall_seconds`` has no effect, and an
    evaluation that ends its process ends the manager. Ctrl-C leaves the requests unsettled: the
    next poll begins them again. So does a device that breaks, which only a new process can use
    again: ``poll`` raises. A worker of its own (``--workers 1``) is guarded better.

    Attributes:
        workers: 1: this process.
        capacity: How many requests it takes: a cohort.
    """

    def __init__(
        self, task: Task, limits: Limits, evaluator: str = EVALUATOR, cohort: int = 1
    ) -> None:
        """Load the evaluator; raises PoolError if there is none of that name."""
        self.workers, self.capacity = 1, cohort
        self._task, self._limits = task, limits
        self._evaluator = load_evaluator(evaluator)
        self._jobs: deque[Job] = deque()

    def free(self) -> int:
        """How many requests it would take now."""
        return self.capacity - len(self._jobs)

    def busy(self) -> int:
        """1, or 0 if nothing waits to be polled."""
        return min(len(self._jobs), 1)

    def begun(self) -> frozenset[int]:
        """Nothing, for evaluations begin and end within `poll`."""
        return frozenset()

    def submit(self, request: Request) -> None:
        """Keep a request for a poll; raises RuntimeError if nothing is free."""
        if self.free() < 1:
            births = ", ".join(str(job.request.birth) for job in self._jobs)
            raise RuntimeError(f"no slot is free: birth {births} has not settled.")
        self._jobs.append(Job(request, nothing_yet(request)))

    def poll(self, timeout: float) -> list[Result]:
        """Evaluate the first request, however long that takes: ``timeout`` has no effect.

        Raises:
            PoolError: If this process can compute on its device no more; nothing is settled.
        """
        if not self._jobs:
            return []
        job = self._jobs[0]
        try:
            with _one_torch_thread():
                result = self._run(job)
        except BaseException:
            job.begin_again()
            raise
        self._jobs.popleft()
        return [result]

    def running(self) -> list[Progress]:
        """The progress of each request taken and not settled."""
        return [job.progress for job in self._jobs]

    def close(self) -> None:
        """Drop what has not settled."""
        self._jobs.clear()

    def _run(self, job: Job) -> Result:
        started, limit = time.monotonic(), self._limits.evaluation_seconds
        job.curve.clear()
        with closing(evaluated(self._evaluator, job.request, self._task, WORKER)) as items:
            for item in items:
                if isinstance(item, Result):
                    return item
                if isinstance(item, Unusable):
                    raise PoolError(
                        "this process cannot use its device any more, so birth "
                        f"{job.request.birth} was not settled. Resume the run; with --workers 1 "
                        "or more, a process with a broken device is replaced. It said:\n"
                        f"{item.why}"
                    )
                job.report(item)
                seconds = time.monotonic() - started
                if limit is not None and seconds > limit:
                    message = f"the evaluation took longer than {limit:g} s."
                    return job.failed("timed_out", message, seconds, WORKER)
        raise AssertionError("an evaluation ends with its result")


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    # As on a worker: otherwise sums are split differently and the last bits differ.
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
