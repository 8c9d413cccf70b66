"""The pool for ``--workers 0``: evaluations run in this process. No Ray."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable

from workers.limits import Limits
from workers.messages import Progress, Request, Result, failed
from workers.tasks.base import Task

Evaluate = Callable[..., Result]
TRACEBACK_CHARACTERS = 2000


class OutOfTime(Exception):
    """Raised inside an evaluation that has used up its time."""


class LocalPool:
    """Runs one request at a time, inside ``poll``.

    ``evaluation_seconds`` is checked whenever the evaluation reports progress, so it is coarse;
    a hanging evaluation hangs the process. Workers of their own (``--workers 1``) are guarded
    better.
    """

    def __init__(self, task: Task, limits: Limits, evaluate: Evaluate) -> None:
        self.capacity = 1
        self._task, self._limits, self._evaluate = task, limits, evaluate
        self._waiting: Request | None = None
        self._last: Progress | None = None

    def free(self) -> int:
        """1, or 0 if a request waits to be polled."""
        return int(self._waiting is None)

    def submit(self, request: Request) -> None:
        """Keep a request for the next poll."""
        if self._waiting is not None:
            raise RuntimeError("the pool has no free worker: poll before submitting again.")
        self._waiting = request

    def poll(self, timeout: float) -> list[Result]:
        """Run what was submitted to its end, however long it takes."""
        if self._waiting is None:
            return []
        result = self._run(self._waiting)
        self._waiting = None
        return [result]

    def running(self) -> list[Progress]:
        """The last progress of what was run."""
        return [] if self._last is None else [self._last]

    def close(self) -> None:
        """Nothing was started."""

    def _run(self, request: Request) -> Result:
        started = time.monotonic()
        limit = self._limits.evaluation_seconds

        def on_progress(progress: Progress) -> None:
            self._last = progress
            if limit is not None and time.monotonic() - started > limit:
                raise OutOfTime

        try:
            return self._evaluate(request, self._task, on_progress, "local")
        except OutOfTime:
            kind, message = "timed_out", f"took longer than {limit:g} seconds"
        except MemoryError as error:
            kind, message = "out_of_memory", str(error)
        except Exception:
            # The candidate fails, not the search; the record keeps the reason.
            kind, message = "error", traceback.format_exc()[-TRACEBACK_CHARACTERS:]
        seconds = time.monotonic() - started
        return failed(request, kind, message, seconds=seconds, worker="local")  # type: ignore[arg-type]
