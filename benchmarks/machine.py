"""What the machine can do: its name, its matrix peak, and the floor under a training step."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import torch

import workers.engine.native as native
from genomes.genome import Genome
from genomes.program import lower
from workers.engine import engine_label
from workers.tasks.base import Batch

SQUARES = ((512, 4), (1024, 2))
"""Sides of the matrices that torch multiplies for the peak, and how often."""
PRODUCTS = 3
"""Of each matrix product: forward, gradient of the value, gradient of the weight."""


def machine_line() -> str:
    """Processor, cores, torch, variant of the native engine, day."""
    parts = [
        _processor(),
        f"{os.cpu_count()} cores",
        f"torch {torch.__version__}",
        f"engine {engine_label('native')}",
        f"{torch.get_num_threads()} thread",
        date.today().isoformat(),
    ]
    return ", ".join(parts)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peaks() -> dict[str, float]:
    """GFLOP/s of float32 products on one thread, by name: torch's, and the engine's own kernel."""
    found = {f"torch.mm {side}": _square(side, times) for side, times in SQUARES}
    found["native"] = native.peak()
    return found


def _square(side: int, times: int) -> float:
    a, b = torch.randn(side, side), torch.randn(side, side)
    out = torch.mm(a, b)
    best = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        torch.mm(a, b, out=out)
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best / 1e9


def multiply_adds(
    genome: Genome, hidden_size: int, symbols: int, batches: Sequence[Batch]
) -> float:
    """The multiply-adds that a training step cannot do without, a mean over the batches.

    Products with a value that depends on x alone are needed once for each different symbol of
    the batch, all others and the head once for each symbol.
    """
    tokens = sum(batch.inputs.numel() for batch in batches) / len(batches)
    different = sum(len(torch.unique(batch.inputs)) for batch in batches) / len(batches)
    rows = 0.0
    for group in lower(genome).groups:
        rows += (different if group.static else tokens) * len(group.members)
    return PRODUCTS * hidden_size * (rows * hidden_size + tokens * symbols)
