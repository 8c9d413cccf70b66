"""What every pool does around one evaluation: find its function, run it, check what it gives.

Whatever an evaluator does, short of ending its process, becomes exactly one `Result`; or one
`Unusable`, if it leaves the process with a broken device.
"""

from __future__ import annotations

import importlib
import math
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from numbers import Real
from typing import TYPE_CHECKING, Any, get_args

from workers.device_faults import breaks_the_device, free_device_memory, is_out_of_memory
from workers.limits import PoolError
from workers.messages import (
    LARGEST,
    Failure,
    FailureKind,
    Progress,
    Request,
    Result,
    Unusable,
    failed,
)

if TYPE_CHECKING:
    from workers.tasks.base import Task

Evaluator = Callable[[Request, "Task", str], Iterator[Progress | Result]]
"""Called as ``evaluator(request, task, worker)``: any number of `Progress`, then one `Result`."""

EVALUATOR = "workers.training:evaluation"
"""The evaluator of every real run."""

MESSAGE_LIMIT = 2000
"""Characters of an error that go into a result."""


def load_evaluator(name: str) -> Evaluator:
    """The function behind ``package.module:function``.

    Raises:
        PoolError: If there is no such function. What importing the module raises is passed on.
    """
    module_name, colon, function_name = name.partition(":")
    if not (module_name and colon and function_name):
        raise PoolError(f"the evaluator is {name!r}; write it as package.module:function.")
    function = getattr(importlib.import_module(module_name), function_name, None)
    if not callable(function):
        raise PoolError(f"module {module_name!r} has no function {function_name!r}.")
    return function  # type: ignore[no-any-return]


def evaluated(
    evaluator: Evaluator, request: Request, task: Task, worker: str
) -> Generator[Progress | Result | Unusable, None, None]:
    """Run an evaluator: its progress, then exactly one checked result, whatever comes of it.

    Instead of the result there is an `Unusable` if nothing else can be evaluated in this process.
    Only what is no ``Exception`` passes (Ctrl-C, or the order to end the process).
    """
    end = yield from _run(evaluator, request, task, worker)
    if isinstance(end, Result) and end.failure and end.failure.kind == "out_of_memory":
        # Only now: what the evaluation and its error held on to is gone.
        try:
            free_device_memory()
        except Exception as error:
            end = Unusable(tail(error))
    yield end


def evaluated_in_turn(
    evaluator: Evaluator, cohort: Iterable[Request], task: Task, worker: str
) -> Generator[Progress | Result | Unusable, None, None]:
    """Run an evaluator on each request of a cohort: see `evaluated`.

    Each is a function of its request alone, so that what comes of it, failures and lack of memory
    included, changes nothing for those after it. Only an `Unusable` ends them all.
    """
    for request in cohort:
        for item in evaluated(evaluator, request, task, worker):
            yield item
            if isinstance(item, Unusable):
                return


def _run(
    evaluator: Evaluator, request: Request, task: Task, worker: str
) -> Generator[Progress, None, Result | Unusable]:
    started = time.perf_counter()
    kind: FailureKind = "error"
    message = "the evaluator ended without a result."
    steps = 0
    try:
        for item in evaluator(request, task, worker):
            if not isinstance(item, Progress):
                return checked(request, item, worker, time.perf_counter() - started)
            steps = int(item.step)
            shown = (steps, int(item.steps), float(item.loss), bool(item.on_curve))
            yield Progress(request.birth, *shown)
    except Exception as error:
        message = tail(error)
        if breaks_the_device(error):
            return Unusable(message)
        if is_out_of_memory(error):
            kind = "out_of_memory"
    seconds = time.perf_counter() - started
    return failed(request, kind, message, worker=worker, seconds=seconds, steps=steps)


def checked(request: Request, value: object, worker: str, seconds: float) -> Result:
    """What an evaluator gave as its result, made plain and held to the promises of `Result`.

    A fitness or metric that is not finite becomes ``diverged``; anything else that breaks a
    promise becomes ``error``.
    """
    try:
        return _checked(request, value, worker)
    except _Broken as broken:
        kind, message = broken.kind, str(broken)
    except Exception as error:
        kind, message = "error", f"the evaluator gave a broken result: {tail(error)}"
    return failed(request, kind, message, worker=worker, seconds=seconds)


