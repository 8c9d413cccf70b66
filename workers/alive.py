"""Cells that are numerically dead before their first step: one batch says so, in milliseconds.

A genome is valid if its output can depend on the input; whether it does with weights just drawn and
states of zero is another matter. ``h' = h * sigmoid(linear(x))`` never leaves zero and has no
gradient there; a state that is doubled at every step overflows before it has learned anything.
"""

from __future__ import annotations

import numpy as np
import torch

from workers.messages import Request
from workers.model import SequenceModel
from workers.tasks.base import Batch, Task

CONSTANT = 1e-6
"""The largest difference between sequences, as a share of the largest output, that is none: a few
units in the last place of float32."""
EXPLODING = 1e6
"""The largest output that training may still bring back."""


def first_batch(request: Request, task: Task) -> Batch:
    """The batch that the training of a request begins with."""
    rng = np.random.default_rng(request.seed)
    return next(task.training_batches(request.training.batch_size, rng))


@torch.no_grad()
def why_dead(model: SequenceModel, batch: Batch) -> str | None:
    """What is wrong with the outputs (T, B, hidden) of the recurrent layers on a batch.

    Draws no random number and leaves no trace.

    Returns:
        None if they stay within bounds and tell sequences apart (one alone: its times).
    """
    training = model.training
    model.eval()
    try:
        outputs, _ = model.recurrent(model.front_end(batch.inputs), None, batch.lengths)
    finally:
        model.train(training)
    if batch.lengths is not None:
        outputs = outputs[: int(batch.lengths.min())]  # what comes after is padding
    largest = float(outputs.abs().max())
    if not largest <= EXPLODING:
        return f"its largest output is {largest:g} after at most {len(outputs)} steps in time"
    # One sequence alone is compared with itself at other times.
    over = 1 if outputs.shape[1] > 1 else 0
    spread = float((outputs.amax(over) - outputs.amin(over)).max())
    if spread <= CONSTANT * largest:
        what = f"for all {outputs.shape[1]} sequences" if over else "at all times"
        return f"its output is the same {what} (within {spread:g})"
    return None
