"""What a finished session prints: the best cells, the comparison, and what to do next."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evo_nas.comparison.entrants import mean_metric
from evo_nas.comparison.output import as_json, table
from evo_nas.lineage import best
from evo_nas.record.paths import RunPath
from evo_nas.strangers import flags_to_repeat
from genomes.readable import joined

if TYPE_CHECKING:
    from evo_nas.search import Outcome

BEST = 5


def outcome_text(outcome: Outcome) -> str:
    """The text for a terminal."""
    header = outcome.header
    unit = f" ({header.unit})" if header.unit else ""
    leaders = best(outcome.births, BEST)
    stops = bool(outcome.births.stopped.any())
    lines = [f"{outcome.directory}: {_counts(outcome)}"]
    if not leaders:
        lines.append(f"no candidate finished well. See: {command('status', outcome.directory)}")
        return joined(lines)
    lines += [
        "",
        f"best cells of the search, by {header.metric}{unit} on the validation part "
        "(the mean of so many evaluations)",
        f"{'birth':>6} {'digest':<9} {'metric':>9} {'of':>3} {'at step ' * stops}"
        f"{'parameters':>11} {'generation':>11}  mutation",
    ]
    for row in leaders:
        name = str(row.mutation.get("name", ""))
        lines.append(
            f"{row.birth:>6} {row.digest[:8]:<9} {mean_metric(row, header):>9.4f} "
            f"{row.evaluations:>3} {f'{row.steps:>7} ' * stops}"
            f"{row.parameters:>11,} {row.generation:>11}  {row.operator} {name}".rstrip()
        )
    if outcome.comparison is not None:
        lines += ["", *table(outcome.comparison).split("\n")]
    winner = leaders[0].birth
    lines += [
        "",
        "next:",
        f"  {command('lineage', outcome.directory)} --birth {winner}",
        f"  {command('export', outcome.directory)} --birth {winner}",
        f"  {resume_command(outcome)} {_more(outcome)}",
    ]
    return joined(lines)


def any_finished(outcome: Outcome) -> bool:
    """Whether any evaluation of the run has a metric."""
    return bool(outcome.births.scored.any())


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """The same, machine-readable."""
    return {
        "run": str(outcome.directory),
        "reason": outcome.reason,
        "evaluations": outcome.births.evaluated,
        "best": [
            {
                "birth": row.birth,
                "digest": row.digest,
                "metric": row.metric,
                "steps": row.own_steps,
                "parameters": row.parameters,
                "generation": row.generation,
                "mutation": row.mutation,
            }
            for row in best(outcome.births, BEST)
        ],
        "comparison": None if outcome.comparison is None else as_json(outcome.comparison),
    }


def command(name: str, directory: RunPath) -> str:
    """A command line on a run that can be pasted into the shell as it is."""
    program = "evo-nas"
    if shutil.which(program) is None:
        installed = Path(sys.executable).with_name(program)
        here = Path.cwd()
        program = str(installed.relative_to(here) if installed.is_relative_to(here) else installed)
    return f"{shlex.quote(program)} {name} {shlex.quote(str(directory))}"


def resume_command(outcome: Outcome) -> str:
    """How to go on with the run of an outcome."""
    words = map(shlex.quote, flags_to_repeat(outcome.config))
    return " ".join([command("resume", outcome.directory), *words])


def _counts(outcome: Outcome) -> str:
    births = outcome.births
    stopped = int(births.stopped.sum())
    stops = f"{stopped} stopped at a hurdle, " if stopped else ""
    return f"{births.evaluated} evaluations, {stops}{births.failed} failed ({outcome.reason})"


def _more(outcome: Outcome) -> str:
    """Flags of a budget that goes on from here: twice the one that is spent."""
    if outcome.config.budget.hours is not None:
        return f"--hours {2 * outcome.config.budget.hours:g}"
    return f"--evaluations {2 * outcome.births.evaluated}"
