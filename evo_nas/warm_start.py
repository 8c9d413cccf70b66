"""What a guided search may learn from earlier runs: their cells, with normal scores of their ranks.

Ranks within a run need no common unit, so runs on other data, tasks and budgets can be taken
together. What was taken is written into the new run, sealed, before its first candidate: later
changes of the other runs change nothing, and a resume asks for the same candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evo_nas.errors import RecordError, SearchError
from evo_nas.past import COLUMNS, EVERYTHING, past_of, standing
from evo_nas.predictor import Earlier, normal_scores
from evo_nas.record import RunPath, read_header, run_path
from evo_nas.record.outside import MOST_OF_DOCUMENT, read_whole
from evo_nas.record.reading import read_table
from evo_nas.record.sealed import BrokenSeal, sealed, unsealed
from evo_nas.record.storage import Hold, write_durably
from genomes.genome import Genome, InvalidGenome

FILE = "warm_start.json"
CELLS = 300
"""Of each run, evenly spread over its ranks: fits take time that grows with the cube of all."""
MOST_OF_RUN = 4 * 2**20
"""Bytes of the cells of one run, at most: a genome of 128 nodes has some ten thousand."""


def earlier_of(directory: RunPath, runs: Sequence[str], held: Hold | None = None) -> Earlier:
    """What the run in ``directory`` learned from earlier runs; taken and written when first asked.

    Raises:
        SearchError: If one of them holds no finished evaluation.
        RecordError: If there is no such run, its record is damaged, or what was written here is.
    """
    if not runs:
        return []
    path = directory / FILE
    if not path.exists():
        cells = [cell for run in runs for cell in _cells_of(run_path(run))]
        write_durably(path, sealed({"runs": list(runs), "cells": cells}), held)
    try:
        # Of some dozens of runs it has megabytes; a document of a run is not as long otherwise.
        document = unsealed(read_whole(path, MOST_OF_DOCUMENT + len(runs) * MOST_OF_RUN))
        return _cells_in(document, CELLS * len(runs))
    except (BrokenSeal, InvalidGenome) as error:
        why = str(error).removesuffix(".")
        raise RecordError(
            f"{path} is damaged or was edited: {why}. Restore it from a copy; without it the run "
            "would go on as another search."
        ) from None


def _cells_in(document: Mapping[str, Any], most: int) -> Earlier:
    """The cells of a document.

    Raises:
        BrokenSeal: If it was not written here.
        InvalidGenome: If a cell is none.
    """
    cells = document.get("cells")
    if not isinstance(cells, list) or len(cells) > most:
        raise BrokenSeal(f"it has no list of up to {most} 'cells'")
    for cell in cells:
        if not (isinstance(cell, list) and [*map(type, cell)] == [str, float]):
            raise BrokenSeal("one of its cells is no pair of a genome and a score")
    return [(Genome.from_json(genome), score) for genome, score in cells]


def _cells_of(run: RunPath) -> list[tuple[str, float]]:
    header, reading = read_header(run), read_table(run, COLUMNS)
    past, _ = past_of(run, header, reading, EVERYTHING, failures=EVERYTHING)
    genomes = {asked.digest: asked.genome for asked in (*past.failed, *past.recent)}
    if not past.recent:
        raise SearchError(
            f"{run} holds no finished evaluation to learn from. Leave it out of "
            "evolution.warm_start (--warm-start)."
        )
    scores = normal_scores(
        [
            standing(past.reached, past.fitness, digest) if digest in past.reached else None
            for digest in genomes
        ]
    )
    ranked = np.argsort(scores, kind="stable")
    taken = ranked[np.linspace(0, len(ranked) - 1, min(CELLS, len(ranked))).round().astype(int)]
    cells = list(genomes.values())
    return [(cells[i], float(scores[i])) for i in taken]
