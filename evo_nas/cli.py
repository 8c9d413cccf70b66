"""The command line. Each command calls one function elsewhere.

Data goes to stdout, progress and warnings to stderr. Exit codes: 0 done, 1 failed, 2 wrong
usage, 130 interrupted with everything recorded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click

from evo_nas import __version__
from evo_nas.cli_bench import STRATEGIES, bench
from evo_nas.cli_cluster import add_to as add_cluster_to
from evo_nas.cli_finish import finish
from evo_nas.cli_show import add_to
from evo_nas.cli_types import RunDirectory
from evo_nas.interrupt import INTERRUPTED

Command = TypeVar("Command", bound=Callable[..., Any])


class ShownErrors(click.Group):
    """Turns the errors a user can mend into one line on stderr and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        from evo_nas.errors import is_users, shown

        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("\ninterrupted; everything reported is recorded", file=sys.stderr)
            sys.exit(INTERRUPTED)
        except click.exceptions.ClickException:
            raise
        except Exception as error:
            if not is_users(error):
                raise
            raise click.ClickException(shown(error)) from error


@click.group(cls=ShownErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="evo-nas")
def main() -> None:
    """Search for the recurrent cell of a sequence model."""


def _flags(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def apply(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return apply


_BUDGET = _flags(
    click.option("--evaluations", type=int, help="Evaluations of the whole run."),
    click.option("--hours", type=float, help="Wall-clock hours of the whole run."),
)
_WORKERS = _flags(
    click.option("--workers", type=int, help="Number of workers; 0 evaluates in this process."),
    click.option("--address", help="'local', 'auto' or the address of a Ray cluster."),
    click.option("--cohort", type=int, help="Candidates that a worker takes at once."),
    click.option("--evaluation-seconds", type=float, help="Time limit of one evaluation."),
    click.option("--stall-seconds", type=float, help="Time limit without a sign of life."),
    click.option("--grace-seconds", type=float, help="For running evaluations after Ctrl-C."),
)
_COMPARE = _flags(
    click.option("--seeds", type=int, help="Seeds per cell of the comparison; 0 for none."),
    click.option("--top", type=int, help="How many of the best cells are compared."),
)
_TENSORBOARD = click.option(
    "--tensorboard", metavar="FOLDER", help="Write scalars there, into a folder of the run's name."
)
_OWN_TASK = click.option("--task", help="The run's own task, package.module:factory: import it.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
_DIRECTORY = click.argument("directory", type=RunDirectory())


@main.command()
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option(
    "--task", help="text, classification, forecasting, music, speech or package.module:factory."
)
@click.option("--data", help="What the task reads, usually a path.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Of the task.")
@click.option("--run", help="A new directory for the record, or s3://, gs://.")
@click.option("--seed", type=int, help="Every random draw derives from it.")
@click.option("--strategy", type=click.Choice(STRATEGIES))
@click.option(
    "--warm-start",
    multiple=True,
    metavar="RUN",
    callback=lambda ctx, option, value: value or None,
    help="An earlier run that strategy guided learns from too; may be repeated.",
)
@click.option("--population", type=int, help="Individuals in the population (P).")
@click.option("--sample-size", type=int, help="Individuals in a tournament (S).")
@click.option("--preset", help="real2019: population 100, sample size 25.")
@click.option("--published/--no-published", default=None, help="Start from published cells too.")
@click.option("--equal-parameters", is_flag=True, default=None, help="Solve the hidden size.")
@click.option(
    "--deterministic",
    is_flag=True,
    default=None,
    help="The same history for any number of workers, and after any crash.",
)
@click.option("--lag", type=int, help="Of a deterministic history; at least the workers.")
@click.option("--rungs", metavar="SHARES", help="Measure at these shares of the budget: 0.1,0.3.")
@click.option("--keep", type=float, help="Share of the candidates that passes a rung.")
@click.option("--hidden-size", type=int)
@click.option("--num-layers", type=int)
@click.option("--batch-size", type=int)
@click.option("--steps", type=int, help="Optimiser steps of one evaluation.")
@click.option("--learning-rate", type=float)
@click.option("--engine", help="Of the recurrent layers: auto, native, torch or reference.")
@_BUDGET
@_WORKERS
@_COMPARE
@_TENSORBOARD
@_JSON
def search(
    config: Path | None,
    options: tuple[str, ...],
    rungs: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Begin a search, from a CONFIG.toml, from flags, or both (flags win)."""
    from evo_nas.config import load, with_overrides
    from evo_nas.config_tables import SearchConfig
    from evo_nas.search import start
    from evo_nas.strangers import refuse_unsaid, refuse_unsaid_run, refuse_unsaid_scalars
    from evo_nas.terminal import put_error

    settings = load(config) if config is not None else SearchConfig()
    settings = with_overrides(
        settings, options=_task_options(options) or None, rungs=_shares(rungs), **flags
    )
    refuse_unsaid(settings, str(config), task=flags["task"], address=flags["address"])
    refuse_unsaid_run(settings, str(config), flags["run"])
    refuse_unsaid_scalars(settings, str(config), flags["tensorboard"])
    if settings.run is None:
        settings = with_overrides(settings, run=_new_run())
    put_error(f"run directory: {settings.run}")
    finish(start(settings), as_json)


@main.command()
@_DIRECTORY
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option("--data", help="Where the same data lie now.")
@_OWN_TASK
@_BUDGET
@_WORKERS
@_COMPARE
@_TENSORBOARD
@_JSON
def resume(directory: Any, config: Path | None, as_json: bool, **flags: Any) -> None:
    """Go on with the run in DIRECTORY, with its configuration and what is left of its budget."""
    from evo_nas.config import load
    from evo_nas.search import resume as resume_run

    wanted = load(config) if config is not None else None
    finish(resume_run(directory, flags, wanted), as_json)


@main.command()
@_DIRECTORY
@click.option("--test", is_flag=True, help="Open the test part: once, at the very end.")
@click.option("--last", is_flag=True, help="Show the last comparison; train nothing.")
@click.option("--steps", type=click.IntRange(min=1), help="Of each training; else the run's.")
@click.option("--tune/--no-tune", default=True, help="Tune the learning rate of each cell.")
@click.option("--random", "control", type=RunDirectory(), help="A run of strategy random to use.")
@click.option("--no-random", is_flag=True, help="Leave the random search out.")
@click.option("--seeds", type=click.IntRange(min=1), help="Seeds per cell.")
@click.option("--top", type=int, help="How many of the best cells take part.")
@click.option("--data", help="Where the same data lie now.")
@_OWN_TASK
@_WORKERS
@click.option("--markdown", is_flag=True, help="The table as Markdown.")
@_JSON
def compare(directory: Any, last: bool, as_json: bool, markdown: bool, **flags: Any) -> None:
    """Are the best cells better? Against GRU, LSTM and random search, at equal parameters.

    Each cell gets the learning rate that suits it and is trained anew with several seeds. The table
    ends with a verdict. Stopped or killed, the same command goes on.
    """
    from evo_nas.comparison import output, reading
    from evo_nas.comparison.folders import folders_of
    from evo_nas.terminal import put, warn

    if markdown and as_json:
        raise click.UsageError("--markdown and --json are two forms of one table: give one.")
    interrupted = False
    if last:
        folders = folders_of(directory)
        if not folders:
            raise click.ClickException(
                f"{directory} has no comparison yet. Make one with: evo-nas compare {directory}"
            )
        result = reading.read_comparison(folders[-1])
        warn(result.warnings)
    else:
        result, interrupted = _compared(directory, flags)
    if result is not None:
        form = output.to_json if as_json else output.markdown if markdown else output.table
        put(form(result))
    if interrupted:
        print("stopped; the same command goes on with it", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _compared(directory: Any, flags: dict[str, Any]) -> tuple[Any, bool]:
    from evo_nas.comparison.command import Options, compare_run

    if flags["control"] is not None and flags["no_random"]:
        raise click.UsageError("--random and --no-random exclude each other: give one.")
    options = Options(
        part="test" if flags.pop("test") else "validation",
        steps=flags.pop("steps"),
        control=flags.pop("control"),
        with_control=not flags.pop("no_random"),
        tune=flags.pop("tune"),
    )
    return compare_run(directory, flags | {"verdict_seeds": flags.pop("seeds")}, options)


def _task_options(pairs: tuple[str, ...]) -> dict[str, Any]:
    """KEY=VALUE pairs as TOML values, lists also without brackets; what is no TOML is text."""
    import tomllib

    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise click.UsageError(f"--option {pair!r} is not of the form KEY=VALUE.")
        options[key] = value
        # The last of these forms that is TOML counts.
        for form in (f"[{value}]", value) if "," in value else (value,):
            with suppress(tomllib.TOMLDecodeError):
                options[key] = tomllib.loads(f"value = {form}")["value"]
    return options


def _shares(text: str | None) -> tuple[float, ...] | None:
    """Numbers with commas between; no text is none at all, an empty one the empty list."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise click.UsageError(f"--rungs {text!r} is not of the form 0.1,0.3.") from None


def _new_run() -> str:
    from datetime import datetime

    return str(Path("runs") / datetime.now().strftime("%Y%m%d-%H%M%S"))


main.add_command(bench)
add_to(main)
add_cluster_to(main)
