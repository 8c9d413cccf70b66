"""What a finished session prints: the best cells, the comparison, and what to do next."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from evo_nas import compare
from evo_nas.events import Told
from evo_nas.lineage import best

if TYPE_CHECKING:
    from evo_nas.search import Outcome

BEST = 5


def outcome_text(outcome: Outcome) -> str:
    """The text for a terminal."""
    header = outcome.header
    unit = f" ({header.unit})" if header.unit else ""
    leaders = best(outcome.events, BEST)
    lines = [f"{outcome.directory}: {_counts(outcome)}"]
    if not leaders:
        lines.append("no candidate finished. See: evo-nas status " + str(outcome.directory))
        return "\n".join(lines)
    lines += [
        "",
        f"best cells of the search, by {header.metric}{unit} on the validation part",
        f"{'birth':>6} {'digest':<9} {'metric':>9} {'parameters':>11} {'generation':>11}  mutation",
    ]
    for row in leaders:
        name = str(row.mutation.get("name", ""))
        lines.append(
            f"{row.birth:>6} {row.digest[:8]:<9} {row.metric or 0.0:>9.4f} "
            f"{row.parameters:>11,} {row.generation:>11}  {row.operator} {name}".rstrip()
        )
    if outcome.comparison is not None:
        lines += ["", compare.table(outcome.comparison)]
    winner = leaders[0].birth
    lines += [
        "",
        "next:",
        f"  evo-nas lineage {outcome.directory} --birth {winner}",
        f"  evo-nas export {outcome.directory} --birth {winner}",
        f"  evo-nas resume {outcome.directory} {_more(outcome)}",
    ]
    return "\n".join(lines)


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """The same, machine-readable."""
    return {
        "run": str(outcome.directory),
        "reason": outcome.reason,
        "evaluations": sum(isinstance(event, Told) for event in outcome.events),
        "best": [
            {
                "birth": row.birth,
                "digest": row.digest,
                "metric": row.metric,
                "parameters": row.parameters,
                "generation": row.generation,
                "mutation": row.mutation,
            }
            for row in best(outcome.events, BEST)
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


def _counts(outcome: Outcome) -> str:
    told = [event for event in outcome.events if isinstance(event, Told)]
    failed = sum(event.status != "ok" for event in told)
    return f"{len(told)} evaluations, {failed} failed ({outcome.reason})"


def _more(outcome: Outcome) -> str:
    """Flags of a budget that goes on from here: twice the one that is spent."""
    budget = outcome.header.config["budget"]
    if budget["hours"] is not None:
        return f"--hours {2 * budget['hours']:g}"
    return f"--evaluations {2 * sum(isinstance(event, Told) for event in outcome.events)}"
