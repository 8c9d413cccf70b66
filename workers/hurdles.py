"""Hurdles: where a training is measured on its way, and when it ends there.

So, Liang, Le 2019, "The Evolved Transformer", section 4: candidates that do badly on the way are
not trained to the end. The hurdles come with the request, so an evaluation stays a function of it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

import torch

from workers.messages import Request
from workers.model import SequenceModel
from workers.scoring import Diverged, measured, refuse_broken_weights
from workers.tasks.base import Task, fitness_of


class Rung(NamedTuple):
    """What was measured at a hurdle.

    Attributes:
        step: Optimiser steps made by then.
        metric: The task's metric there.
        passed: Whether the training goes on.
    """

    step: int
    metric: float
    passed: bool


def check_hurdles(hurdles: Sequence[tuple[int, float | None]], steps: int) -> None:
    """Hurdles stand one after another within a budget of ``steps``.

    Raises:
        ValueError: If they do not.
    """
    at = [step for step, _ in hurdles]
    if at != sorted(set(at)) or (at and not 0 < at[0] <= at[-1] < steps):
        raise ValueError(
            f"the hurdles stand at steps {at}; they must ascend and lie between 1 and "
            f"{steps - 1}, for the budget is {steps} steps."
        )


def passes(fitness: float, hurdle: float | None) -> bool:
    """Whether a fitness (finite) reaches a hurdle; its own height is enough."""
    return hurdle is None or fitness >= hurdle


def rung_at(
    model: SequenceModel, task: Task, request: Request, step: int
) -> Generator[None, None, Rung]:
    """Measure at a hurdle and leave no trace: the training goes on as if nothing had been.

    Yields after each batch, and returns the rung.

    Raises:
        Diverged: If a weight or the metric is not finite.
    """
    where = f"{step} of {request.training.steps}"
    refuse_broken_weights(model, where)
    with torch.random.fork_rng():  # a task's score may draw
        try:
            metric = yield from measured(model, task, request.part)
        except Diverged as error:
            raise Diverged(f"{error} at step {where}") from error
        finally:
            model.train()
    fitness = fitness_of(metric, task.metric)
    return Rung(step, metric, passes(fitness, dict(request.hurdles)[step]))
