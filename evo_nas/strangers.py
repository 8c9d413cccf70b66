"""What a file may not decide by itself: whose code is imported, and whose cluster is joined.

Configurations and run directories are passed on, so they may come from anyone; using one must be
safe. Two things in them are not data: a task ``package.module:factory`` is called with arguments
that stand in the same file (``os:system`` can be imported everywhere), and the head of a Ray
cluster can run code in each process that connects to it. Both happen only if they are named once
more on the command line. Where a file came from, whom it belongs to or what lies on the import path
says nothing: all of that is the same for one that was unpacked a moment ago.
"""

from __future__ import annotations

import shlex

from evo_nas.config_tables import SearchConfig
from evo_nas.errors import SearchError

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
            f"If you trust it and the file, say so: --task {shlex.quote(kind)}"
        )
    wanted = config.workers.address
    if wanted not in HERE and address != wanted:
        raise SearchError(
            f"{source} names the Ray cluster {wanted!r}, which can run code in this process. If "
            f"you trust it, say so: --address {shlex.quote(wanted)} (or --address local)"
        )


def flags_to_repeat(config: SearchConfig) -> list[str]:
    """The words that a later command on the run needs, by `refuse_unsaid`."""
    words: list[str] = []
    if ":" in config.task.kind:
        words += ["--task", config.task.kind]
    if config.workers.address not in HERE:
        words += ["--address", config.workers.address]
    return words
