"""One visible training loop: a request goes in, a result comes out."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from genomes.canonical import canonical
from genomes.cost import recurrent_parameters
from genomes.genome import Genome
from workers.alive import first_batch, why_dead
from workers.device_faults import is_out_of_memory
from workers.engine import engine_for, engine_label
from workers.engine.native.memory import BUFFERS
from workers.form import fused_form
from workers.fused import FusedTrainer
from workers.hurdles import Rung, check_hurdles, rung_at
from workers.messages import Progress, Request, Result, Training, failed
from workers.model import SequenceModel
from workers.scoring import (
    Diverged,
    device,
    measure,
    measured,
    on_device,
    refuse_broken_weights,
)
from workers.tasks.base import Batch, Task, fitness_of

REPORTS = 20
"""How many times a training reports its loss; also the points of the recorded curve."""

SIGN_SECONDS = 10.0
"""After so long without a report a training shows that it goes on, as soon as it can."""

CHUNK = 16
"""Most optimiser steps between two looks at the loss: what the fused path runs in one call."""

OnProgress = Callable[[Progress], None]


def evaluate(
    request: Request,
    task: Task,
    on_progress: OnProgress | None = None,
    worker: str = "",
) -> Result:
    """Train a genome and score it: an ordinary, deterministic function of its arguments.

    The same genome, task, budget, seed and engine give the same bits on the same machine type
    (``seconds`` aside). Fitness comes from the metric at the end of the budget, or at the hurdle
    where the training was stopped. Hurdles that are passed change nothing.

    Args:
        request: What to train, and how.
        task: The data, front end, head and metric.
        on_progress: Called about every twentieth of the budget, and as a sign of life every ten
            seconds; may raise to stop.
        worker: Name that goes into the result.

    Returns:
        A result; ``diverged`` if loss or metric became non-finite, ``out_of_memory`` if
        memory did not suffice or would not have. Every other exception is the caller's.
    """
    for item in evaluation(request, task, worker):
        if isinstance(item, Result):
            return item
        if on_progress is not None:
            on_progress(item)
    raise AssertionError("an evaluation ends with its result")


def evaluation(request: Request, task: Task, worker: str = "") -> Iterator[Progress | Result]:
    """``evaluate`` step by step: progress about every twentieth of the budget, then the result.

    Where that takes long there are signs of life in between (`Progress.on_curve` is False), also
    while the metric is measured. The clock decides on them, and on nothing else.
    """
    started = time.perf_counter()
    check_hurdles(request.hurdles, request.training.steps)
    curve: list[tuple[int, float]] = []
    rungs: list[Rung] = []
    parameters = 0
    trainer: Trainer | None = None

    def known() -> dict[str, object]:
        return {
            "curve": tuple(curve),
            "parameters": parameters,
            "seconds": time.perf_counter() - started,
            "worker": worker,
            "engine": "" if trainer is None else trainer.label,
            "steps": 0 if trainer is None else trainer.done,
            "rungs": tuple((rung.step, rung.metric) for rung in rungs),
        }

    # fork_rng leaves the caller's generators as they were, whatever is drawn in here.
    with torch.random.fork_rng():
        try:
            model = build(request, task)
            parameters = model.parameters_total
            if request.training.refuse_dead:
                _refuse_dead(model, task, request)
            trainer = trainer_for(model, task, request.training)
            course = _course(trainer, task, request, rungs)
            metric = yield from _shown(course, trainer, request, curve)
        except Diverged as error:
            yield failed(request, "diverged", str(error), **known())
            return
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            yield failed(request, "out_of_memory", str(error)[:500], **known())
            return
    fitness = fitness_of(metric, task.metric)
    yield Result(
        birth=request.birth,
        seed=request.seed,
        metric=metric,
        fitness=fitness,
        failure=None,
        stopped=_is_stopped(rungs),
        **known(),  # type: ignore[arg-type]
    )


def _course(
    trainer: Trainer, task: Task, request: Request, rungs: list[Rung]
) -> Generator[Progress | None, None, float]:
    """Train and measure: the metric. Yields progress, and None after what else takes time."""
    for item in train(trainer, task, request):
        if isinstance(item, Rung):
            rungs.append(item)
        else:
            yield item
    if _is_stopped(rungs):
        return rungs[-1].metric
    return (yield from measured(trainer.model, task, request.part))


def _is_stopped(rungs: Sequence[Rung]) -> bool:
    return bool(rungs) and not rungs[-1].passed


def _shown(
    course: Generator[Progress | None, None, float],
    trainer: Trainer,
    request: Request,
    curve: list[tuple[int, float]],
) -> Generator[Progress, None, float]:
    """A course with its progress, which becomes the curve, and signs of life by the clock."""
    last = Progress(request.birth, 0, request.training.steps, math.nan)
    shown = time.perf_counter()
    while True:
        try:
            item = next(course)
        except StopIteration as end:
            return float(end.value)
        if item is not None:
            curve.append((item.step, item.loss))
            last = item
        elif time.perf_counter() - shown >= SIGN_SECONDS:
            item = replace(last, step=trainer.done, on_curve=False)
        else:
            continue
        # Whoever reads the progress may draw random numbers; they must not be ours.
        own = torch.random.get_rng_state()
        yield item
        torch.random.set_rng_state(own)
        shown = time.perf_counter()


def build(request: Request, task: Task) -> SequenceModel:
    """The untrained model of a request. Seeds torch's generators, which dropout draws from too.

    Raises:
        NotEnoughMemory: If the recurrent layers could not be trained in the memory there is.
    """
    genome, training = Genome.from_json(request.genome), request.training
    numbers = recurrent_parameters(canonical(genome), training.hidden_size, training.num_layers)
    # Weights, gradients and Adam's two moments. Asked before they are made: the kernel would
    # promise the memory and end some process when it is written to.
    BUFFERS.check(
        numbers * (16 if device().type == "cpu" else 4),
        f"training {numbers:,} recurrent parameters",
    )
    torch.manual_seed(request.seed)
    return SequenceModel(genome, task, training).to(device())


def trained(request: Request, task: Task, threads: int = 1) -> tuple[SequenceModel, float]:
    """The trained model of a request and its metric, with one thread the bits of ``evaluate``.

    Args:
        request: What to train, and how.
        task: The data, front end, head and metric.
        threads: Of the training, for one that is large and alone on its machine. The fused path
            gives the same bits for any number.

    Raises:
        Diverged: If loss or metric is not finite.
    """
    with torch.random.fork_rng():
        model = build(request, task)
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            for _ in train(trainer_for(model, task, request.training), task, request):
                pass
        finally:
            torch.set_num_threads(before)
        return model, measure(model, task, request.part)


class Trainer(Protocol):
    """Makes optimiser steps on a model.

    Attributes:
        model: What is trained, in place.
        label: What the record says about how.
        done: Steps made so far.
    """

    model: SequenceModel
    label: str
    done: int

    def run(self, batches: Sequence[Batch], rates: Sequence[float]) -> list[float]:
        """One step for each batch at its learning rate; the losses, up to and including the first
        that is not a finite number."""
        ...

    def release(self) -> None:
        """End the training, so that the model is as if nothing had trained it but torch."""
        ...


class TorchTrainer:
    """Trains any model for any task, with torch's autograd around the recurrent layers."""

    def __init__(self, model: SequenceModel, task: Task, clip_norm: float) -> None:
        self.model, self.task, self.clip_norm = model, task, clip_norm
        self.parameters = list(model.parameters())
        self.optimiser = torch.optim.Adam(self.parameters, fused=True)
        layer = model.recurrent.recurrent_layers()[0]
        self.label = engine_label(
            engine_for(layer.engine, layer.weights.device, layer.weights.dtype)
        )
        self.state: Tensor | None = None
        self.done = 0

    def run(self, batches: Sequence[Batch], rates: Sequence[float]) -> list[float]:
        """See :class:`Trainer`."""
        losses: list[float] = []
        for batch, rate in zip(batches, rates, strict=True):
            losses.append(self._step(on_device(batch), rate))
            if not math.isfinite(losses[-1]):
                break
        return losses

    def release(self) -> None:
        """See :class:`Trainer`."""

    def _step(self, batch: Batch, rate: float) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        prediction, final = self.model(batch, self.state if batch.carry_state else None)
        loss = self.task.loss(prediction, batch)
        value = loss.item()
        if not math.isfinite(value):
            return value
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        self.optimiser.step()
        self.done += 1
        # Truncated back-propagation: the next batch may go on from here, its gradient not.
        self.state = final.detach()
        return value


