"""How long the commands that only read take on a run of many births, Python's start included.

    python benchmarks/readers.py [--births 1000] [--rounds 7]

The run is made up (fitness is drawn, nothing is trained), its genomes, mutations and files are
real: one segment for each result, the worst case of a search on one worker. Each round times a
bare ``python -c pass`` too, so that the ratio holds when the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from evo_nas import __version__
from evo_nas.config import to_dict
from evo_nas.config_tables import BudgetConfig, SearchConfig
from evo_nas.events import Told
from evo_nas.record import Header, create_run, now
from evo_nas.strategies import make_strategy


def make_run(directory: Path, births: int) -> int:
    """Write a run of so many births; returns a birth of the last generation."""
    config = replace(SearchConfig(), budget=BudgetConfig(evaluations=births))
    strategy = make_strategy(config)
    rng = np.random.default_rng(0)
    header = Header(to_dict(config), "text", "0" * 64, "loss", "nats", False, __version__, now())
    deepest = (0, 0)
    with create_run(directory, header) as record:
        for birth in range(births):
            asked = strategy.ask()
            strategy.note(asked)
            metric = float(2 + rng.random() / (1 + asked.generation))
            curve = tuple((step, metric + 1 / step) for step in range(20, 401, 20))
            told = Told(
                birth, "ok", metric, -metric, "", curve, 30_000, 5.0, "worker-1", "torch", 0.0
            )
            record.append([asked, told])
            strategy.tell(told)
            deepest = max(deepest, (asked.generation, birth))
    return deepest[1]


def seconds(words: list[str]) -> float:
    """Wall-clock seconds of a process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Make the run, time the commands, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--births", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        birth = make_run(run, options.births)
        commands = {
            "lineage --birth": ["lineage", str(run), "--birth", str(birth)],
            "lineage --mutations": ["lineage", str(run), "--mutations"],
            "lineage --best 10": ["lineage", str(run), "--best", "10"],
            "status": ["status", str(run)],
        }
        times: dict[str, list[float]] = {name: [] for name in ["python -c pass", *commands]}
        for _ in range(options.rounds):
            times["python -c pass"].append(seconds(["-c", "pass"]))
            for name, words in commands.items():
                times[name].append(seconds(["-m", "evo_nas", *words]))
    print(f"{options.births} births, {options.rounds} rounds, seconds of a whole process")
    print(f"{'command':<20} {'min':>6} {'median':>7} {'max':>6} {'/ bare python':>14}")
    bare = times["python -c pass"]
    for name, measured in times.items():
        ratio = statistics.median(m / b for m, b in zip(measured, bare, strict=True))
        print(
            f"{name:<20} {min(measured):>6.2f} {statistics.median(measured):>7.2f} "
            f"{max(measured):>6.2f} {ratio:>14.1f}"
        )


if __name__ == "__main__":
    main()
