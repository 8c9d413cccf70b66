"""Does weight inheritance pay? Children of a recorded run, trained with and without it.

    python benchmarks/inheritance.py RUN [--pairs N] [--seeds 5] [--data FILE] [--out FILE]

Takes children of mutations, evenly spread over the births, whose parents are other cells and which
were, like these, scored at the full budget. Each child is trained with the budget of the run

- *scratch*: as a search does;
- *edges*: with the matrices of its parent where both have the edge (`inherited_weights.py`);
- *edges + ends*: with the parent's embedding (or projection) and head as well;
- *scratch 2x*: from scratch with twice the steps, the control: so many steps stand behind an
  inherited weight too, and only the parent's were paid for already;

and, with other seeds, *4x*: from scratch with four times the steps, the truth that a search would
like to know. Seed s of a child is the same for all of its trainings, for the initial weights and
the order of the data; its parent, as in a search, has another. The rate falls along a cosine that
begins anew for the child. Cells that fail rank last.

Each training is a line of ``--out``; what stands there is not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from inheritance_table import FROM_PARENT, PARENT, STEPS, TRUTH, Trained, table_of
from inherited_weights import inherit, shared_weights

from evo_nas.births import Births, read_births
from evo_nas.columns import NONE
from evo_nas.record.header import Header
from evo_nas.sessions import last_config
from evo_nas.setting import load_same_data
from genomes import Genome, canonical
from genomes.program import layout, lower
from workers.messages import Request, Training
from workers.model import SequenceModel
from workers.scoring import Diverged, measure
from workers.tasks.base import Task, fitness_of
from workers.training import build, train, trainer_for

PARENT_SEEDS, TRUTH_SEEDS = 1000, 2000
"""Added to the seed of the child."""

Key = tuple[int, str, int]
"""Birth, kind and seed of a training."""
Outcome = tuple[SequenceModel | None, float | None]
"""A trained model and its fitness; neither if the training failed."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A child of the run and its parent.

    Attributes:
        birth: The child's.
        child: Its genome as JSON; ``parent`` likewise.
        training: How both are trained.
    """

    birth: int
    child: str
    parent: str
    training: Training


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", help="a run directory")
    parser.add_argument("--pairs", type=int, default=20, help="how many children")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each kind")
    parser.add_argument("--data", help="where the data lie now, if not where they lay")
    parser.add_argument("--out", type=Path, help="default: inheritance-RUN.jsonl")
    options = parser.parse_args()
    torch.set_num_threads(1)
    header, births, _ = read_births(options.run)
    config = last_config(options.run, header)
    if options.data is not None:
        config = replace(config, task=replace(config.task, data=options.data))
    task = load_same_data(config, header)
    pairs = pairs_of(births, config.training, options.pairs)
    out = options.out or Path(f"inheritance-{Path(options.run).resolve().name}.jsonl")
    known = read_results(out, identity(header, config.training))
    with out.open("a", encoding="utf-8") as file:
        for row in trainings(pairs, range(options.seeds), task, known.keys()):
            print(json.dumps(asdict(row)), file=file, flush=True)
            known[row.key] = row
    births_used = {pair.birth for pair in pairs}
    rows = [r for r in known.values() if r.birth in births_used and r.seed < options.seeds]
    shares = [share_inherited(pair) for pair in pairs]
    print(f"{len(pairs)} children, {options.seeds} seeds, {config.training.steps} steps")
    print(
        f"of their recurrent weights inherited: {np.mean(shares):.0%}, at least {min(shares):.0%}"
    )
    print(f"\n{table_of(rows, not task.metric.higher_is_better)}")


def pairs_of(births: Births, training: Training, count: int) -> list[Pair]:
    """Children evenly spread over the births that will do.

    Raises:
        SystemExit: If there are fewer.
    """
    full = births.scored & (births.own_steps == births.budget)
    good = full & (births.parent != NONE)
    good &= full[births.parent] & (births.cell != births.cell[births.parent])
    good &= births.hidden_size == births.hidden_size[births.parent]
    rows = np.flatnonzero(good)
    if len(rows) < count:
        raise SystemExit(
            f"the run has {len(rows)} pairs of child and parent. Give --pairs so many."
        )
    chosen = rows[np.linspace(0, len(rows) - 1, count).round().astype(int)]
    children, parents = births.details(chosen), births.details(births.parent[chosen])
    return [
        Pair(
            int(births.birth[row]),
            child.genome,
            parent.genome,
            replace(
                training, hidden_size=int(births.hidden_size[row]), steps=int(births.budget[row])
            ),
        )
        for row, child, parent in zip(chosen, children, parents, strict=True)
    ]


def trainings(
    pairs: Sequence[Pair], seeds: Sequence[int], task: Task, known: Container[Key]
) -> Iterator[Trained]:
    """All trainings that are not known yet; parents are trained again where a child needs them."""
    parents: dict[tuple[str, int], Outcome] = {}
    for pair in pairs:
        for seed in seeds:
            missing = [kind for kind in STEPS if (pair.birth, kind, seed) not in known]
            parent: Outcome = None, None
            if {PARENT, *FROM_PARENT} & set(missing):
                key = pair.parent, seed
                if key not in parents:
                    other = seed + PARENT_SEEDS
                    request = Request(pair.birth, pair.parent, other, pair.training)
                    parents[key] = outcome(request, task)
                parent = parents[key]
            for kind in missing:
                own = parent if kind == PARENT else trained_as(kind, pair, seed, task, parent[0])
                yield Trained(pair.birth, kind, seed, own[1])


def trained_as(
    kind: str, pair: Pair, seed: int, task: Task, parent: SequenceModel | None
) -> Outcome:
    """What comes of a child after one kind of training; nothing if its parent failed."""
    training = replace(pair.training, steps=pair.training.steps * STEPS[kind])
    own = seed + TRUTH_SEEDS if kind == TRUTH else seed
    request = Request(pair.birth, pair.child, own, training)
    if kind not in FROM_PARENT:
        return outcome(request, task)
    if parent is None:
        return None, None
    return outcome(request, task, partial(inherit, parent=parent, ends=FROM_PARENT[kind]))


def outcome(
    request: Request, task: Task, prepare: Callable[[SequenceModel], object] | None = None
) -> Outcome:
    """The trained model and its fitness, bit for bit those of `workers.training.evaluate` if
    nothing is prepared; None and None if it diverged.

    Args:
        request: What to train, and how.
        task: The data, front end, head and metric.
        prepare: What is done to the untrained model.
    """
    with torch.random.fork_rng():
        model = build(request, task)
        if prepare is not None:
            prepare(model)
        try:
            for _ in train(trainer_for(model, task, request.training), task, request):
                pass
            return model, fitness_of(measure(model, task, request.part), task.metric)
        except Diverged:
            return None, None


def identity(header: Header, training: Training) -> dict[str, Any]:
    """What all trainings in one file have in common."""
    return {
        "created": header.created,
        "data_sha256": header.data_sha256,
        "training": asdict(training),
    }


def read_results(path: Path, expected: dict[str, Any]) -> dict[Key, Trained]:
    """What was trained before. A new file gets its first line, and a last line that was cut off is
    cut away.

    Raises:
        SystemExit: If the file belongs to another run or budget.
    """
    whole, _, _ = (path.read_text(encoding="utf-8") if path.exists() else "").rpartition("\n")
    first, *rest = whole.splitlines() or [json.dumps(expected)]
    if json.loads(first) != expected:
        raise SystemExit(f"{path} holds trainings of another run or budget. Give another --out.")
    path.write_text("".join(f"{line}\n" for line in (first, *rest)), encoding="utf-8")
    return {row.key: row for row in (Trained(**json.loads(line)) for line in rest)}


def share_inherited(pair: Pair) -> float:
    """Of the numbers in the recurrent layers of the child, those that are its parent's."""
    genome, hidden = Genome.from_json(pair.child), pair.training.hidden_size
    sizes = {w.name: math.prod(w.shape) for w in layout(lower(canonical(genome)), hidden, hidden)}
    shared = shared_weights(genome, Genome.from_json(pair.parent))
    return sum(sizes[weight.child] for weight in shared) / sum(sizes.values())


if __name__ == "__main__":
    main()
