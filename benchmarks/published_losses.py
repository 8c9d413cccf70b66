"""Our fitness beside the published one: do short trainings here rank cells as long ones there did?

    python benchmarks/published_losses.py run TABLE TEXT OUT [--steps 300 1000 ...] [--processes 2]
    python benchmarks/published_losses.py report OUT [--without CLASS_ID ...]

``TABLE`` is NAS-Bench-NLP's WikiText-2 part (jsonl, jsonl.gz: cells with their recipes and curves),
``TEXT`` a folder with WikiText-2's ``train``, ``valid`` and ``test`` (``.txt`` or ``.txt.xz``).
30 cells, one for each class of isomorphic recipes, spread evenly over the ranks of their published
final validation losses and with rnn, gru and lstm among them, are trained with `evaluate` on the
2,000 most frequent words, state carried, at several budgets. Each result is a line of
``OUT/results.jsonl``; what stands there is not trained again, so a run that was ended goes on.

The report gives Spearman's rank correlation of our validation loss with the published final one at
each budget, and where lstm stands. Cells that failed here come last in our ranking.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import math
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genomes.nas_bench_nlp import from_recipe
from workers.messages import Request, Training
from workers.tasks import load_task
from workers.tasks.base import Task
from workers.training import evaluate

REFERENCES = {1000000: "rnn", 1000001: "lstm", 1000002: "gru"}
CELLS = 30
VOCABULARY = 2000
PARTS = ("train", "valid", "test")
SEED = 1


@dataclass(frozen=True, slots=True)
class Cell:
    """A class of isomorphic recipes: its smallest id, one recipe, its mean published loss."""

    class_id: int
    genome: str
    published: float


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("table", type=Path)
    run.add_argument("text", type=Path)
    run.add_argument("out", type=Path)
    run.add_argument("--steps", type=int, nargs="+", default=[300, 1000, 3000, 8000])
    run.add_argument("--processes", type=int, default=2)
    run.add_argument("--cells", type=int, default=CELLS)
    run.add_argument("--length", type=int, default=35, help="steps of a training batch")
    for name, kind in (
        ("hidden_size", int),
        ("num_layers", int),
        ("batch_size", int),
        ("dropout", float),
        ("learning_rate", float),
        ("clip_norm", float),
        ("schedule", str),
    ):
        run.add_argument(f"--{name.replace('_', '-')}", type=kind)
    shown = commands.add_parser("report")
    shown.add_argument("out", type=Path)
    shown.add_argument("--without", type=int, nargs="+", default=[], metavar="CLASS_ID")
    options = parser.parse_args()
    if options.command == "run":
        _run(options)
    print(report(options.out, getattr(options, "without", ())))


def chosen(table: Path, count: int) -> list[Cell]:
    """``count`` cells spread evenly over the ranks of the published loss, references included."""
    opened = gzip.open if table.suffix == ".gz" else open
    with opened(table, "rt") as lines:
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    classes: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        if row["final_val_loss"] is not None:
            classes.setdefault(row["class_id"], []).append(row)
    cells = sorted(
        (
            Cell(
                class_id,
                from_recipe(members[0]["recepie"]).to_json(),
                float(np.mean([row["final_val_loss"] for row in members])),
            )
            for class_id, members in classes.items()
        ),
        key=lambda cell: cell.published,
    )
    # The references are always there; the others fill evenly spaced ranks.
    others = [cell for cell in cells if cell.class_id not in REFERENCES]
    places = np.linspace(0, len(others) - 1, count - len(REFERENCES)).round().astype(int)
    taken = [others[place] for place in places]
    return sorted(
        taken + [cell for cell in cells if cell.class_id in REFERENCES],
        key=lambda cell: cell.published,
    )


def text_task(folder: Path, length: int) -> Task:
    """WikiText-2 as a task of words, split as its three files are."""
    texts = [_text(folder, part) for part in PARTS]
    counts = [len(text.split()) + text.count("\n") for text in texts]
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "wikitext-2.txt"
        whole.write_text("".join(texts), encoding="utf-8")
        options = {"level": "word", "vocabulary": VOCABULARY, "split": counts, "length": length}
        return load_task("text", str(whole), options)


def _text(folder: Path, part: str) -> str:
    packed = folder / f"{part}.txt.xz"
    if packed.exists():
        return lzma.open(packed, "rt", encoding="utf-8").read()
    return (folder / f"{part}.txt").read_text(encoding="utf-8")


def _run(options: argparse.Namespace) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    given = {name: getattr(options, name) for name in Training.__slots__ if name in options}
    training = Training(**{k: v for k, v in given.items() if v is not None and k != "steps"})
    about = {**asdict(training), "length": options.length, "cells": options.cells}
    del about["steps"]
    written = options.out / "about.json"
    if written.exists() and json.loads(written.read_text()) != about:
        raise SystemExit(f"{options.out} was begun with other settings: {written.read_text()}")
    written.write_text(json.dumps(about))
    cells = chosen(options.table, options.cells)
    done = {(row["class_id"], row["steps"]) for row in _results(options.out)}
    todo = [
        (cell, steps)
        for steps in sorted(options.steps)
        for cell in cells
        if (cell.class_id, steps) not in done
    ]
    task = text_task(options.text, options.length)
    with (
        multiprocessing.get_context("fork").Pool(
            options.processes, _begin, (task, training)
        ) as pool,
        open(options.out / "results.jsonl", "a", encoding="utf-8") as file,
    ):
        for number, row in enumerate(pool.imap_unordered(_trained, todo), start=1):
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(f"{number}/{len(todo)}: {row}", flush=True)


_GIVEN: list[Any] = []


def _begin(task: Task, training: Training) -> None:
    torch.set_num_threads(1)
    _GIVEN[:] = [task, training]


def _trained(job: tuple[Cell, int]) -> dict[str, Any]:
    (cell, steps), (task, training) = job, _GIVEN
    fields = {name: getattr(training, name) for name in Training.__slots__}
    request = Request(0, cell.genome, SEED, Training(**{**fields, "steps": steps}))
    before = time.process_time()
    result = evaluate(request, task)
    return {
        "class_id": cell.class_id,
        "steps": steps,
        "published": cell.published,
        "metric": result.metric,
        "failure": None if result.failure is None else result.failure.kind,
        "parameters": result.parameters,
        "cpu_seconds": round(time.process_time() - before, 2),
    }


def _results(out: Path) -> Iterator[dict[str, Any]]:
    path = out / "results.jsonl"
    if path.exists():
        yield from (json.loads(line) for line in path.read_text().splitlines())


def report(out: Path, without: Sequence[int] = ()) -> str:
    """The table: rank correlation and the place of the references, at each budget.

    Args:
        out: Where the results lie.
        without: Classes to leave out.
    """
    rows = [row for row in _results(out) if row["class_id"] not in without]
    lines = [
        (out / "about.json").read_text(),
        f"{'steps':>6} {'cells':>5} {'failed':>6} {'CPU s/cell':>10} {'Spearman':>8}"
        + "".join(f" {name:>5}" for name in REFERENCES.values()),
    ]
    for steps in sorted({row["steps"] for row in rows}):
        here = [row for row in rows if row["steps"] == steps]
        ours = [math.inf if row["metric"] is None else row["metric"] for row in here]
        places = {
            row["class_id"]: 1 + sum(other < value for other in ours)
            for row, value in zip(here, ours, strict=True)
        }
        lines.append(
            f"{steps:>6} {len(here):>5} {sum(map(math.isinf, ours)):>6} "
            f"{np.mean([row['cpu_seconds'] for row in here]):>10.1f} "
            f"{spearman(ours, [row['published'] for row in here]):>8.3f}"
            + "".join(f" {places.get(number, '-'):>5}" for number in REFERENCES)
        )
    return "\n".join(lines)


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation; ties share their mean rank."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    array = np.asarray(values, dtype=np.float64)
    return np.array([(array < v).sum() + ((array == v).sum() - 1) / 2 for v in array])


if __name__ == "__main__":
    main()
