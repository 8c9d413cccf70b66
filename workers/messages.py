"""All that crosses a process border: plain, frozen data. No torch, no Ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FailureKind = Literal["diverged", "out_of_memory", "timed_out", "worker_lost", "error"]
Part = Literal["validation", "test"]

LARGEST = 1e150
"""A metric beyond it has diverged: squares of differences would exceed the numbers there are."""


@dataclass(frozen=True, slots=True)
class Training:
    """How every candidate of a run is trained: the ``[training]`` table of the configuration.

    Attributes:
        hidden_size: Width of the recurrent layers; tasks project their input to it.
        num_layers: Recurrent layers on top of each other.
        dropout: Probability of dropping a component between layers, at each step anew.
        input_dropout: Probability of dropping a component of what a layer reads, the same ones
            at all steps of a sequence (variational dropout).
        recurrent_dropout: The same for the earlier states, where linears read them.
        batch_size: Sequences per optimiser step.
        steps: Optimiser steps: the budget of one evaluation.
        learning_rate: Peak learning rate of Adam.
        schedule: ``cosine`` decays to zero over ``steps``; ``constant`` does not.
        clip_norm: Upper limit of the gradient norm.
        engine: Engine of the recurrent layers: ``auto``, ``native``, ``torch`` or ``reference``.
        refuse_dead: Whether a cell whose output is constant or explodes on the first batch, before
            the first step, counts as diverged and is not trained; see `workers.alive`.
    """

    hidden_size: int = 64
    num_layers: int = 1
    dropout: float = 0.0
    input_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    batch_size: int = 32
    steps: int = 400
    learning_rate: float = 3e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    clip_norm: float = 1.0
    engine: str = "auto"
    refuse_dead: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One genome to train and score once.

    Attributes:
        birth: Number of the candidate in the order of asking.
        genome: The genome as JSON (``Genome.to_json``).
        seed: Decides initial weights, order of the data and dropout.
        training: How it is trained.
        part: Which part of the data gives the metric.
        hurdles: Pairs (step, fitness to reach there), steps ascending and below the budget. The
            metric is measured at each; the training ends at the first that is not reached. None
            instead of a fitness lets pass.
        cost: What the training costs, 0 or more, in a unit that is the same for all requests of a
            pool; 0 if nobody knows. Workers share what waits by it (`workers.cohorts`); no result
            depends on it.
    """

    birth: int
    genome: str
    seed: int
    training: Training
    part: Part = "validation"
    hurdles: tuple[tuple[int, float | None], ...] = ()
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """A sign of life of a running evaluation: ``step`` of ``steps`` done at training ``loss``.

    Attributes:
        on_curve: Whether (step, loss) is a point of the curve; others come when time has passed.
    """

    birth: int
    step: int
    steps: int
    loss: float
    on_curve: bool = True


@dataclass(frozen=True, slots=True)
class Unusable:
    """Instead of a result: the process cannot evaluate any more, which may be the machine's fault.

    Attributes:
        why: What was raised, with its traceback.
    """

    why: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an evaluation has no fitness."""

    kind: FailureKind
    message: str


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a :class:`Request`: a metric and fitness, or the reason why there is none.

    Attributes:
        birth: The request's birth.
        seed: The request's seed.
        metric: The task's metric at the end of the budget, or at the hurdle where it was stopped;
            ``None`` exactly if it failed.
        fitness: Higher is better, finite; ``None`` exactly if ``failure`` is set.
        failure: Why there is no fitness.
        curve: Pairs (step, training loss), steps ascending.
        parameters: Trainable numbers of the whole model; 0 if it was never built.
        seconds: Wall-clock time on the worker, queueing excluded.
        worker: Name of the worker.
        engine: What trained the model: the engine, of the native one also the variant and whether
            it ran whole steps (``native/avx512 fused``); empty if none did.
        steps: Optimiser steps that were made; None if nobody counted them.
        rungs: Pairs (step, metric there) of the hurdles that it came to, steps ascending.
        stopped: Whether it ended at a hurdle that it did not reach.
    """

    birth: int
    seed: int
    metric: float | None
    fitness: float | None
    failure: Failure | None
    curve: tuple[tuple[int, float], ...]
    parameters: int
    seconds: float
    worker: str
    engine: str
    steps: int | None = None
    rungs: tuple[tuple[int, float], ...] = ()
    stopped: bool = False


def failed(request: Request, kind: FailureKind, message: str, **known: object) -> Result:
    """A :class:`Result` without fitness; ``known`` overrides what is known all the same."""
    fields: dict[str, object] = {
        "birth": request.birth,
        "seed": request.seed,
        "metric": None,
        "fitness": None,
        "failure": Failure(kind, message),
        "curve": (),
        "parameters": 0,
        "seconds": 0.0,
        "worker": "",
        "engine": "",
        "steps": None,
        "rungs": (),
        "stopped": False,
    }
    return Result(**(fields | known))  # type: ignore[arg-type]
