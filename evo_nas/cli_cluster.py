"""Commands for searches on a cluster: cluster check, submit and job."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import click

from evo_nas.cli_finish import finish
from evo_nas.terminal import put, put_error, warn

Command = TypeVar("Command", bound=Callable[..., Any])
PORT = 8265
"""Of a dashboard, unless it is told another."""


@click.group()
def cluster() -> None:
    """Files that describe clusters."""


@cluster.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("config", required=False, type=click.Path(path_type=Path))
def check(file: Path, config: Path | None) -> None:
    """Is FILE sound? A file for 'ray up', or manifests of KubeRay; needs no cluster.

    With CONFIG.toml, also whether any machine of it holds the workers of that search. Prints every
    problem, one a line, with what to do; exit code 1 if there is any.
    """
    from evo_nas.cluster.check import check_file
    from evo_nas.config import load
    from genomes.readable import OneLine

    checked = check_file(file, load(config) if config is not None else None, Path.cwd())
    warn(f"{file}: {OneLine(hint)}" for hint in checked.hints)
    for problem in checked.problems:
        put(f"{file}: {OneLine(' '.join(problem.split()))}")
    if checked.problems:
        sys.exit(1)
    put(f"{file}: no problem found. Checked: {OneLine(checked.what)}.")


def _flags(command: Command) -> Command:
    """What a job may be told beside its file, on either side."""
    for option in (
        click.option("--workers", type=int, help="Number of workers."),
        click.option("--evaluations", type=int, help="Evaluations of the whole run."),
        click.option("--hours", type=float, help="Wall-clock hours of the whole run."),
        click.option("--data", help="What the task reads: relative, it is of this machine."),
        click.option("--task", help="A task of your own that CONFIG.toml names: import it there."),
        click.option("--tensorboard", metavar="FOLDER", help="Write scalars there, on the head."),
        click.option("--run", required=True, help="s3://..., gs://..., or absolute on the head."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--address", help="URL of a dashboard, instead of CLUSTER.yaml.")
@_flags
@click.option("--resume", is_flag=True, help="Go on with the run, with what is left of its budget.")
@click.option("--dashboard-port", default=PORT, show_default=True, help="On the head.")
@click.option(
    "--watch", default=15.0, show_default=True, help="Seconds to see whether the job starts well."
)
def submit(
    files: tuple[Path, ...],
    address: str | None,
    run: str,
    data: str | None,
    resume: bool,
    dashboard_port: int,
    watch: float,
    **flags: Any,
) -> None:
    """Send the search of CONFIG.toml to a cluster as a job, and leave it there.

    FILES is CLUSTER.yaml CONFIG.toml, the file of 'ray up' first; or CONFIG.toml alone with
    --address. The configuration travels along, and so do data and the module of a task of your own
    if they lie here under a relative path. The same command with --resume goes on with the run.
    """
    from evo_nas.cluster import submit as sending
    from evo_nas.cluster.package import pack
    from evo_nas.cluster.runs import refuse_vanishing
    from evo_nas.cluster.token import use_token
    from evo_nas.config import load, with_overrides
    from evo_nas.interrupt import INTERRUPTED
    from evo_nas.strangers import refuse_unsaid, refuse_unsaid_scalars

    file, config_file = _cluster_and_config(files, address)
    config = with_overrides(load(config_file), **flags, address="auto")
    refuse_unsaid(config, str(config_file), task=flags["task"], address=None)
    if not resume:
        refuse_unsaid_scalars(config, str(config_file), flags["tensorboard"])
    refuse_vanishing(run)
    if config.budget.evaluations is None and config.budget.hours is None and not resume:
        raise click.ClickException("the search has no end. Add --evaluations N or --hours H.")
    use_token(os.environ)  # before anything imports Ray, which reads it once
    if file is not None:
        _refuse_unheld(file, config)
    run = run.rstrip("/") or run
    wanted = sending.Wanted(run, resume, flags)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="evo-nas-")))
        package = pack(config_file, config, data, Path.cwd(), folder / "job.zip")
        if file is not None:
            from evo_nas.cluster.tunnel import tunnel

            address = stack.enter_context(tunnel(file, dashboard_port))
        assert address is not None
        from workers.cluster_jobs import Jobs

        jobs = Jobs(address)
        name = sending.submit(jobs, wanted, package)
        given = data if data is not None else config.task.data
        again = {"--data": given if package.data != given else None, "--task": flags["task"]}
        try:
            put(name)
            put_error(_next(name, run, file, dashboard_port, address, again))
            put_error(f"the job is {sending.watch_start(jobs, name, watch)}")
        except KeyboardInterrupt:
            print("\nno longer looked at; the job goes on", file=sys.stderr)
            sys.exit(INTERRUPTED)


def _cluster_and_config(files: tuple[Path, ...], address: str | None) -> tuple[Path | None, Path]:
    if len(files) == 1 and address is not None:
        _check_address(address)
        return None, files[0]
    if len(files) == 2 and address is None:
        return files[0], files[1]
    raise click.UsageError(
        "give CLUSTER.yaml CONFIG.toml, or --address http://127.0.0.1:8265 CONFIG.toml."
    )


def _check_address(address: str) -> None:
    """Refuse what is no URL, and say so where the token travels for others to read."""
    from urllib.parse import urlsplit

    from workers.exposure import is_loopback

    try:
        parts = urlsplit(address)
        host = parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:  # a bracket that is never closed
        host = None
    if not host:
        raise click.UsageError(f"--address {address} is no URL, such as http://127.0.0.1:8265.")
    if parts.scheme == "http" and not is_loopback(host):
        warn(
            [
                f"the token goes to {host} unencrypted, for whoever is on the way to read. Better: "
                "a tunnel ('ray dashboard', 'kubectl port-forward'), or https."
            ]
        )


def _refuse_unheld(file: Path, config: Any) -> None:
    """Refuse a search whose workers no machine of a cluster's file can hold."""
    from evo_nas.cluster.check import described, is_manifest
    from evo_nas.cluster.documents import read_documents
    from evo_nas.errors import ClusterError

    documents = read_documents(file)
    if any(map(is_manifest, documents)):
        raise click.ClickException(
            f"{file} is a manifest of KubeRay: 'kubectl apply -f {file}' starts it. To submit to a "
            "cluster that it has made, open a way to it ('kubectl port-forward "
            "service/NAME-head-svc 8265') and give --address http://127.0.0.1:8265 instead of the "
            "file."
        )
    (cluster,) = described(file, documents, Path.cwd())
    problems, hints = cluster.holds(config.workers)
    for problem in problems:
        raise ClusterError(f"{file}: {problem}")
    warn(f"{file}: {hint}" for hint in hints)