class _Broken(Exception):
    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def _checked(request: Request, value: object, worker: str) -> Result:
    if not isinstance(value, Result):
        raise _Broken("error", f"the evaluator gave {_kind_of(value)}, not a Result.")
    if (value.birth, value.seed) != (request.birth, request.seed):
        raise _Broken(
            "error",
            f"the evaluator gave a result for birth {value.birth!r} and seed {value.seed!r}, "
            f"but was asked for birth {request.birth} and seed {request.seed}.",
        )
    known: dict[str, Any] = {
        "curve": tuple((int(step), float(loss)) for step, loss in value.curve),
        "parameters": int(value.parameters),
        "seconds": float(value.seconds),
        "worker": worker,
        "engine": str(value.engine),
        "steps": None if value.steps is None else int(value.steps),
        "rungs": tuple((int(step), float(metric)) for step, metric in value.rungs),
    }
    _check_rungs(request, value, known["steps"], known["rungs"])
    if value.failure is not None:
        return _checked_failure(request, value, value.failure, known)
    metric, fitness = _number(value.metric, "metric"), _number(value.fitness, "fitness")
    for name, number in (("metric", metric), ("fitness", fitness)):
        if not abs(number) <= LARGEST:  # which no nan is
            return failed(request, "diverged", f"the {name} is {number}.", **known)
    return Result(
        request.birth, request.seed, metric, fitness, None, stopped=value.stopped, **known
    )


def _check_rungs(
    request: Request, value: Result, steps: int | None, rungs: tuple[tuple[int, float], ...]
) -> None:
    """Whether an evaluation came to the hurdles it was given, and ended at one of them or not."""
    budget, at = request.training.steps, [step for step, _ in request.hurdles]
    come = [step for step, _ in rungs]
    if come != at[: len(come)] or not all(math.isfinite(metric) for _, metric in rungs):
        raise _Broken(
            "error", f"the evaluator gave the rungs {rungs!r}, but the hurdles stand at {at}."
        )
    if value.stopped:
        if value.failure is not None or not rungs or (steps, value.metric) != rungs[-1]:
            raise _Broken(
                "error",
                f"the evaluator says it was stopped after {steps} steps at metric "
                f"{value.metric!r}, but the rungs it came to are {rungs!r}; a stopped result has "
                "the step and the metric of the last.",
            )
    elif value.failure is None and (steps not in (None, budget) or come != at):
        raise _Broken(
            "error",
            f"the evaluator ended after {steps} of {budget} steps, measured at {come} of {at}, "
            "and says neither that it was stopped nor that it failed.",
        )


def _checked_failure(
    request: Request, value: Result, failure: Failure, known: dict[str, Any]
) -> Result:
    if failure.kind not in get_args(FailureKind):
        raise _Broken("error", f"the evaluator reported the unknown failure {failure.kind!r}.")
    if value.fitness is not None or value.metric is not None:
        raise _Broken(
            "error",
            f"the evaluator gave the failure {failure.kind!r} together with a metric or "
            "fitness; a result has one or the other.",
        )
    return failed(request, failure.kind, str(failure.message)[:MESSAGE_LIMIT], **known)


def _number(value: object, name: str) -> float:
    if not isinstance(value, Real):
        raise _Broken("error", f"the evaluator gave {_kind_of(value)} as {name}, not a number.")
    return float(value)


def _kind_of(value: object) -> str:
    return "None" if value is None else f"an object of type {type(value).__qualname__}"


def nothing_yet(request: Request) -> Progress:
    """The progress of a request before its first report."""
    return Progress(request.birth, 0, request.training.steps, math.nan)


def tail(error: BaseException) -> str:
    """An exception as text: its last line first, then the end of its traceback, bounded."""
    lines = traceback.format_exception(error)
    summary = "".join(traceback.format_exception_only(error)).strip()[: MESSAGE_LIMIT // 4]
    rest = "".join(lines).strip()
    room = MESSAGE_LIMIT - len(summary) - 5
    if len(rest) > room:
        rest = "..." + rest[-room + 3 :]
    return f"{summary}\n{rest}"
