"""What happens in a search, as plain frozen data: a candidate was asked for, a result was told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from workers.messages import FailureKind

MESSAGE_CHARACTERS = 2000
"""Longer messages lose their middle: the start says what failed, the end of a traceback why."""

Status = Literal["ok", "stopped"] | FailureKind
SCORED = ("ok", "stopped")
"""Statuses with a metric and a fitness: at the end of the budget, and at the rung reached."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A candidate the search asked for.

    Attributes:
        birth: Number in the order of asking, from 0.
        parent: Birth of the parent; None exactly in generation 0.
        generation: Number of ancestors.
        mutation: JSON-plain, ``{"operator": name, ...}``; in generation 0
            ``{"operator": "published", "name": "gru"}`` or ``{"operator": "random"}``.
        genome: The genome as JSON.
        digest: Hex digest of its canonical form.
        seed: Seed of the evaluation, 0 to 2**64 - 1.
        hidden_size: Width it is trained at.
        recurrent_parameters: Parameters of its recurrent layers at that width.
        duplicates: Draws thrown away before this one because their digest was known.
        budget: Optimiser steps it is trained for.
        learning_rate: Peak learning rate; None for the one the run is configured with.
        hurdles: Pairs (step, fitness to reach there), steps ascending and below the budget; the
            training ends at the first that is not reached. None instead of a fitness lets pass.
    """

    birth: int
    parent: int | None
    generation: int
    mutation: dict[str, Any]
    genome: str
    digest: str
    seed: int
    hidden_size: int
    recurrent_parameters: int
    duplicates: int
    budget: int
    learning_rate: float | None = None
    hurdles: tuple[tuple[int, float | None], ...] = ()

    @property
    def operator(self) -> str:
        """Name of the mutation operator (or ``published``, ``random``)."""
        return str(self.mutation["operator"])


@dataclass(frozen=True, slots=True)
class Told:
    """What came of the candidate ``birth``.

    Attributes:
        status: ``ok``, ``stopped`` at a hurdle, or the kind of the failure.
        metric: The task's metric at the last step that was made; None exactly if it failed.
        fitness: Higher is better, finite; None exactly if it failed.
        message: Why it failed; at most `MESSAGE_CHARACTERS` characters are kept.
        curve: Pairs (step, training loss).
        parameters: Trainable numbers of the whole model.
        seconds: Wall-clock time on the worker.
        worker: Name of the worker.
        engine: Engine that ran the recurrent layers.
        finished: When the manager received it, in seconds since 1970 (UTC).
        elapsed: Seconds of search by then, pauses between sessions of the run excluded.
        steps: Optimiser steps that were made; None in runs of formats 1 and 2.
        rungs: Pairs (step, metric there) of the hurdles that it came to, steps ascending.

    Raises:
        ValueError: If a success comes without finite metric and fitness, or a failure with one.
    """

    birth: int
    status: Status
    metric: float | None
    fitness: float | None
    message: str
    curve: tuple[tuple[int, float], ...]
    parameters: int
    seconds: float
    worker: str
    engine: str
    finished: float
    elapsed: float = 0.0
    steps: int | None = None
    rungs: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        scores = (self.metric, self.fitness)
        scored = self.status in SCORED
        if scored and not all(s is not None and math.isfinite(s) for s in scores):
            raise ValueError(
                f"birth {self.birth} is told as {self.status} with metric {self.metric} and "
                f"fitness {self.fitness}; both must be finite. Tell it as a failure."
            )
        if not scored and scores != (None, None):
            raise ValueError(
                f"birth {self.birth} is told as {self.status}, so it has no metric and no fitness."
            )
        if len(self.message) > MESSAGE_CHARACTERS or not self.message.isascii():
            object.__setattr__(self, "message", _bounded(self.message))

    def steps_of(self, budget: int) -> int:
        """Optimiser steps that were made of a budget: all, where nobody wrote them down."""
        return budget if self.steps is None else self.steps

    @property
    def rung_fitness(self) -> tuple[tuple[int, float], ...]:
        """Pairs (step, fitness there) of the rungs; nothing if it failed.

        A fitness is the metric or its negative; which of both, metric and fitness of the event
        itself say, by their sign bits even where they are zero.
        """
        if self.metric is None or self.fitness is None:
            return ()
        same = math.copysign(1.0, self.metric) == math.copysign(1.0, self.fitness)
        return tuple((step, metric if same else -metric) for step, metric in self.rungs)


Event = Asked | Told


def _bounded(message: str) -> str:
    # A traceback may quote undecodable file names; lone surrogates do not fit into UTF-8.
    text = message.encode("utf-8", "replace").decode("utf-8")
    if len(text) <= MESSAGE_CHARACTERS:
        return text
    cut = "\n[...]\n"
    end = MESSAGE_CHARACTERS * 3 // 4
    return text[: MESSAGE_CHARACTERS - end - len(cut)] + cut + text[-end:]
