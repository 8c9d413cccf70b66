"""What travels with a job: its configuration, and of the data and code what lies here."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from evo_nas.config_tables import SearchConfig
from evo_nas.errors import ClusterError

SEARCH = "search.toml"
DATA = "data"
MOST_BYTES = 200_000_000
"""Of a package; it is kept in the head's memory."""


@dataclass(frozen=True, slots=True)
class Package:
    """A folder that becomes the job's working directory.

    Attributes:
        folder: Where it was put together.
        data: What the job is to read: a path in the folder, or as it was given; None if nothing
            was.
    """

    folder: Path
    data: str | None


def pack(file: Path, config: SearchConfig, data: str | None, here: Path, folder: Path) -> Package:
    """Put a job's package together.

    A relative path is of this machine and travels along; an absolute one is the head's.

    Args:
        file: The configuration as it was written.
        config: The same, read.
        data: Of the command line; instead of the configuration's.
        here: The folder that relative paths start from.
        folder: An empty folder, to be filled.

    Raises:
        ClusterError: If something is missing, too large, or would mean something else there.
    """
    shutil.copy(file, folder / SEARCH)
    for run in config.evolution.warm_start:
        if "://" not in run and not Path(run).is_absolute():
            raise ClusterError(
                f"the earlier run {run} (warm_start) lies on this machine, which the cluster "
                "cannot read. Copy it to the head or into a bucket, and name it there."
            )
    _take_module(config.task.kind, here, folder)
    data = data if data is not None else config.task.data
    if data is not None and _is_of_this_machine(data):
        _take(here / data, folder / DATA / Path(data).name, data)
        data = f"{DATA}/{Path(data).name}"
    return Package(folder, data)


def _is_of_this_machine(data: str) -> bool:
    return not (data.startswith("builtin:") or "://" in data or Path(data).is_absolute())


def _take(source: Path, target: Path, name: str) -> None:
    if not source.exists():
        raise ClusterError(
            f"the data {name} are not in {source.parent}. A relative path is of this machine and "
            "travels with the job; for a file of the head give its absolute path."
        )
    size = sum(f.stat().st_size for f in [source, *source.rglob("*")] if f.is_file())
    if size > MOST_BYTES:
        raise ClusterError(
            f"the data {name} have {size / 1e6:,.0f} MB; more than {MOST_BYTES / 1e6:,.0f} do not "
            f"travel with a job. Copy them once ('ray rsync-up CLUSTER.yaml {name} /home/ubuntu/') "
            f"and give their absolute path there: --data /home/ubuntu/{source.name}"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)


def _take_module(kind: str, here: Path, folder: Path) -> None:
    """The module of a user's own task, if it lies here; else it is installed over there."""
    if ":" not in kind:
        return
    top = kind.partition(":")[0].partition(".")[0]
    if (here / top / "__init__.py").is_file():
        shutil.copytree(here / top, folder / top, ignore=shutil.ignore_patterns("__pycache__"))
    elif (here / f"{top}.py").is_file():
        shutil.copy(here / f"{top}.py", folder)
