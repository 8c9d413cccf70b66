"""Real searches with and without rungs: the same best cell, for how many optimiser steps less?

    python benchmarks/rung_searches.py TEXT OUT [--seeds 5] [--evaluations 160]

For each seed two searches of the same configuration, one with rungs, in processes of their own
with ``--workers 0``; at the end of each its best cell is trained anew with five fresh seeds.
Searches that stand complete in ``OUT`` are not made again. Prints for each pair the metric of the
best cell (mean of the fresh trainings) and the steps made, and over all seeds the paired difference
with its 95 % interval.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from evo_nas.intervals import t_interval

FRESH = 5


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("text", type=Path, help="what the cells are trained on")
    parser.add_argument("out", type=Path, help="where the runs go")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--evaluations", type=int, default=160)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rungs", default="0.04,0.1,0.3")
    parser.add_argument("--keep", default="0.36")
    parser.add_argument("--strategy", default="regularized")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    differences, shares = [], []
    print(f"{'seed':>4} {'whole':>9} {'rungs':>9} {'difference':>10} {'steps':>7}")
    for seed in range(1, options.seeds + 1):
        whole, rungs = (searched(options, seed, with_rungs) for with_rungs in (False, True))
        shares.append(rungs["steps"] / whole["steps"])
        differences.append(rungs["metric"] - whole["metric"])
        print(
            f"{seed:>4} {whole['metric']:>9.4f} {rungs['metric']:>9.4f} "
            f"{differences[-1]:>+10.4f} {shares[-1]:>7.1%}",
            flush=True,
        )
    if options.seeds > 1:
        interval = t_interval(differences)
        print(
            f"difference {interval.mean:+.4f} ± {interval.half_width:.4f} at "
            f"{sum(shares) / len(shares):.1%} of the steps"
        )


def searched(options: argparse.Namespace, seed: int, with_rungs: bool) -> dict[str, Any]:
    """The best cell's metric over fresh trainings, and the steps of the search."""
    run = options.out / f"{'rungs' if with_rungs else 'whole'}-{seed}"
    words = ["search", "--task", "text", "--data", str(options.text), "--run", str(run)]
    words += ["--evaluations", str(options.evaluations), "--steps", str(options.steps)]
    words += ["--seed", str(seed), "--seeds", str(FRESH), "--top", "1", "--workers", "0"]
    words += ["--strategy", options.strategy]
    if with_rungs:
        words += ["--rungs", options.rungs, "--keep", options.keep]
    if (run / "run.json").exists():
        words = ["resume", str(run)]
    found = _evo_nas(*words)
    best = next(row for row in found["comparison"]["rows"] if "birth" in row["name"])
    return {"metric": best["mean"], "steps": _evo_nas("status", str(run))["steps"]}


def _evo_nas(*words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "evo_nas", *words, "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


if __name__ == "__main__":
    main()
