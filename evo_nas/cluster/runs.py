"""Where the run of a job may lie: a job's own folder vanishes with it."""

from __future__ import annotations

from evo_nas.errors import ClusterError
from evo_nas.record.paths import is_uri, stays, uri_parts


def refuse_vanishing(run: str) -> None:
    """Refuse a run directory that a job could only have in its own folder.

    Raises:
        ClusterError: If it is relative.
        RecordError: If it is a URI that is no place for a run.
    """
    if not stays(run):
        raise ClusterError(
            f"--run {run} is relative, but a job's own folder vanishes with it. Give a URI, such "
            "as s3://BUCKET/runs/first, or an absolute path on the head: /home/ubuntu/runs/first"
        )
    if is_uri(run):
        uri_parts(run)
