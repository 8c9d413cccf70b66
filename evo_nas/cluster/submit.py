"""Sends a search to a cluster as a job, once: a run is written by one job at a time."""

from __future__ import annotations

import hashlib
import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evo_nas.cluster.package import SEARCH, Package
from evo_nas.errors import ClusterError, RecordError
from evo_nas.record.paths import is_uri

if TYPE_CHECKING:
    from workers.cluster_jobs import Job, Jobs

RUN = "evo_nas_run"
"""Key of a job's metadata: the run that it writes."""
OUTPUT_LINES = 12


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a job is to do.

    Attributes:
        run: The run directory: a URI, or an absolute path of the head.
        resume: Whether to go on with the run, rather than begin it.
        flags: Of `evo-nas job`, such as hours; None for those not given.
    """

    run: str
    resume: bool
    flags: dict[str, Any]


def submit(jobs: Jobs, wanted: Wanted, package: Package) -> str:
    """Submit the job, unless the run exists or another job writes it.

    Returns:
        The submission id.

    Raises:
        ClusterError: If the run exists (without ``resume``), does not exist (with it), or a job
            is at it.
        workers.cluster_jobs.JobsError: If the cluster refuses the job.
    """
    earlier = [job for job in jobs.all() if job.metadata.get(RUN) == wanted.run]
    refuse_second(wanted, earlier)
    name = f"{_prefix(wanted.run)}-{max(map(_number, earlier), default=0) + 1}"
    jobs.submit(name, command(wanted, package), package.file, {RUN: wanted.run})
    return name


def refuse_second(wanted: Wanted, earlier: Sequence[Job]) -> None:
    """Refuse a job for a run that is being written, or that would be begun a second time."""
    running = [job for job in earlier if not job.has_ended]
    if running:
        raise ClusterError(
            f"{wanted.run} is being written by the job {running[0].name} "
            f"({running[0].status}). Look at it with 'ray job logs {running[0].name}'; to go on "
            f"with it in another way, stop it first: ray job stop {running[0].name}"
        )
    if wanted.resume:
        return
    # A job that failed may have failed before it began the run: the next one finds out.
    done = [job for job in earlier if job.status != "FAILED"]
    if done or exists(wanted.run):
        last = max(done, key=_number, default=None)
        by = f" (the job {last.name} {last.status})" if last is not None else ""
        raise ClusterError(
            f"the run {wanted.run} exists{by}. Go on with it by adding --resume to this command, "
            "with more --hours or --evaluations if its budget is spent; or give a new --run."
        )


def exists(run: str) -> bool:
    """Whether this machine sees a run there; a path of the head it cannot see."""
    from evo_nas.record import read_header

    if not is_uri(run):
        return False
    try:
        read_header(run)
    except (RecordError, OSError):
        return False  # none, or not to be seen from here: the job itself refuses one that exists
    return True


def command(wanted: Wanted, package: Package) -> str:
    """The shell command of the job."""
    words = ["evo-nas", "job", SEARCH, "--run", wanted.run]
    words.append("--resume" if wanted.resume else "--new")
    for name, value in (wanted.flags | {"data": package.data}).items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def watch_start(jobs: Jobs, name: str, seconds: float) -> str:
    """Look at a job for a while, to tell at once if it fails at once.

    Returns:
        Its status at the end.

    Raises:
        ClusterError: If it failed; with the last lines of what it printed.
    """
    end = time.monotonic() + seconds
    while True:
        job = jobs.one(name)
        if job.status == "FAILED":
            lines = jobs.output(name).strip().splitlines()[-OUTPUT_LINES:]
            said = "\n".join(lines) or job.message
            raise ClusterError(f"the job {name} failed at once. It said:\n{said}")
        if job.has_ended or not time.monotonic() <= end:  # "nan" seconds are none
            return job.status
        time.sleep(0.5)


def _number(job: Job) -> int:
    """The end of a name, which tells the jobs of a run apart; some may have been deleted."""
    last = job.name.rpartition("-")[2]
    return int(last) if last.isdecimal() else 0


def _prefix(run: str) -> str:
    """A name for the jobs of a run: readable, and no other run's."""
    place = run.rstrip("/")
    last = re.sub(r"[^A-Za-z0-9]+", "-", place.rpartition("/")[2]).strip("-")[:40] or "run"
    return f"evo-nas-{last}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"
