"""The metric of a model on a part of the data, and where the computing is done."""

from __future__ import annotations

import math
from collections.abc import Generator

import torch
from torch import Tensor

from workers.messages import Part
from workers.model import SequenceModel
from workers.tasks.base import Batch, Task


class Diverged(ArithmeticError):
    """The loss or the metric stopped being a finite number."""


def refuse_broken_weights(model: SequenceModel, step: str) -> None:
    """Raises Diverged if a weight is not a finite number, saying after which ``step``."""
    # Earlier steps show in the next loss; a metric such as accuracy may hide the one just made.
    if not all(bool(p.isfinite().all()) for p in model.parameters()):
        raise Diverged(f"a weight is not finite after step {step}")


def measure(model: SequenceModel, task: Task, part: Part) -> float:
    """The task's metric over one pass of a part of its data.

    Raises:
        Diverged: If the metric is not finite.
    """
    measuring = measured(model, task, part)
    while True:
        try:
            next(measuring)
        except StopIteration as end:
            return float(end.value)


@torch.no_grad()
def measured(model: SequenceModel, task: Task, part: Part) -> Generator[None, None, float]:
    """``measure``, one batch after another: yields after each, and returns the metric."""
    model.eval()
    total, count = 0.0, 0
    state: Tensor | None = None
    for batch in task.scoring_batches(part):
        batch = on_device(batch)
        prediction, state = model(batch, state if batch.carry_state else None)
        subtotal, number = task.score(prediction, batch)
        total, count = total + subtotal, count + number
        yield
    if not count:
        raise ValueError(f"task {task.name!r}: the {part} part holds nothing to score.")
    metric = total / count
    if not math.isfinite(metric):
        raise Diverged(f"the {part} {task.metric.name} is {metric}")
    return metric


def device() -> torch.device:
    """The GPU this process may see, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def on_device(batch: Batch) -> Batch:
    """The batch where the model is."""
    where = device()
    if where.type == "cpu":
        return batch
    lengths = None if batch.lengths is None else batch.lengths.to(where)
    return Batch(batch.inputs.to(where), batch.targets.to(where), lengths, batch.carry_state)
