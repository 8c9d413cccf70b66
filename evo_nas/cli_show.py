"""Commands that only read: status, lineage, cells, export, doctor."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
_DIRECTORY = click.argument("directory", type=click.Path(path_type=Path))


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
        published(name)  # raises with a suggestion
    if as_json:
        document = [
            {
                "name": row.name,
                "source": row.source,
                "equations": row.equations.strip().splitlines(),
                "digest": published(row.name).digest,
                "parameters_64": parameter_count(published(row.name), 64, 64),
                "genome": json.loads(published(row.name).to_json()),
            }
            for row in rows
        ]
        click.echo(json.dumps(document, indent=2))
        return
    if name is None:
        click.echo(f"{'name':<18} {'digest':<9} {'states':>6} {'parameters*':>11}  source")
        for row in rows:
            genome = published(row.name)
            click.echo(
                f"{row.name:<18} {genome.digest[:8]:<9} {genome.states:>6} "
                f"{parameter_count(genome, 64, 64):>11,}  {row.source}"
            )
        click.echo("* of one layer with input and hidden size 64")
        return
    row, genome = rows[0], published(rows[0].name)
    click.echo(f"{row.name}: {row.source}")
    if row.note:
        click.echo(row.note)
    click.echo(f"digest {genome.digest}")
    click.echo(f"parameters at input and hidden size 64: {parameter_count(genome, 64, 64):,}")
    click.echo("\n" + row.equations.strip() + "\n\n" + diagram(genome))


@click.command()
@_DIRECTORY
@click.option("--birth", type=int, help="Which cell; the best if left out.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the source to a file.")
@click.option("--weights", type=click.Path(path_type=Path), help="Train again, write safetensors.")
def export(directory: Path, birth: int | None, out: Path | None, weights: Path | None) -> None:
    """A cell as a stand-alone Python file that imports nothing but torch."""
    from evo_nas import export as exporting
    from evo_nas.lineage import best
    from evo_nas.record import read_events, read_header

    header, (events, warnings) = read_header(directory), read_events(directory)
    _warn(warnings)
    if birth is None:
        leaders = best(events, 1)
        if not leaders:
            raise click.ClickException(f"{directory} holds no finished evaluation. Give --birth.")
        birth = leaders[0].birth
    source = exporting.export_source(events, header, birth)
    if out is None:
        click.echo(source)
    else:
        out.write_text(source, encoding="utf-8")
        print(f"wrote {out}", file=sys.stderr)
    if weights is not None:
        metric = exporting.export_weights(events, header, birth, weights)
        print(f"wrote {weights} (validation {header.metric} {metric:.4f})", file=sys.stderr)


@click.command()
@click.option("--run", default="runs", help="Where runs would be written.")
@_JSON
def doctor(run: str, as_json: bool) -> None:
    """What this installation has and can do; exit code 1 if something is wrong."""
    from evo_nas.doctor import as_plain, as_text, examine

    findings = examine(Path(run))
    click.echo(json.dumps(as_plain(findings), indent=2) if as_json else as_text(findings))
    if not all(finding.ok for finding in findings):
        sys.exit(1)


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def add_to(group: click.Group) -> None:
    """Add the commands of this module to the command line."""
    for command in (cells, export, doctor):
        group.add_command(command)
