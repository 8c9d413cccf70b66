"""Small labelled sequences in files, and the task or the refusal they give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from workers.tasks import TaskError, load_task
from workers.tasks.classification import ClassificationTask


def classification(data: Path, **options: object) -> ClassificationTask:
    task = load_task("classification", str(data), options)
    assert isinstance(task, ClassificationTask)
    return task


def refusal(data: Path, **options: object) -> str:
    with pytest.raises(TaskError) as caught:
        load_task("classification", str(data), options)
    return str(caught.value)


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def npz(folder: Path, name: str = "data.npz", **arrays: object) -> Path:
    path = folder / name
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def ramps(count: int = 60, steps: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Sequences (N, T, 2): the second feature rises in class 1, falls in class 0."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    slope = np.where(labels == 1, 1.0, -1.0)[:, None]
    second = 100 + slope * np.arange(steps) + rng.normal(size=(count, steps))
    return np.stack([rng.normal(size=(count, steps)), second], axis=2), labels
