"""Where the run of a job may lie: a job's own folder vanishes with it."""

from __future__ import annotations

from pathlib import PurePosixPath

from evo_nas.errors import ClusterError


def stays(run: str) -> bool:
    """Whether a run there outlives its job: a URI, or an absolute path."""
    return "://" in run or PurePosixPath(run).is_absolute()


def refuse_vanishing(run: str) -> None:
    """Refuse a run directory that a job could only have in its own folder.

    Raises:
        ClusterError: If it is relative.
    """
    if not stays(run):
        raise ClusterError(
            f"--run {run} is relative, but a job's own folder vanishes with it. Give a URI, such "
            "as s3://BUCKET/runs/first, or an absolute path on the head: /home/ubuntu/runs/first"
        )
