"""What a linear map makes of the task of docs/results.md: ETTh1, 96 hours to the next 24.

    python benchmarks/linear_forecast.py ETTh1.csv

Test errors of a ridge regression from a series' window to its future, one for all series (NLinear
of Zeng et al. 2023, AAAI, in closed form), and of the same hours of the day before. Split and
standardisation are the task's own, with the options of examples/verdicts/transformer.toml.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.tasks.forecasting import ForecastingTask, Options, make

PENALTY = 10.0
CONFIG = Path(__file__).parents[1] / "examples" / "verdicts" / "transformer.toml"
Rows = npt.NDArray[np.float64]


def windows(task: ForecastingTask, first: int, end: int) -> tuple[Rows, Rows]:
    """Windows and futures ``(windows * series, time)``, less the last value of the window."""
    firsts = np.arange(first, end - task.horizon + 1)
    values = task.outputs.astype(float)
    last = values[firsts - 1]
    before = values[firsts + np.arange(-task.window, 0)[:, None]] - last
    after = values[firsts + np.arange(task.horizon)[:, None]] - last
    return before.reshape(task.window, -1).T, after.reshape(task.horizon, -1).T


def main() -> None:
    """Print the two errors."""
    keys = tomllib.loads(CONFIG.read_text())["task"]
    keys.pop("kind")
    task = make(sys.argv[1], Options(**keys | {"split": tuple(keys["split"])}))
    before, after = windows(task, task.window, task.rows["training"][1])
    reads = np.c_[before, np.ones(len(before))]
    weights = np.linalg.solve(reads.T @ reads + PENALTY * np.eye(reads.shape[1]), reads.T @ after)
    before, after = windows(task, *task.rows["test"])
    predicted = np.c_[before, np.ones(len(before))] @ weights
    print(
        f"ridge regression, penalty {PENALTY:g}: test MSE {np.mean((predicted - after) ** 2):.4f}"
    )
    day_before = before[:, -task.horizon :]
    print(f"the same hours of the day before: test MSE {np.mean((day_before - after) ** 2):.4f}")


if __name__ == "__main__":
    main()
