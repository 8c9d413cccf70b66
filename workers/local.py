"""The pool for ``--workers 0``: evaluations run in this process, inside ``poll``. No Ray."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from workers.evaluator import EVALUATOR, evaluated, load_evaluator, nothing_yet
from workers.limits import Limits, PoolError
from workers.messages import Progress, Request, Result, Unusable, failed

if TYPE_CHECKING:
    from workers.tasks.base import Task

WORKER = "in-process"


class LocalPool:
    """Evaluates in the manager's own process: for debugging, and where Ray is not wanted.

    The time limit of an evaluation is coarse: it is looked at when the evaluation reports
    progress, so one that never does is never stopped; ``stall_seconds`` has no effect, and an
    evaluation that ends its process ends the manager. Ctrl-C leaves the request unsettled: the
    next poll begins it again. So does a device that breaks, which only a new process can use
    again: ``poll`` raises. A worker of its own (``--workers 1``) is guarded better.

    Attributes:
        capacity: 1.
    """

    def __init__(self, task: Task, limits: Limits, evaluator: str = EVALUATOR) -> None:
        """Load the evaluator; raises PoolError if there is none of that name."""
        self.capacity = 1
        self._task, self._limits = task, limits
        self._evaluator = load_evaluator(evaluator)
        self._request: Request | None = None
        self._progress: Progress | None = None

    def free(self) -> int:
        """1, or 0 if a request waits to be polled."""
        return int(self._request is None)

    def submit(self, request: Request) -> None:
        """Keep a request for the next poll; raises RuntimeError if one waits already."""
        if self._request is not None:
            raise RuntimeError(f"no slot is free: birth {self._request.birth} has not settled.")
        self._request, self._progress = request, nothing_yet(request)

    def poll(self, timeout: float) -> list[Result]:
        """Evaluate the waiting request, however long that takes: ``timeout`` has no effect.

        Raises:
            PoolError: If this process can compute on its device no more; nothing is settled.
        """
        if self._request is None:
            return []
        with _one_torch_thread():
            result = self._run(self._request)
        self._request = self._progress = None
        return [result]

    def running(self) -> list[Progress]:
        """The progress of the waiting request."""
        return [] if self._progress is None else [self._progress]

    def close(self) -> None:
        """Drop the waiting request."""
        self._request = self._progress = None

    def _run(self, request: Request) -> Result:
        started = time.monotonic()
        limit = self._limits.evaluation_seconds
        curve: list[tuple[int, float]] = []
        with closing(evaluated(self._evaluator, request, self._task, WORKER)) as items:
            for item in items:
                if isinstance(item, Result):
                    return item
                if isinstance(item, Unusable):
                    raise PoolError(
                        f"this process cannot use its device any more, so birth {request.birth} "
                        "was not settled. Resume the run; with --workers 1 or more, a process "
                        f"with a broken device is replaced. It said:\n{item.why}"
                    )
                self._progress = item
                if item.on_curve:
                    curve.append((item.step, item.loss))
                seconds = time.monotonic() - started
                if limit is not None and seconds > limit:
                    message = f"the evaluation took longer than {limit:g} s."
                    known = {"curve": tuple(curve), "seconds": seconds, "worker": WORKER}
                    return failed(request, "timed_out", message, steps=item.step, **known)
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
