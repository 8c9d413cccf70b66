"""Would the check for dead cells kill cells that train well?

    python benchmarks/dead_cells.py N TEXT [--steps 400] [--out FILE] [--hidden-size 64]

Trains N random cells on a text, each whole, and asks `workers.alive.why_dead` beforehand what it
thinks of them. Prints the share that it would have killed, and how many of these were false kills:
trained to a better validation loss than the median of all that did not fail. With ``--out`` each
result is a line of a file, and what stands there is not trained again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genomes import SearchSpace, random_genome
from workers.alive import first_batch, why_dead
from workers.messages import Request, Training
from workers.scoring import on_device
from workers.tasks import load_task
from workers.tasks.base import Task
from workers.training import build, evaluate


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cells", type=int)
    parser.add_argument("text", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--hidden-size", type=int, default=64)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = load_task("text", str(options.text), {})
    training = replace(Training(), steps=options.steps, hidden_size=options.hidden_size)
    rows = _known(options.out)
    for seed in range(options.cells):
        if seed not in rows:
            rows[seed] = judged(seed, task, training)
            if options.out is not None:
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[seed]) + "\n")
    report([rows[seed] for seed in range(options.cells)])


def judged(seed: int, task: Task, training: Training) -> dict[str, Any]:
    """What the check says of a random cell, how long it took, and what came of the training."""
    genome = random_genome(SearchSpace(), np.random.default_rng(seed))
    request = Request(seed, genome.to_json(), seed, training)
    with torch.random.fork_rng():
        model = build(request, task)
        start = time.perf_counter()
        reason = why_dead(model, on_device(first_batch(request, task)))
        seconds = time.perf_counter() - start
    result = evaluate(request, task)
    return {
        "seed": seed,
        "reason": reason,
        "check_seconds": seconds,
        "seconds": result.seconds,
        "failure": None if result.failure is None else result.failure.kind,
        "steps": result.steps,
        "loss": result.metric,
    }


def report(rows: list[dict[str, Any]]) -> None:
    """The figures."""
    losses = [row["loss"] for row in rows if row["loss"] is not None]
    median = statistics.median(losses)
    killed = [row for row in rows if row["reason"] is not None]
    spared = [row for row in rows if row["reason"] is None]
    false = [row for row in killed if row["loss"] is not None and row["loss"] < median]
    print(f"{len(rows)} random cells, {len(rows) - len(losses)} failed, median loss {median:.3f}")
    print(f"killed: {len(killed)} ({len(killed) / len(rows):.1%})")
    print(f"  of these failed in training: {dict(Counter(r['failure'] for r in killed))}")
    print(f"  false kills, better than the median: {len(false)}")
    trained = sorted(row["loss"] for row in killed if row["loss"] is not None)
    ranks = [sum(loss < one for loss in losses) + 1 for one in trained]
    print(f"  ranks of those that were trained, of {len(losses)}: {ranks}")
    print(f"spared: {dict(Counter(row['failure'] for row in spared))}")
    saved = sum(row["seconds"] for row in killed)
    total = sum(row["seconds"] for row in rows)
    check = sum(row["check_seconds"] for row in rows)
    print(f"seconds: {total:.0f} in all, {saved:.0f} of them for those killed, check {check:.1f}")
    for kind in ("the same", "largest"):
        mine = [row for row in killed if kind in row["reason"]]
        best = min((row["loss"] for row in mine if row["loss"] is not None), default=None)
        print(f"  {kind!r}: {len(mine)}, best loss {best}")


def _known(path: Path | None) -> dict[int, dict[str, Any]]:
    if path is None or not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row["seed"]: row for row in rows}


if __name__ == "__main__":
    main()
