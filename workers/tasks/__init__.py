"""Tasks: what cells are trained and scored on, by kind."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches

from workers.tasks.base import Batch, Metric, Task, TaskError, fitness_of

__all__ = ["Batch", "Metric", "Task", "TaskError", "fitness_of", "load_task"]

KINDS: Mapping[str, str] = {
    "text": "workers.tasks.text:text_task",
    "classification": "workers.tasks.classification:classification_task",
    "forecasting": "workers.tasks.forecasting:forecasting_task",
}


def load_task(kind: str, data: str | None, options: Mapping[str, object]) -> Task:
    """Read and hash the data of a task.

    Args:
        kind: ``text``, ``classification``, ``forecasting``, or ``package.module:factory`` of the
            user's own, called as ``factory(data, **options)``.
        data: What the task reads, usually a path.
        options: Keyword arguments of the factory.

    Raises:
        TaskError: If kind, data or an option is wrong; the message says which and why.
    """
    factory = _factory(kind)
    known = inspect.signature(factory).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in known.values())
    names = [name for name, p in known.items() if p.kind is p.KEYWORD_ONLY or name != "data"]
    for key in options:
        if key not in names and not takes_any:
            close = get_close_matches(key, names, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Known are: {', '.join(names)}."
            raise TaskError(f"task {kind} has no option {key!r}. {hint}")
    try:
        task = factory(data, **options)
    except TypeError as error:
        raise TaskError(f"task {kind}: {error}.") from error
    if not isinstance(task, Task):
        needed = [n for n in Task.__protocol_attrs__ if not hasattr(task, n)]  # type: ignore[attr-defined]
        raise TaskError(f"{kind} gave {type(task).__name__}, which lacks {', '.join(needed)}.")
    return task


def _factory(kind: str) -> Callable[..., object]:
    module_name, colon, name = KINDS.get(kind, kind).partition(":")
    if not colon:
        close = get_close_matches(kind, KINDS, n=1)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        raise TaskError(
            f"unknown task {kind!r}. {hint}Known are {', '.join(KINDS)}; "
            "your own is given as package.module:factory."
        )
    try:
        factory = getattr(importlib.import_module(module_name), name)
    except ImportError as error:
        raise TaskError(f"task {kind}: {module_name} cannot be imported: {error}.") from error
    except AttributeError:
        raise TaskError(f"task {kind}: {module_name} has no {name!r}.") from None
    if not callable(factory):
        raise TaskError(f"task {kind}: {name} is no function.")
    return factory  # type: ignore[no-any-return]
