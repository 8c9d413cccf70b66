"""Which errors are the user's to mend: they are shown as one line, without a traceback."""

from __future__ import annotations

import sys

from genomes.readable import OneLine


class RecordError(OneLine, RuntimeError):
    """A run directory cannot be used as asked; the message names the file and what to do."""


class SearchError(RuntimeError):
    """A search cannot begin or go on; the message says why and what to do."""


class LineageError(OneLine, ValueError):
    """There is no answer to a question about the record; the message says what there is."""


class BenchError(OneLine, ValueError):
    """A table of recorded results cannot be used; the message says where and why."""


_USERS = {
    ("evo_nas.config_check", "ConfigError"),
    ("evo_nas.errors", "RecordError"),
    ("evo_nas.record.durable", "RunLocked"),
    ("evo_nas.errors", "SearchError"),
    ("evo_nas.order", "Unrepeatable"),
    ("evo_nas.errors", "LineageError"),
    ("evo_nas.errors", "BenchError"),
    ("genomes.genome", "InvalidGenome"),
    ("workers.tasks.errors", "TaskError"),
    ("workers.limits", "PoolError"),
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
