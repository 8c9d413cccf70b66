"""What ``benchmarks/engine.py`` measures besides steps: first steps, two workers, torch.compile."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from cells import cell
from contenders import (
    CLIP_NORM,
    LEARNING_RATE,
    FusedLoop,
    fused_adam_loop,
    sequence_model,
    start,
)
from eager import EagerModel
from made_text import text_task
from timing import time_in_turn

from genomes import SearchSpace, canonical, random_genome
from genomes.program import lower
from workers.fused import FusedTrainer
from workers.messages import Training
from workers.model import SequenceModel

FIRST_STEPS = 20
HIDDEN = 64
LENGTH, BATCH = 35, 16
WORKER_LENGTH, WORKER_BATCH = 70, 32
WARM_UP = 20
COMPILED = ("gru", "lstm", "nlp_d721c7ed")


@dataclass(frozen=True, slots=True)
class FirstStep:
    """Seconds until a genome never seen before has done its first step.

    Attributes:
        nodes: Nodes of its canonical form.
        genome: Canonical form, lowering, trainer and first step.
        model: Allocating the model and drawing its weights, which is torch's work.
    """

    nodes: int
    genome: float
    model: float


def first_steps(data: str | None) -> list[FirstStep]:
    """First steps of random genomes (seed 0), fused, after one warm-up genome."""
    task = text_task(LENGTH, data)
    batch = next(task.training_batches(BATCH, np.random.default_rng(0)))
    rng = np.random.default_rng(0)
    training = Training(hidden_size=HIDDEN, engine="native")
    found = []
    for _ in range(FIRST_STEPS + 1):
        drawn = random_genome(SearchSpace(), rng)
        times = [time.perf_counter()]
        genome = canonical(drawn)
        lower(genome)
        times.append(time.perf_counter())
        model = SequenceModel(genome, task, training)
        times.append(time.perf_counter())
        FusedTrainer(model, CLIP_NORM).run([batch], [LEARNING_RATE])
        times.append(time.perf_counter())
        before, built, stepped = (b - a for a, b in pairwise(times))
        found.append(FirstStep(len(genome.nodes), before + stepped, built))
    return found[1:]


def lstm_loop(data: str | None, hidden: int = HIDDEN) -> FusedLoop:
    """What each worker trains."""
    task = text_task(WORKER_LENGTH, data)
    begin = start("lstm", cell("lstm"), task, hidden, WORKER_BATCH)
    return FusedLoop(sequence_model(begin, "native"), begin.batches)


def two_threads(hidden: int, rounds: int, data: str | None) -> float:
    """How many times as fast one training is on two threads: the median over paired rounds."""
    loop = lstm_loop(data, hidden)
    steps = max(4, 4_000_000 // hidden**2 // WORKER_BATCH)
    ratios = []
    for _ in range(rounds + 1):
        seconds = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            loop.steps(1)
            started = time.perf_counter()
            loop.steps(steps)
            seconds.append(time.perf_counter() - started)
        ratios.append(seconds[0] / seconds[1])
    torch.set_num_threads(1)
    return statistics.median(ratios[1:])


def worker(seconds: float, data: str | None) -> None:
    """A worker process: say that it is ready, wait for a line, train, print steps per second."""
    loop = lstm_loop(data)
    loop.steps(WARM_UP)
    print("ready", flush=True)
    sys.stdin.readline()
    done, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        loop.steps(WARM_UP)
        done += WARM_UP
    print(done / elapsed, flush=True)


def workers_at_once(script: Path, count: int, seconds: float, data: str | None) -> float:
    """Steps per second of so many worker processes together."""
    words = [sys.executable, str(script), "--worker-seconds", str(seconds)]
    words += ["--data", data] if data is not None else []
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(count)
        ]
        for process in processes:
            _said(process)
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        return sum(float(_said(process)) for process in processes)


def _said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a worker process ended early, with exit code {process.wait()}.")
    return line


def two_workers(script: Path, seconds: float, data: str | None) -> list[tuple[float, float]]:
    """Steps per second of one worker and of two together, twice, in turn."""
    return [
        (workers_at_once(script, 1, seconds, data), workers_at_once(script, 2, seconds, data))
        for _ in range(2)
    ]


@dataclass(frozen=True, slots=True)
class Compiled:
    """The eager model under ``torch.compile``, unrolled over time, against the fused trainer.

    Attributes:
        cell: Name of the cell.
        first: Seconds of the first step, which compiles.
        step: Median seconds of a later step.
        ratio: Median ratio of a step's time to the fused trainer's.
    """

    cell: str
    first: float
    step: float
    ratio: float


def compiled(rounds: int, data: str | None) -> Iterator[Compiled]:
    """Compile and time three cells, without torch's caches: each is a genome never seen.

    The compiler is warm: it has compiled something else before.
    """
    import torch._inductor.config as inductor

    with inductor.patch(force_disable_caches=True, compile_threads=1):
        warm = torch.zeros(2, requires_grad=True)
        torch.compile(torch.sin)(warm).sum().backward()  # type: ignore[no-untyped-call]
    task = text_task(LENGTH, data)
    for name in COMPILED:
        begin = start(name, cell(name), task, HIDDEN, BATCH)
        eager = EagerModel(begin.genome, task.symbols, HIDDEN, begin.weights)
        eager.predict = torch.compile(  # type: ignore[method-assign]
            eager.predict, fullgraph=True, dynamic=False
        )
        loop = fused_adam_loop(eager, begin.batches)
        fused = FusedLoop(sequence_model(begin, "native"), begin.batches)
        with inductor.patch(force_disable_caches=True, compile_threads=1):
            started = time.perf_counter()
            loop.steps(1)
            first = time.perf_counter() - started
            timed = time_in_turn({"compiled": loop, "fused": fused}, rounds)
        yield Compiled(
            name,
            first,
            statistics.median(timed.seconds["compiled"]),
            timed.ratio("compiled", "fused"),
        )
