"""The command ``bench``: strategies on a table of recorded results."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any, get_args

import click

from evo_nas.config_tables import StrategyName

STRATEGIES: tuple[str, ...] = get_args(StrategyName)
DEFAULT = STRATEGIES[:4]


@click.command()
@click.argument("table", type=click.Path(path_type=Path))
@click.option(
    "--strategies",
    default=",".join(DEFAULT),
    show_default=True,
    help="Names with commas between them; 'random' is the control.",
)
@click.option("--evaluations", type=click.IntRange(min=2), default=400, show_default=True)
@click.option("--seeds", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--part", metavar="K/N", help="One of N parts of the table, by hash of the cell.")
@click.option("--population", type=int, help="Individuals in the population (P).")
@click.option("--sample-size", type=int, help="Individuals in a tournament (S).")
@click.option("--proposals", type=int, help="Children of which 'guided' picks one.")
@click.option("--plot", type=click.Path(path_type=Path), help="Write an SVG picture.")
@click.option("--processes", type=click.IntRange(min=0), help="One per core if left out.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def bench(
    table: Path,
    strategies: str,
    evaluations: int,
    seeds: int,
    part: str | None,
    plot: Path | None,
    processes: int | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Compare strategies on a TABLE of recorded results, without training anything.

    TABLE is NAS-Bench-NLP's (.jsonl, .jsonl.gz or .parquet) or the directory of a run.
    """
    from evo_nas.bench.neighbours import Neighbours
    from evo_nas.bench.plot import to_svg
    from evo_nas.bench.replay import configurations, replay_all
    from evo_nas.bench.summary import summary_of, to_text
    from evo_nas.bench.table import read_table
    from evo_nas.config import with_overrides
    from evo_nas.config_tables import SearchConfig
    from evo_nas.terminal import put, put_error, put_line

    names = list(dict.fromkeys(name.strip() for name in strategies.split(",")))
    if unknown := [name for name in names if name not in STRATEGIES]:
        raise click.UsageError(
            f"--strategies: there is no {unknown[0]!r}. Known are: {', '.join(STRATEGIES)}."
        )
    recorded = read_table(table)
    if part is not None:
        recorded = recorded.part(*_numbers(part))
    config = with_overrides(SearchConfig(), evaluations=evaluations, **flags)
    neighbours = Neighbours(recorded)
    configs = list(configurations(config, names, seeds))
    workers = (os.cpu_count() or 1) if processes is None else processes
    traces = []
    for trace in replay_all(neighbours, configs, workers):
        traces.append(trace)
        put_line(sys.stderr, f"{len(traces)} of {len(configs)} replays", end="\r")
    print(file=sys.stderr)
    summary = summary_of(recorded, traces)
    if plot is not None:
        plot.write_text(to_svg(summary), encoding="utf-8")
        put_error(f"wrote {plot}")
    if as_json:
        put(json.dumps(dataclasses.asdict(summary), indent=2, allow_nan=False))
    else:
        put(to_text(summary))


def _numbers(part: str) -> tuple[int, int]:
    number, slash, of = part.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise click.UsageError(f"--part {part!r} is not of the form K/N with K from 1 to N.")
    return int(number), int(of)
