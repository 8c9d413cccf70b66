"""Tasks: data, front end, head and metric; one file per kind, and the user's own."""

from __future__ import annotations

from workers.tasks.errors import TaskError
from workers.tasks.loading import KINDS, load_task

__all__ = ["KINDS", "TaskError", "load_task"]
