"""A task of your own: from the values of a series so far, predict the next one.

    evo-nas search --task examples.my_task:next_value --data series.txt --run runs/series

The file holds one number a line. ``workers/tasks/base.py`` says what each member is for.
"""

import hashlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from workers.tasks.base import Batch, Metric
from workers.tasks.heads import StepHead


class NextValue:
    """The series is cut 80/10/10; the training part alone decides mean and deviation."""

    name = "next-value"
    metric = Metric("squared error", "deviations²", higher_is_better=False)
    training_loss = "squared_error"  # what `loss` below is: lets the native engine train it whole

    def __init__(self, series, length):
        self.length = length
        self.data_sha256 = hashlib.sha256(series.tobytes()).hexdigest()
        train, validation, test = np.split(series, [len(series) * 8 // 10, len(series) * 9 // 10])
        self.parts = {"train": train, "validation": validation, "test": test}

    def front_end(self, hidden_size):
        return nn.Linear(1, hidden_size)

    def head(self, hidden_size):
        return StepHead(hidden_size, 1)

    def training_batches(self, batch_size, rng):
        last = len(self.parts["train"]) - self.length
        while True:
            yield self.windows("train", rng.integers(last, size=batch_size))

    def scoring_batches(self, part):
        last = len(self.parts[part]) - self.length
        yield self.windows(part, np.arange(0, last, self.length))

    def windows(self, part, starts):
        values = self.parts[part][starts + np.arange(self.length + 1)[:, None]]
        scaled = (values - self.parts["train"].mean()) / self.parts["train"].std()
        steps = torch.from_numpy(scaled).float().unsqueeze(2)  # (T + 1, B, 1)
        return Batch(inputs=steps[:-1], targets=steps[1:])

    def loss(self, prediction, batch):
        return functional.mse_loss(prediction, batch.targets)

    def score(self, prediction, batch):
        count = batch.targets.numel()
        return self.loss(prediction, batch).item() * count, count


def next_value(data, *, length=32):
    """What ``--task`` names: ``data`` is the path, the rest are options."""
    return NextValue(np.loadtxt(data), length)
