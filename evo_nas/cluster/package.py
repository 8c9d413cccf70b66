"""What travels with a job: its configuration, and of the data and code what lies here."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from evo_nas.config_tables import SearchConfig
from evo_nas.errors import ClusterError
from evo_nas.record.paths import stays

SEARCH = "search.toml"
DATA = "data"
MOST_BYTES = 100 * 2**20
"""Of a package: Ray's dashboard takes no larger request."""
_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Package:
    """What becomes the job's working directory.

    Attributes:
        file: A zip; of a folder Ray would leave out what a `.gitignore` in it names.
        data: What the job is to read: a path in it, or as it was given; None if nothing was.
    """

    file: Path
    data: str | None


def pack(file: Path, config: SearchConfig, data: str | None, here: Path, target: Path) -> Package:
    """Put a job's package together.

    A relative path is of this machine and travels along; an absolute one is the head's.

    Args:
        file: The configuration as it was written.
        config: The same, read.
        data: Of the command line; instead of the configuration's.
        here: The folder that relative paths start from.
        target: The zip to be written.

    Raises:
        ClusterError: If something is missing, too large, may not be meant for the cluster, or would
            mean something else there.
    """
    for run in config.evolution.warm_start:
        if not stays(run):
            raise ClusterError(
                f"the earlier run {run} (warm_start) lies on this machine, which the cluster "
                "cannot read. Copy it to the head or into a bucket, and name it there."
            )
    members = {SEARCH: file, **_module(config.task.kind, here)}
    said, data = data is not None, data if data is not None else config.task.data
    if data is not None and not (data.startswith("builtin:") or stays(data)):
        name = f"{DATA}/{Path(os.path.normpath(data)).name}"
        members |= _files(_data(data, said, here), name, f"the data {data}")
        _write(target, members, data)
        return Package(target, name)
    _write(target, members, None)
    return Package(target, data)


def _data(data: str, said: bool, here: Path) -> Path:
    """Where data of this machine lie, links followed, unless they are not to be sent.

    Args:
        data: A relative path.
        said: Whether the command line names it; else the configuration alone does, which may come
            from a stranger who would like to have a file of this machine.
        here: The folder that it starts from.
    """
    source, folder = (Path(os.path.realpath(path)) for path in (here / data, here))
    if not data or folder.is_relative_to(source):
        raise ClusterError(
            f"the data {data!r} are the folder of this command itself, or hold it, and all that is "
            "in it would travel. Name the file or folder that has the data alone."
        )
    if not said and not source.is_relative_to(folder):
        raise ClusterError(
            f"the data {data} of the configuration lie outside of this folder, at {source}. If "
            f"they shall go to the cluster, say so: --data {data}"
        )
    if not source.exists():
        raise ClusterError(
            f"the data {data} are not in {here}. A relative path is of this machine and travels "
            "with the job; for a file of the head give its absolute path."
        )
    return source


def _module(kind: str, here: Path) -> Mapping[str, Path]:
    """The module of a user's own task, if it lies here; else it is installed over there."""
    top = kind.partition(":")[0].partition(".")[0]
    if ":" not in kind or not top.isidentifier():
        return {}
    if (here / top / "__init__.py").is_file():
        files = _files(Path(os.path.realpath(here / top)), top, f"the module {top}")
        return {name: file for name, file in files if "__pycache__" not in name.split("/")}
    file = f"{top}.py"
    return {file: here / file} if (here / file).is_file() else {}


def _files(source: Path, name: str, what: str) -> Iterator[tuple[str, Path]]:
    """The files of a folder, or a file alone, by the names they get in the package.

    Raises:
        ClusterError: For what is neither file nor folder, links out of the folder or to a folder,
            and names that Ray leaves out.
    """
    left = [(name, source)]
    while left:
        name, path = left.pop()
        end = Path(os.path.realpath(path))
        if "\\" in name or name.encode(errors="replace").decode() != name:
            why = "has a name that a package cannot hold. Rename it"
        elif not path.is_symlink() and path.is_dir():
            with os.scandir(path) as entries:
                left += [(f"{name}/{entry.name}", Path(entry)) for entry in entries]
            continue
        elif not end.is_relative_to(source):
            why = f"is a link to {end}, outside of what was named. Put a copy in its place"
        elif not end.is_file():
            why = "is neither a file nor a folder, or a link to a folder. Take it away"
        else:
            yield name, end
            continue
        raise ClusterError(f"{what} cannot travel with a job: {path} {why}.")


def _write(target: Path, members: Mapping[str, Path], data: str | None) -> None:
    with target.open("wb") as output:
        with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
            for name, source in sorted(members.items()):
                info = zipfile.ZipInfo.from_file(source, name, strict_timestamps=False)
                info.compress_type = zipfile.ZIP_DEFLATED
                with source.open("rb") as reading, archive.open(info, "w") as writing:
                    while chunk := reading.read(_CHUNK):
                        writing.write(chunk)
                        _refuse_large(output.tell(), data)
        _refuse_large(output.tell(), data)


def _refuse_large(size: int, data: str | None) -> None:
    if size <= MOST_BYTES:
        return
    what = "the module of its task" if data is None else f"the data {data}"
    advice = "Take out of its folder what is no code."
    if data is not None:
        there = f"/home/ubuntu/{Path(data).name}"
        advice = (
            f"Copy them once ('ray rsync-up CLUSTER.yaml {data} {there}') and give their absolute "
            f"path there: --data {there}"
        )
    raise ClusterError(
        f"what would travel with the job, {what} above all, takes more than "
        f"{MOST_BYTES / 2**20:.0f} MiB packed, and Ray's dashboard takes no more. {advice}"
    )
