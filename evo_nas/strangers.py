"""What a file may not decide by itself: whose code is imported, whose cluster is joined, and where
anything is written.

Configurations and run directories are passed on, so they may come from anyone; using one must be
safe. Three things in them are not data: a task ``package.module:factory`` is called with arguments
that stand in the same file (``os:system`` can be imported everywhere), the head of a Ray cluster
can run code in each process that connects to it, and files are made where a run or a folder of
scalars is said to lie, in a bucket of somebody else's or where programs are started from. They
happen only if they are named once more on the command line, but for places below the folder that
the command runs in. Where a file came from, whom it belongs to or what lies on the import path says
nothing: all of that is the same for one that was unpacked a moment ago.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from evo_nas.config_tables import SearchConfig
from evo_nas.errors import SearchError
from evo_nas.record.paths import is_uri
from genomes.readable import readable

HERE = ("local", "auto")
"""Addresses that lead to nobody whom the user has not chosen: a Ray of the command's own, and the
cluster this machine is part of (or that RAY_ADDRESS names)."""


def refuse_unsaid(
    config: SearchConfig, source: str, *, task: str | None, address: str | None
) -> None:
    """Refuse what only a file says.

    Args:
        config: What is about to be done.
        source: The file or run directory it comes from, for the message.
        task: The task's kind as the command line has it; None if it has none.
        address: Likewise the address of the cluster.

    Raises:
        SearchError: If the task is code, or the cluster another machine's, and the command line
            does not name it; or if it names another task.
    """
    kind = config.task.kind
    if task is not None and task != kind:
        raise SearchError(f"{source}: its task is {kind!r}, but --task says {task!r}.")
    if ":" in kind and task is None:
        raise SearchError(
            f"{source} names the task {kind!r}, which is code that would be imported and called. "
            f"If you trust it and the file, say so: --task {_quoted(kind)}"
        )
    wanted = config.workers.address
    if wanted not in HERE and address != wanted:
        raise SearchError(
            f"{source} names the Ray cluster {wanted!r}, which can run code in this process. If "
            f"you trust it, say so: --address {_quoted(wanted)} (or --address local)"
        )


def refuse_unsaid_run(config: SearchConfig, source: str, said: str | None) -> None:
    """Refuse to begin a run where only a file says, unless it is below the working directory.

    Args:
        config: What is about to be done.
        source: The file it comes from, for the message.
        said: The run as the command line has it; None if it has none.

    Raises:
        SearchError: If the command line has to name the place.
    """
    if config.run is not None and said is None:
        _refuse_elsewhere(config.run, source, "run")


def refuse_unsaid_scalars(
    config: SearchConfig, source: str, said: str | None, known: bool = False
) -> None:
    """Refuse to write scalars where only a file says, as `refuse_unsaid_run`.

    Args:
        known: Whether scalars of this very run lie there: then its user said so before.

    Raises:
        SearchError: Also if the place is no folder of this machine, whoever says it.
    """
    place = config.watching.tensorboard
    if not place:
        return
    if is_uri(place):
        raise SearchError(
            f"{source if said is None else 'the command line'}: tensorboard is {place!r}, but "
            "scalars go to a folder of this machine. Give its path: --tensorboard FOLDER"
        )
    if said is None and not known:
        _refuse_elsewhere(place, source, "tensorboard", " (or --tensorboard '' for none)")


def _refuse_elsewhere(place: str, source: str, flag: str, instead: str = "") -> None:
    # A link may have come along with the file: it is where it leads to that counts.
    inside = Path(os.path.realpath(place)).is_relative_to(os.path.realpath("."))
    if is_uri(place) or not inside:
        raise SearchError(
            f"{source}: {flag} is {place!r}, which does not lie below the folder you are in. If it "
            f"is to be written to, say so: --{flag} {_quoted(place)}{instead}"
        )


def _quoted(word: str) -> str:
    """A word of a command line, in one line."""
    return readable(shlex.quote(word))


def flags_to_repeat(config: SearchConfig) -> list[str]:
    """The words that a later command on the run needs, by `refuse_unsaid`."""
    words: list[str] = []
    if ":" in config.task.kind:
        words += ["--task", config.task.kind]
    if config.workers.address not in HERE:
        words += ["--address", config.workers.address]
    return words
