"""A task for ``--task tests.delayed_task:delayed``: text, but each batch takes a random while."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from workers.tasks import load_task


class Delayed:
    """Everything of a text task, at an unpredictable speed."""

    def __init__(self, data: str) -> None:
        self._task = load_task("text", data, {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_task":
            raise AttributeError(name)
        return getattr(self._task, name)

    def training_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[Any]:
        for batch in self._task.training_batches(batch_size, rng):
            time.sleep(os.urandom(1)[0] / 255 * 0.02)
            yield batch


def delayed(data: str) -> Delayed:
    return Delayed(data)
