"""Checks what an evaluation says came of it before anyone believes it."""

from __future__ import annotations

import math
from typing import Any

from workers.messages import Request, Result, failed


def checked(item: Any, request: Request, worker: str) -> Result:
    """A trustworthy result: of this request, with a finite fitness or a failure.

    A fitness that is NaN or infinite is a ``diverged`` candidate, never a number: NaN would win
    every tournament. Anything that is no result of this request is an ``error``.
    """
    if not isinstance(item, Result):
        return failed(
            request, "error", f"the evaluation gave {type(item).__name__}, no Result", worker=worker
        )
    if (item.birth, item.seed) != (request.birth, request.seed):
        return failed(
            request, "error", f"the evaluation gave the result of birth {item.birth}", worker=worker
        )
    if item.failure is not None:
        return item
    for name, value in (("fitness", item.fitness), ("metric", item.metric)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            message = f"the {name} is {value!r}, no number"
            return failed(request, "error", message, seconds=item.seconds, worker=worker)
        if not math.isfinite(value):
            message = f"the {name} is {value!r}"
            return failed(request, "diverged", message, seconds=item.seconds, worker=worker)
    return item
