"""Which errors are the user's to mend: they are shown as one line, without a traceback."""

from __future__ import annotations

import sys


class RecordError(RuntimeError):
    """A run directory cannot be used as asked; the message names the file and what to do."""


class SearchError(RuntimeError):
    """A search cannot begin or go on; the message says why and what to do."""


class LineageError(ValueError):
    """There is no answer to a question about the record; the message says what there is."""


class BenchError(ValueError):
    """A table of recorded results cannot be used; the message says where and why."""


class ClusterError(RuntimeError):
    """A cluster, or a file that describes one, cannot be used; the message says what to do."""


_USERS = {
    ("evo_nas.config_check", "ConfigError"),
    ("evo_nas.errors", "RecordError"),
    ("evo_nas.record.durable", "RunLocked"),
    ("evo_nas.errors", "SearchError"),
    ("evo_nas.order", "Unrepeatable"),
    ("evo_nas.errors", "LineageError"),
    ("evo_nas.errors", "BenchError"),
    ("evo_nas.errors", "ClusterError"),
    ("genomes.genome", "InvalidGenome"),
    ("workers.tasks.errors", "TaskError"),
    ("workers.limits", "PoolError"),
    ("workers.cluster_jobs", "JobsError"),
    ("workers.cluster_files", "NoValidator"),
    ("workers.engine.native.library", "NativeUnavailable"),
    ("workers.engine.native.memory", "NotEnoughMemory"),
}


def is_users(error: BaseException) -> bool:
    """Whether an error's own message says what is wrong and what to do.

    Looks at modules already imported only, so that asking costs nothing.
    """
    if isinstance(error, OSError):
        return True  # its text names the file and what the system said
    kinds = (getattr(sys.modules.get(module), name, None) for module, name in _USERS)
    return any(kind is not None and isinstance(error, kind) for kind in kinds)


def shown(error: BaseException) -> str:
    """The text of an error as it is shown: nothing that a file holds acts on the terminal, and what
    quotes a record or a table is one line of bounded length."""
    from evo_nas.config_check import ConfigError
    from genomes.readable import OneLine, readable

    if isinstance(error, RecordError | LineageError | BenchError | ConfigError):
        return str(OneLine(error))
    return readable(str(error), keep="\n")
