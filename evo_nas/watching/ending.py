"""Whether a run has ended, as far as its record says.

A search is over when as many evaluations are told as its budget has, and nothing runs; the run has
ended when the comparison that comes then is complete, if it was asked for one. Of a budget in
hours alone the record does not say how much was left for the comparison, and of a manager that was
killed it says nothing: such runs may go on at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evo_nas.births import Births
from evo_nas.comparison.folders import matching
from evo_nas.comparison.reading import read_comparison
from evo_nas.comparison.terms import about, quick_terms
from evo_nas.config_tables import SearchConfig
from evo_nas.record.paths import RunPath

Phase = Literal["searching", "comparing", "ended"]


@dataclass(frozen=True, slots=True)
class Course:
    """How far a run has come.

    Attributes:
        phase: What is going on or would go on if the run were resumed.
        budget: Evaluations that it is to have; None if that is not limited.
        trainings: Of the comparison: how many are done, and how many there will be; None while it
            has none.
    """

    phase: Phase
    budget: int | None
    trainings: tuple[int, int] | None = None


def course_of(directory: RunPath, config: SearchConfig, births: Births) -> Course:
    """How far a run has come.

    Args:
        directory: The run.
        config: What its last session was told to do (`evo_nas.sessions.last_config`).
        births: What is recorded.

    Raises:
        RecordError: If its comparison cannot be read.
    """
    budget = config.budget.evaluations
    if budget is None or births.evaluated < budget or births.evaluated < len(births):
        return Course("searching", budget)
    if not config.compare.seeds or not births.scored.any():
        return Course("ended", budget)
    folders = matching(directory, about(quick_terms(config), births.evaluated))
    if not folders:
        return Course("comparing", budget)
    table = read_comparison(folders[0])
    done = sum(len(row.metrics) + row.failed for row in table.rows)
    trainings = (done, table.seeds * len(table.entrants))
    return Course("ended" if table.complete else "comparing", budget, trainings)