def _next(
    name: str, run: str, file: Path | None, port: int, address: str, again: Mapping[str, str | None]
) -> str:
    """What to do with a job that was submitted; ``again``: what `resume` wants said once more."""
    from shlex import join, quote

    from evo_nas.record.paths import is_uri

    place = quote(run)
    if is_uri(run):
        look = f"evo-nas status {place}"
        words = [word for flag, value in again.items() if value for word in (flag, value)]
        resume = join(["evo-nas", "resume", run, "--address", "local", *words])
        on = f"the same command with --resume, or on this machine: {resume}"
    elif file is not None:
        look = f"ray exec {quote(str(file))} {quote(f'evo-nas status {place}')}"
        on = "the same command with --resume"
    else:
        look, on = f"evo-nas status {place}    (on the head)", "the same command with --resume"
    remote = f" --remote-port={port}" if port != PORT else ""
    way = f"ray dashboard {quote(str(file))}{remote}    (leave it running)\n  " if file else ""
    url = f"http://127.0.0.1:{PORT}" if file is not None else address
    return (
        f"next:\n  {way}export RAY_AUTH_MODE=token RAY_API_SERVER_ADDRESS={quote(url)}\n"
        f"  ray job logs --follow {name}\n  ray job stop {name}\n  {look}\n"
        f"to go on with it when it has ended: {on}"
    )


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@_flags
@click.option("--new", "mode", flag_value="new", help="Refuse a run that exists.")
@click.option("--resume", "mode", flag_value="resume", help="Refuse a run that does not exist.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def job(
    config: Path,
    run: str,
    mode: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """What a cluster's job runs: begins the run or goes on with it.

    Without --new and --resume a run that exists is gone on with, any other begun: the same command
    may be tried again.
    """
    from evo_nas.cluster.job import run_job
    from evo_nas.config import load

    outcome = run_job(load(config), run, mode or "either", flags)  # type: ignore[arg-type]
    finish(outcome, as_json)


def add_to(group: click.Group) -> None:
    """Add the commands of this module to the command line."""
    for command in (cluster, submit, job):
        group.add_command(command)
