"""From the name of a task kind, or of a user's own factory, to the task."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workers.tasks.base import Metric, Task
from workers.tasks.errors import TaskError, did_you_mean
from workers.tasks.options import read_options

KINDS: Mapping[str, str] = {
    "text": "workers.tasks.text",
    "classification": "workers.tasks.classification",
    "forecasting": "workers.tasks.forecasting",
    "music": "workers.tasks.music",
    "speech": "workers.tasks.speech",
}
"""Kind -> its module, which offers ``Options`` and ``make(data, options)``."""

_NEEDS: Mapping[str, str] = {
    "text": "the path of a file, or data 'builtin:pydoc-topics'",
    "speech": "the path of a folder or of a .tar file",
}
"""What a kind wants as data, where that is not just a file."""

_MEMBERS = (
    "front_end",
    "head",
    "training_batches",
    "scoring_batches",
    "loss",
    "score",
)


def load_task(kind: str, data: str | None, options: Mapping[str, object]) -> Task:
    """Makes a task.

    Args:
        kind: A key of ``KINDS``, or ``package.module:factory`` of the user, called as
            ``factory(data, **options)``. The module is looked for on ``sys.path``, then in the
            working directory.
        data: Path of the data; a user's factory may do without.
        options: The fields of ``Options`` in the kind's module, or the keyword parameters of
            the factory.

    Raises:
        TaskError: Kind, data or options are wrong. What a user's own factory raises passes.
    """
    if ":" in kind:
        return _users_task(kind, data, options)
    if kind not in KINDS:
        raise TaskError(
            f"there is no task kind {kind!r}.{did_you_mean(kind, KINDS)} "
            "A task of your own is named package.module:factory."
        )
    module = importlib.import_module(KINDS[kind])
    checked = read_options(kind, module.Options, options)
    if not data:
        raise TaskError(f"task {kind!r} needs data: {_NEEDS.get(kind, 'the path of a file')}.")
    return module.make(data, checked)  # type: ignore[no-any-return]


def _users_task(kind: str, data: str | None, options: Mapping[str, object]) -> Task:
    factory = _factory(kind)
    parameters = list(inspect.signature(factory).parameters.values())
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        known = [
            p.name for p in parameters[1:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        ]
        for name in options:
            if name not in known:
                raise TaskError(f"task {kind!r} has no option {name!r}.{did_you_mean(name, known)}")
    task = factory(data, **options)
    missing = [name for name in _MEMBERS if not callable(getattr(task, name, None))]
    missing += [name for name in ("name", "data_sha256") if not _is_text(task, name)]
    if not isinstance(getattr(task, "metric", None), Metric):
        missing.append("metric")
    if missing:
        raise TaskError(
            f"task {kind!r}: the {type(task).__name__} it made lacks {', '.join(missing)}; see "
            "workers.tasks.base.Task for what a task has."
        )
    return task  # type: ignore[no-any-return]


def _factory(kind: str) -> Callable[..., Any]:
    module_name, _, name = kind.partition(":")
    if not module_name or not name:
        raise TaskError(f"task {kind!r} is not of the form package.module:factory.")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # at the end: a folder here must not shadow an installed package
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the user's module was found; something that it imports was not
        raise TaskError(
            f"task {kind!r}: there is no module {error.name!r} on the path nor in {here}."
        ) from None
    factory = getattr(module, name, None)
    if not callable(factory):
        public = [known for known in vars(module) if not known.startswith("_")]
        raise TaskError(
            f"task {kind!r}: module {module_name} has no function {name!r}."
            f"{did_you_mean(name, public)}"
        )
    return factory  # type: ignore[no-any-return]


def _is_text(task: object, name: str) -> bool:
    return isinstance(getattr(task, name, None), str)
