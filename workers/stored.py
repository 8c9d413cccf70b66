"""Puts the task where all workers find it."""

from __future__ import annotations

from pickle import PickleError
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import ObjectStoreFullError, OutOfDiskError

from workers.limits import PoolError

if TYPE_CHECKING:
    from workers.tasks.base import Task


def stored(task: Task) -> list[Any]:
    """One reference to the task, kept by whoever holds the list.

    Raises:
        PoolError: If it cannot be sent to workers, or does not fit into Ray's memory for data.
    """
    try:
        return [ray.put(task)]
    except (TypeError, AttributeError, ValueError, RecursionError, PickleError) as error:
        raise PoolError(
            f"the task of type {type(task).__qualname__} cannot be sent to workers: {error}. "
            "Keep open files, locks and the like out of it, or use --workers 0."
        ) from error
    except (ObjectStoreFullError, OutOfDiskError) as error:
        raise PoolError(
            f"the task does not fit into Ray's memory for data: {str(error).splitlines()[0]}. Give "
            "Ray more (ray start --object-store-memory), use less data, or --workers 0."
        ) from error
