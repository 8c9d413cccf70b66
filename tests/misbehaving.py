"""Evaluators for the pool's tests; the request's genome says what one does: ``name:argument``.

Each is a generator called as ``evaluator(request, task, worker)``. At the end stand a task and
an evaluator that misbehave while a worker starts.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from workers.messages import Failure, Progress, Request, Result, Training

BEHAVIOURS: dict[str, Any] = {}

ILLEGAL_ACCESS = "CUDA error: an illegal memory access was encountered"
NO_DEVICE_MEMORY = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 15.77 GiB of "
    "which 12.06 GiB is free."
)


def _hold_the_gil() -> None:
    ctypes.PyDLL(None).sleep(1000)


def _raise_a_device_fault() -> None:
    raise RuntimeError(ILLEGAL_ACCESS)


WAYS: dict[str, Any] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
    "exit": lambda: os._exit(3),
    "exit_politely": lambda: sys.exit("enough"),
    "hang": lambda: time.sleep(1000),
    "hold_the_gil": _hold_the_gil,
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "break_the_device": _raise_a_device_fault,
}
"""How an evaluation may lose its worker."""


def behaviour(function: Any) -> Any:
    BEHAVIOURS[function.__name__] = function
    return function


def asked(genome: str, birth: int = 0, steps: int = 10) -> Request:
    """A request for a behaviour."""
    return Request(birth, genome, seed=100 + birth, training=Training(steps=steps))


def good(request: Request, engine: str = "") -> Result:
    return Result(
        request.birth, request.seed, 2.5, -2.5, None, ((1, 3.0),), 7, 0.01, "somebody", engine
    )


def noted(directory: Path) -> int:
    """Which attempt this is, from 0; the directory gets a file of its number with our pid."""
    number = len([entry for entry in directory.iterdir() if entry.name.isdigit()])
    (directory / str(number)).write_text(str(os.getpid()))
    return number


def evaluator(request: Request, task: Any, worker: str) -> Iterator[Any]:
    name, _, argument = request.genome.partition(":")
    yield from BEHAVIOURS[name](request, task, argument)


@behaviour
def behaves(request: Request, task: Any, argument: str) -> Iterator[Any]:
    for step in range(1, 4):
        yield Progress(request.birth, step, 10, 1.0 / step)
    yield good(request, str(os.getpid()))


@behaviour
def takes(request: Request, task: Any, argument: str) -> Iterator[Any]:
    """Reports every 50 ms for so many seconds."""
    end = time.monotonic() + float(argument)
    step = 0
    while time.monotonic() < end:
        step += 1
        yield Progress(request.birth, step, 10, 1.0)
        time.sleep(0.05)
    yield good(request, str(os.getpid()))


@behaviour
def floods(request: Request, task: Any, argument: str) -> Iterator[Any]:
    for step in range(200_000):
        yield Progress(request.birth, step, 200_000, 1.0)
    yield good(request)


@behaviour
def hangs_holding_the_gil(request: Request, task: Any, argument: str) -> Iterator[Any]:
    yield Progress(request.birth, 4, 10, 1.0)
    _hold_the_gil()


@behaviour
def raises(request: Request, task: Any, argument: str) -> Iterator[Any]:
    yield Progress(request.birth, 1, 10, 1.0)
    raise ValueError("the candidate has no business here")


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("carries a lock")
        self.lock = threading.Lock()


@behaviour
def raises_the_unpicklable(request: Request, task: Any, argument: str) -> Iterator[Any]:
    raise Unpicklable
    yield


@behaviour
def raises_without_end(request: Request, task: Any, argument: str) -> Iterator[Any]:
    raise ValueError("long " * 1_000_000)
    yield


@behaviour
def kills_its_process(request: Request, task: Any, argument: str) -> Iterator[Any]:
    """Notes each attempt in a directory; lives from the attempt of the given number on."""
    directory, _, lives_at = argument.partition("|")
    number = noted(Path(directory))
    if not lives_at or number < int(lives_at):
        os.kill(os.getpid(), signal.SIGKILL)
    yield good(request, str(os.getpid()))


@behaviour
def loses_workers(request: Request, task: Any, argument: str) -> Iterator[Any]:
    """So many workers, in the given ways in turn; notes each in a directory, and is fine then."""
    ways, number, directory = argument.split("|")
    attempt = noted(Path(directory))
    if attempt < int(number):
        yield Progress(request.birth, 4, 10, 1.0)
        names = ways.split(",")
        WAYS[names[attempt % len(names)]]()
    yield good(request, str(os.getpid()))


@behaviour
def takes_its_machine_down(request: Request, task: Any, argument: str) -> Iterator[Any]:
    """So many machines, by killing what is the machine to Ray; notes each in a directory.

    Waits for a file ``seen0``, ``seen1``, ...: that somebody has seen the report.
    """
    number, directory = argument.split("|")
    attempt = noted(Path(directory))
    if attempt < int(number):
        yield Progress(request.birth, 4, 10, 1.0)
        while not (Path(directory) / f"seen{attempt}").exists():
            time.sleep(0.02)
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    yield good(request, str(os.getpid()))


@behaviour
def waits_on_the_first_worker(request: Request, task: Any, argument: str) -> Iterator[Any]:
    """Until its directory has a file ``go``; notes there when it gives its result after all."""
    directory = Path(argument)
    if not noted(directory):
        while not (directory / "go").exists():
            time.sleep(0.02)
        (directory / "gives").touch()
    yield good(request, str(os.getpid()))


@behaviour
def exceeds_the_device(request: Request, task: Any, argument: str) -> Iterator[Any]:
    import torch

    yield Progress(request.birth, 1, 10, 1.0)
    raise torch.OutOfMemoryError(NO_DEVICE_MEMORY)


@behaviour
def breaks_the_device(request: Request, task: Any, argument: str) -> Iterator[Any]:
    yield Progress(request.birth, 1, 10, 1.0)
    _raise_a_device_fault()


@behaviour
def allocates_too_much(request: Request, task: Any, argument: str) -> Iterator[Any]:
    bytearray(1 << 60)
    yield good(request)


@behaviour
def allocates_step_by_step(request: Request, task: Any, argument: str) -> Iterator[Any]:
    """So many bytes, 50 MB at a time, and keeps them."""
    kept = []
    for step in range(int(argument) // 50_000_000):
        kept.append(b"x" * 50_000_000)
        yield Progress(request.birth, step, 1000, 1.0)
        time.sleep(0.02)
    time.sleep(60)
    yield good(request)


@behaviour
def gives_fitness(request: Request, task: Any, argument: str) -> Iterator[Any]:
    yield replace(good(request), fitness=float(argument))


@behaviour
def gives_metric(request: Request, task: Any, argument: str) -> Iterator[Any]:
    yield replace(good(request), metric=float(argument))


@behaviour
def gives_no_fitness(request: Request, task: Any, argument: str) -> Iterator[Any]:
    yield replace(good(request), fitness=None)


@behaviour
def gives_text_as_fitness(request: Request, task: Any, argument: str) -> Iterator[Any]:
    yield replace(good(request), fitness="high")  # type: ignore[arg-type]


@behaviour
def gives_a_pair_as_fitness(request: Request, task: Any, argument: str) -> Iterator[Any]:
    yield replace(good(request), fitness=(-2.5, 1.0))  # type: ignore[arg-type]


@behaviour
def gives_a_vector_as_fitness(request: Request, task: Any, argument: str) -> Iterator[Any]:
    import numpy

    yield replace(good(request), fitness=numpy.array([-2.5, 1.0]))  # type: ignore[arg-type]


@behaviour
def gives_a_dictionary(request: Request, task: Any, argument: str) -> Iterator[Any]:
    yield {"fitness": 1.0}


@behaviour
def gives_nothing(request: Request, task: Any, argument: str) -> Iterator[Any]:
    yield from ()


@behaviour
def gives_another_birth(request: Request, task: Any, argument: str) -> Iterator[Any]:
    yield replace(good(request), birth=request.birth + 1)


@behaviour
def gives_fitness_and_failure(request: Request, task: Any, argument: str) -> Iterator[Any]:
    yield replace(good(request), failure=Failure("error", "but it worked"))


@behaviour
def gives_an_unknown_failure(request: Request, task: Any, argument: str) -> Iterator[Any]:
    failure = Failure("bored", "no more")  # type: ignore[arg-type]
    yield replace(good(request), metric=None, fitness=None, failure=failure)


@behaviour
def gives_an_unpicklable_curve(request: Request, task: Any, argument: str) -> Iterator[Any]:
    yield replace(good(request), curve=((1, threading.Lock()),))  # type: ignore[arg-type]


@behaviour
def gives_two_results(request: Request, task: Any, argument: str) -> Iterator[Any]:
    yield good(request)
    yield good(request)


@behaviour
def says_where_it_is(request: Request, task: Any, argument: str) -> Iterator[Any]:
    import torch

    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    seen = [f"{name}={os.environ.get(name)}" for name in names]
    yield good(request, " ".join([*seen, f"threads={torch.get_num_threads()}"]))


@behaviour
def uses_its_task(request: Request, task: Any, argument: str) -> Iterator[Any]:
    yield good(request, task.name)


@behaviour
def is_interrupted_once(request: Request, task: Any, argument: str) -> Iterator[Any]:
    marker = Path(argument)
    yield Progress(request.birth, 1, 10, math.pi)
    if not marker.exists():
        marker.touch()
        raise KeyboardInterrupt
    yield good(request)


class HangsOnArrival:
    """A task that hangs the first process to unpack it; a directory gets the number and pid."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __reduce__(self) -> Any:
        return _arrived, (self.directory,)


def _arrived(directory: Path) -> HangsOnArrival:
    if not noted(directory):
        time.sleep(1000)
    return HangsOnArrival(directory)


def __getattr__(name: str) -> Any:
    # Looking up this evaluator ends a worker, but not the test.
    if name == "deadly" and "default_worker" in sys.argv[0]:
        os._exit(4)
    raise AttributeError(name)
