"""How long a training step takes: the native engine against other ways to train the same cell.

    python benchmarks/engine.py [--cells gru lstm] [--hidden 32 64] [--settings 16x35]
        [--rounds 7] [--data FILE] [--json FILE] [--parts cases first workers] [--compile]

A step is everything: embedding, cell, head, cross-entropy, backward pass, clipping, Adam, on one
thread, over batches of characters that carry their state. The contenders:

- eager: a Python loop over time with one torch call for each node (``benchmarks/eager.py``);
- torch: this project's engine ``torch``, and Adam with ``fused=True``, as for the next two;
- layer: the engine ``native`` as a layer in the same loop;
- nn: ``torch.nn.GRU`` or ``torch.nn.LSTM``, where that is the cell;
- fused: the fused trainer, which does the whole step in C++.

In float64 all of them are first checked to compute the same. Then every round times each in turn;
``eager/fused`` is the median over the rounds of the ratio of their times. ``floor`` is the time of
the multiply-adds alone, at the highest rate of matrix products that was seen in that round.
``--compile`` adds ``torch.compile`` of the eager model: minutes, and it needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from agreement import Disagreement, check
from cells import CELLS, cell
from contenders import contenders, start
from extras import compiled, first_steps, two_threads, two_workers, worker
from machine import machine_line, multiply_adds, peaks
from made_text import text_task
from report import Case, header, row, summary
from timing import time_in_turn

HIDDEN = (32, 64, 128, 256)
SETTINGS = ("16x35", "32x70")
PARTS = ("cases", "first", "workers", "threads")
WORKER_SECONDS = 4.0


def run_case(name: str, hidden: int, setting: str, rounds: int, data: str | None) -> Case:
    """Check a case, then time it."""
    batch, length = (int(part) for part in setting.split("x"))
    task = text_task(length, data)
    begin = start(name, cell(name), task, hidden, batch)
    check(begin)
    timed = time_in_turn(contenders(begin), rounds)
    floor = multiply_adds(begin.genome, hidden, task.symbols, begin.batches)
    return Case(name, hidden, batch, length, floor, timed)


def run_cases(options: argparse.Namespace) -> list[Case]:
    """All cases, a table for each hidden size, and what they come to."""
    cases = []
    for hidden in options.hidden:
        print(header(hidden), flush=True)
        for setting in options.settings:
            for name in options.cells:
                case = run_case(name, hidden, setting, options.rounds, options.data)
                cases.append(case)
                print(row(case), flush=True)
    print(summary(cases), flush=True)
    return cases


def run_first_steps(data: str | None) -> list[dict[str, Any]]:
    """First steps of random genomes, as a table."""
    found = first_steps(data)
    print("\n### First step of a genome never seen, hidden 64, 16 x 35\n")
    print("| milliseconds | median | max |\n|---|---|---|")
    for label, values in {
        "canonical form, lowering, trainer, step": [1e3 * f.genome for f in found],
        "model and its initial weights (torch)": [1e3 * f.model for f in found],
    }.items():
        print(f"| {label} | {statistics.median(values):.1f} | {max(values):.1f} |", flush=True)
    return [asdict(f) for f in found]


def run_two_workers(data: str | None) -> list[tuple[float, float]]:
    """One worker process against two at once, as a line."""
    found = two_workers(Path(__file__).resolve(), WORKER_SECONDS, data)
    print("\n### Two worker processes, lstm, hidden 64, 32 x 70\n")
    for one, two in found:
        print(f"- one: {one:.0f} steps/s, two: {two:.0f} steps/s together, {two / one:.2f} times")
    return found


def run_two_threads(rounds: int, data: str | None) -> dict[int, float]:
    """One fused training on one thread and on two, as a line for each size."""
    print("\n### One training on two threads, lstm, 32 x 70\n")
    found = {}
    for hidden in (64, 256, 512):
        found[hidden] = two_threads(hidden, rounds, data)
        print(f"- hidden {hidden}: {found[hidden]:.2f} times as fast", flush=True)
    return found


def run_compiled(rounds: int, data: str | None) -> list[dict[str, Any]]:
    """``torch.compile`` of the eager model, as a table."""
    print("\n### torch.compile of the eager model, hidden 64, 16 x 35\n")
    print("| cell | first step, s | step, ms | compiled/fused |\n|---|---|---|---|", flush=True)
    found = []
    for c in compiled(rounds, data):
        found.append(asdict(c))
        print(f"| {c.cell} | {c.first:.1f} | {1e3 * c.step:.2f} | {c.ratio:.2f} |", flush=True)
    return found


def _options() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS, metavar="CELL")
    parser.add_argument("--hidden", nargs="+", type=int, default=HIDDEN)
    parser.add_argument("--settings", nargs="+", default=SETTINGS, help="batch x length: 16x35")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--data", help="a UTF-8 text file (.gz, .xz too); else text is made up")
    parser.add_argument("--json", type=Path, help="write all times and ratios to this file")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument("--compile", action="store_true", help="torch.compile too")
    parser.add_argument("--worker-seconds", type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure what the options ask for, print it, and write it."""
    options = _options()
    torch.set_num_threads(1)
    if options.worker_seconds is not None:
        worker(options.worker_seconds, options.data)
        return
    rates = peaks()
    print(machine_line())
    print("peak: " + ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in rates.items()))
    written: dict[str, Any] = {"machine": machine_line(), "peaks": rates, "data": options.data}
    if "cases" in options.parts:
        try:
            written["cases"] = [case.to_dict() for case in run_cases(options)]
        except Disagreement as error:
            raise SystemExit(f"\n{error}") from error
    if "first" in options.parts:
        written["first_steps"] = run_first_steps(options.data)
    if "workers" in options.parts:
        written["workers"] = run_two_workers(options.data)
    if "threads" in options.parts:
        written["threads"] = run_two_threads(options.rounds, options.data)
    if options.compile:
        written["compiled"] = run_compiled(options.rounds, options.data)
    if options.json is not None:
        options.json.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
