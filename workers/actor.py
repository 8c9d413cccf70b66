"""The process that evaluates: a thin shell round an evaluator, made an actor by the pool."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from workers.evaluator import evaluated_in_turn, load_evaluator, tail
from workers.messages import Progress, Request, Result, Unusable

REPORT_SECONDS = 0.2
"""Least time between two progress reports: a chatty evaluator must not flood the manager."""


@dataclass(frozen=True, slots=True)
class Started:
    """What a worker says of itself when it is ready, or why it will never be.

    Attributes:
        name: For example ``worker-3@host``.
        error: Why it cannot evaluate; empty if it can.
        node: The machine it is on, by Ray's identifier.
    """

    name: str
    error: str = ""
    node: str = ""


class Worker:
    """Evaluates the requests of a cohort, one after the other."""

    def __init__(self, number: int) -> None:
        self._name = f"worker-{number}@{socket.gethostname()}"

    def start(self, evaluator: str, task: Sequence[Any], needs_gpu: bool) -> Started:
        """Load the evaluator and the task.

        Errors are returned, not raised, because Ray would wrap them in texts of its own.

        Args:
            evaluator: The evaluator as ``package.module:function``.
            task: One reference to the task. It is wrapped so that Ray does not fetch it, and
                import what it needs, before the evaluator's module has been imported.
            needs_gpu: Whether to refuse to evaluate without a GPU.
        """
        node = ray.get_runtime_context().get_node_id()
        try:
            self._evaluator = load_evaluator(evaluator)
            self._task = ray.get(task[0])
            _one_thread()
            if needs_gpu:
                _check_gpu()
        except Exception as error:
            return Started(self._name, tail(error), node)
        return Started(self._name, node=node)

    def evaluations(self, *cohort: Request) -> Iterator[Progress | Result | Unusable]:
        """Evaluate requests: of each any number of progress reports, then the result.

        After an ``Unusable`` in place of a result nothing more comes: this worker wants to be
        replaced.
        """
        last = 0.0
        for item in evaluated_in_turn(self._evaluator, cohort, self._task, self._name):
            if not isinstance(item, Progress) or time.monotonic() - last >= REPORT_SECONDS:
                last = time.monotonic()
                yield item


def _one_thread() -> None:
    # Two threads per worker on a busy machine collapse. Where torch comes later,
    # OMP_NUM_THREADS has the same effect.
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def _check_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError(
            "Ray gave this worker a share of a GPU, but this torch cannot use one. Install a "
            "torch built for it, or hide the GPUs from Ray with CUDA_VISIBLE_DEVICES= (empty)."
        )
    # A GPU that is out of order must not be found by a candidate: it would fail them all.
    torch.ones(1, device="cuda").sum().item()
