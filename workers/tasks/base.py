"""What a task is: data, front end, head and metric, behind one protocol.

A user's own task is any object with these members (``--task package.module:factory``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Metric:
    """What a task measures.

    Attributes:
        name: For example ``cross-entropy``.
        unit: For example ``nats/char``; empty for a bare share.
        higher_is_better: Direction.
    """

    name: str
    unit: str
    higher_is_better: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences trained or scored together.

    Attributes:
        inputs: What the front end takes, time first: ``(T, B)`` or ``(T, B, features)``.
        targets: What ``Task.loss`` and ``Task.score`` compare with.
        lengths: ``(B,)`` int64 lengths of the sequences, or None if all are T long.
        carry_state: Whether the sequences continue those of the batch before, so that the
            final state carries over (truncated back-propagation through time).
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None
    carry_state: bool = False


@runtime_checkable
class Task(Protocol):
    """Data, front end, head and metric. Instances are pickled to the workers once.

    A class that defines ``loss`` may define ``training_loss`` beside it, which says that ``loss``
    is exactly this:

    - ``"cross_entropy"``: the mean over logits against class numbers; -100 counts for nothing.
    - ``"squared_error"``: the mean over predictions against targets of the same shape.
    - ``"bernoulli"``: the binary cross-entropy of logits against targets of the same shape, summed
      over the last dimension; of that the mean over all rows, or with a head for each step over
      those within ``Batch.lengths``, where there are any. What stands beyond counts for nothing.

    With an ``nn.Embedding`` or ``nn.Linear`` as front end and a head of ``workers.tasks.heads``
    (for ``"bernoulli"`` not ``HorizonHead``) the native engine then trains whole steps by itself.

    Attributes:
        name: For messages and the record.
        metric: What fitness is made from.
        data_sha256: Hex SHA-256 of the data; resuming on other data is refused.
    """

    name: str
    metric: Metric
    data_sha256: str

    def front_end(self, hidden_size: int) -> nn.Module:
        """A module from ``Batch.inputs`` to ``(T, B, hidden_size)``."""
        ...

    def head(self, hidden_size: int) -> nn.Module:
        """A module called as ``head(states, lengths)``, states ``(T, B, hidden_size)``."""
        ...

    def training_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Batches of the training part, without end, each with memory of its own: several are
        taken at once."""
        ...

    def scoring_batches(self, part: Literal["validation", "test"]) -> Iterator[Batch]:
        """One pass over a part, in a fixed order."""
        ...

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """The training loss, a scalar: the mean over what is predicted."""
        ...

    def score(self, prediction: Tensor, batch: Batch) -> tuple[float, int]:
        """Sum and count of the metric over the batch; the metric is the total sum / count."""
        ...


def declared_loss(task: Task) -> str | None:
    """The task's ``training_loss``, where the class that defines its ``loss`` says so itself.

    A subclass or wrapper with a loss of its own must not be trained on the one it inherited a
    name for.
    """
    if "loss" in getattr(task, "__dict__", {}):
        return None
    for owner in type(task).__mro__:
        if "loss" in vars(owner):
            declared: str | None = vars(owner).get("training_loss")
            return declared
    return None


def fitness_of(metric: float, direction: Metric) -> float:
    """The one place where a metric becomes a fitness (higher is better)."""
    return metric if direction.higher_is_better else -metric
