"""What a finished session prints: the best cells, the comparison, and what to do next."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evo_nas import compare
from evo_nas.lineage import best

if TYPE_CHECKING:
    from evo_nas.search import Outcome

BEST = 5


def outcome_text(outcome: Outcome) -> str:
    """The text for a terminal."""
    header = outcome.header
    unit = f" ({header.unit})" if header.unit else ""
    leaders = best(outcome.births, BEST)
    lines = [f"{outcome.directory}: {_counts(outcome)}"]
    if not leaders:
        lines.append(f"no candidate finished well. See: {command('status', outcome.directory)}")
        return "\n".join(lines)
    lines += [
        "",
        f"best cells of the search, by {header.metric}{unit} on the validation part "
        "(the mean of so many evaluations)",
        f"{'birth':>6} {'digest':<9} {'metric':>9} {'of':>3} {'parameters':>11} "
        f"{'generation':>11}  mutation",
    ]
    for row in leaders:
        name = str(row.mutation.get("name", ""))
        lines.append(
            f"{row.birth:>6} {row.digest[:8]:<9} {compare.mean_metric(row, header):>9.4f} "
            f"{row.evaluations:>3} "
            f"{row.parameters:>11,} {row.generation:>11}  {row.operator} {name}".rstrip()
        )
    if outcome.comparison is not None:
        lines += ["", compare.table(outcome.comparison)]
    winner = leaders[0].birth
    lines += [
        "",
        "next:",
        f"  {command('lineage', outcome.directory)} --birth {winner}",
        f"  {command('export', outcome.directory)} --birth {winner}",
        f"  {command('resume', outcome.directory)} {_more(outcome)}",
    ]
    return "\n".join(lines)


def any_finished(outcome: Outcome) -> bool:
    """Whether any evaluation of the run has a metric."""
    return bool(outcome.births.ok.any())


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
                "parameters": row.parameters,
                "generation": row.generation,
                "mutation": row.mutation,
            }
            for row in best(outcome.births, BEST)
        ],
        "comparison": None
        if outcome.comparison is None
        else json.loads(comparison_json(outcome.comparison)),
    }


def comparison_json(comparison: compare.Comparison) -> str:
    """A comparison as JSON."""
    document = dataclasses.asdict(comparison) | {"directory": str(comparison.directory)}
    for row, entry in zip(comparison.rows, document["rows"], strict=True):
        entry |= {"mean": row.mean, "deviation": row.deviation}
    return json.dumps(document, indent=2)


def command(name: str, directory: Path) -> str:
    """A command line on a run that can be pasted into the shell as it is."""
    program = "evo-nas"
    if shutil.which(program) is None:
        installed = Path(sys.executable).with_name(program)
        here = Path.cwd()
        program = str(installed.relative_to(here) if installed.is_relative_to(here) else installed)
    return f"{shlex.quote(program)} {name} {shlex.quote(str(directory))}"


def _counts(outcome: Outcome) -> str:
    births = outcome.births
    return f"{births.evaluated} evaluations, {births.failed} failed ({outcome.reason})"


def _more(outcome: Outcome) -> str:
    """Flags of a budget that goes on from here: twice the one that is spent."""
    if outcome.config.budget.hours is not None:
        return f"--hours {2 * outcome.config.budget.hours:g}"
    return f"--evaluations {2 * outcome.births.evaluated}"
