"""Commands that only read a run: status, lineage, export; and cells and doctor, which need none."""

from __future__ import annotations

import hashlib
import json
import sys
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evo_nas.cli_types import RunDirectory
from evo_nas.terminal import put, put_error, warn

if TYPE_CHECKING:
    from evo_nas.births import Births
    from evo_nas.record import RunPath

_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
_DIRECTORY = click.argument("directory", type=RunDirectory())


@click.command()
@_DIRECTORY
@click.option("--watch", is_flag=True, help="Go on showing it until the run ends, or Ctrl-C.")
@click.option(
    "--every",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="How often --watch looks; 2 unless set.",
)
@_JSON
def status(directory: RunPath, watch: bool, every: float | None, as_json: bool) -> None:
    """How far the run in DIRECTORY is; works while it runs."""
    if watch:
        _watch(directory, 2.0 if every is None else every, as_json)
        return
    if every is not None:
        raise click.UsageError("--every says how often --watch looks: give both.")
    from evo_nas import status as reading
    from evo_nas.births import read_births

    header, births, warnings = read_births(directory)
    warn(warnings)
    result = reading.summary(header, births)
    put(reading.to_json(result) if as_json else reading.to_text(result, header))


@click.command()
@_DIRECTORY
@click.option("--birth", type=int, help="Which cell; the best if left out.")
@click.option("--children", is_flag=True, help="The children of the birth instead of its path.")
@click.option("--best", "top", type=int, help="The N best cells, one row per digest.")
@click.option("--mutations", is_flag=True, help="Which operator paid: count, gain, improvements.")
@click.option("--dot", is_flag=True, help="The family tree as a DOT graph.")
@_JSON
def lineage(
    directory: RunPath,
    birth: int | None,
    children: bool,
    top: int | None,
    mutations: bool,
    dot: bool,
    as_json: bool,
) -> None:
    """Where a cell came from: its ancestors, their mutations and the equations that changed."""
    from evo_nas import lineage as reading
    from evo_nas import lineage_output as output
    from evo_nas.births import read_births

    header, births, warnings = read_births(directory)
    warn(warnings)
    if mutations:
        rows = reading.mutation_table(births)
        put(output.to_json(rows) if as_json else output.mutations_text(rows))
        return
    if top is not None:
        found = reading.best(births, top)
        put(output.to_json(found) if as_json else output.entries_text(found, header))
        return
    birth = _birth_or_best(directory, births, birth)
    if dot:
        marked = [step.entry.birth for step in reading.path(births, birth)]
        put(output.to_dot(reading.entries(births), marked))
    elif children:
        found = reading.children(births, birth)
        put(output.to_json(found) if as_json else output.entries_text(found, header))
    else:
        steps = reading.path(births, birth)
        put(output.to_json(steps) if as_json else output.path_text(steps, header))


@click.command()
@click.argument("name", required=False)
@_JSON
def cells(name: str | None, as_json: bool) -> None:
    """The published cells; with NAME, its equations, parameters, digest and diagram."""
    from genomes.cost import parameter_count
    from genomes.draw import diagram
    from genomes.published import PUBLISHED, published

    rows = [row for row in PUBLISHED if name is None or row.name == name]
    if name is not None and not rows:
        try:
            published(name)
        except ValueError as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        document = [
            {
                "name": row.name,
                "source": row.source,
                "equations": cleandoc(row.equations).splitlines(),
                "digest": published(row.name).digest,
                "parameters_64": parameter_count(published(row.name), 64, 64),
                "genome": json.loads(published(row.name).to_json()),
            }
            for row in rows
        ]
        put(json.dumps(document, indent=2))
        return
    if name is None:
        put(f"{'name':<18} {'digest':<9} {'states':>6} {'parameters*':>11}  source")
        for row in rows:
            genome = published(row.name)
            put(
                f"{row.name:<18} {genome.digest[:8]:<9} {genome.states:>6} "
                f"{parameter_count(genome, 64, 64):>11,}  {row.source}"
            )
        put("* of one layer with input and hidden size 64")
        return
    row, genome = rows[0], published(rows[0].name)
    put(f"{row.name}: {row.source}")
    if row.note:
        put(row.note)
    put(f"digest {genome.digest}")
    put(f"parameters at input and hidden size 64: {parameter_count(genome, 64, 64):,}")
    put("\n" + cleandoc(row.equations) + "\n\n" + diagram(genome))


@click.command()
@_DIRECTORY
@click.option("--birth", type=int, help="Which cell; the best if left out.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the source to a file.")
@click.option("--weights", type=click.Path(path_type=Path), help="Train again, write safetensors.")
@click.option("--data", help="Where the same data lie now (for --weights).")
@click.option("--task", help="The run's own task, package.module:factory (for --weights).")
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="For --weights."
)
def export(
    directory: RunPath,
    birth: int | None,
    out: Path | None,
    weights: Path | None,
    data: str | None,
    task: str | None,
    threads: int,
) -> None:
    """A cell as a stand-alone Python file that imports nothing but torch."""
    from evo_nas import export as exporting
    from evo_nas.births import read_births
    from evo_nas.config import with_overrides
    from evo_nas.sessions import last_config
    from evo_nas.strangers import refuse_unsaid
    from genomes.readable import readable

    header, births, warnings = read_births(directory)
    warn(warnings)
    birth = _birth_or_best(directory, births, birth)
    source = exporting.export_source(births, header, birth)
    if out is None:
        put(source)
    else:
        out.write_text(source, encoding="utf-8")
        put_error(f"wrote {out}")
    if weights is not None:
        config = with_overrides(last_config(directory, header), data=data, address="local")
        refuse_unsaid(config, str(directory), task=task, address=None)
        metric = exporting.export_weights(births, header, birth, weights, config, threads)
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        reached = f"validation {header.metric} {metric:.4f}"
        put_error(readable(f"wrote {weights} ({reached})"))
        put_error(f"SHA-256 {digest}")


@click.command()
@click.option("--run", default="runs", help="Where runs would be written.")
@_JSON
def doctor(run: str, as_json: bool) -> None:
    """What this installation has and can do; exit code 1 if something is wrong."""
    from evo_nas.doctor import as_plain, as_text, examine

    findings = examine(Path(run))
    put(json.dumps(as_plain(findings), indent=2) if as_json else as_text(findings))
    if not all(finding.ok for finding in findings):
        sys.exit(1)


def _watch(directory: RunPath, every: float, as_json: bool) -> None:
    """Watch a run until it ends or the user has seen enough, which is no error."""
    try:
        from evo_nas.watching.watch import watch_run

        watch_run(directory, every, as_json, sys.stdout)
    except KeyboardInterrupt:
        if sys.stdout.isatty():
            click.echo()  # the terminal wrote ^C where the cursor stood


def _birth_or_best(directory: RunPath, births: Births, birth: int | None) -> int:
    """The birth asked for, else the best of the run."""
    from evo_nas.lineage import best

    if birth is not None:
        return birth
    leaders = best(births, 1)
    if not leaders:
        raise click.ClickException(f"{directory} holds no finished evaluation. Give --birth.")
    return leaders[0].birth


def add_to(group: click.Group) -> None:
    """Add the commands of this module to the command line."""
    for command in (status, lineage, export, cells, doctor):
        group.add_command(command)