def trainer_for(model: SequenceModel, task: Task, training: Training) -> Trainer:
    """The fused path if model and task fit it, else torch's; a function of the request and of
    what this machine has."""
    if fused_form(model) is not None:
        return FusedTrainer(model, training.clip_norm)
    return TorchTrainer(model, task, training.clip_norm)


def train(trainer: Trainer, task: Task, request: Request) -> Iterator[Progress | Rung | None]:
    """Train for the request's number of optimiser steps, reporting the mean loss, or up to the
    first hurdle that is not reached. Learning rates are those of the whole budget.

    Yields None after other steps, and after each batch that is scored at a hurdle.

    Raises:
        Diverged: If the loss, or the metric at a hurdle, is not finite, naming the step.
    """
    training, hurdles = request.training, dict(request.hurdles)
    batches = task.training_batches(training.batch_size, np.random.default_rng(request.seed))
    trainer.model.train()
    losses: list[float] = []
    for first, last, reports in chunks(training.steps, hurdles):
        rates = [learning_rate(training, step) for step in range(first, last)]
        chunk = list(itertools.islice(batches, last - first))
        if len(chunk) < last - first:
            raise ValueError(
                f"task {task.name!r}: training_batches ended after {first + len(chunk)} of "
                f"{training.steps} steps; it must go on without end."
            )
        new = trainer.run(chunk, rates)
        if not math.isfinite(new[-1]):
            step = first + len(new)
            raise Diverged(f"the training loss is {new[-1]} at step {step} of {training.steps}")
        losses += new
        if reports or last in hurdles:
            mean = math.fsum(losses) / len(losses)
            report = Progress(request.birth, last, training.steps, mean)
        if reports:
            yield report
            losses = []
        else:
            yield None
        if last in hurdles:
            rung = yield from rung_at(trainer.model, task, request, last)
            if not rung.passed and not reports:
                yield report
            yield rung
            if not rung.passed:
                break
    else:
        refuse_broken_weights(trainer.model, f"{training.steps}, the last")
    trainer.release()


def _refuse_dead(model: SequenceModel, task: Task, request: Request) -> None:
    reason = why_dead(model, on_device(first_batch(request, task)))
    if reason is not None:
        raise Diverged(f"dead before the first step: {reason}. It was not trained")


def chunks(steps: int, stops: Collection[int] = ()) -> Iterator[tuple[int, int, bool]]:
    """Steps [first, last) to run together, and whether a report is due after them.

    Args:
        steps: The budget.
        stops: Steps after which something else is due, so that a chunk ends there.
    """
    # A report is due at the first step by which so much is done.
    due = {-(-report * steps // REPORTS) for report in range(1, REPORTS + 1)}
    first = 0
    for end in sorted(due.union(stops)):
        while first < end:
            last = min(first + CHUNK, end)
            yield first, last, last in due
            first = last


def learning_rate(training: Training, step: int) -> float:
    """The rate of step 0, 1, ...: constant, or half a cosine down to zero."""
    if training.schedule == "constant":
        return training.learning_rate
    return training.learning_rate * 0.5 * (1 + math.cos(math.pi * step / training.steps))
