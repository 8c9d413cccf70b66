"""The Pareto front that ``status`` shows of a multi-objective run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evo_nas.front import not_dominated
from tests.faulty_runs import Forks
from tests.tiny import arguments

CELLS = st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=1, max_size=30)


@given(CELLS)
def test_the_front_is_what_nothing_dominates(cells: list[tuple[int, int, int]]) -> None:
    fitness = np.array([cell[0] for cell in cells], float)
    costs = np.array([cell[1:] for cell in cells], float)
    kept = not_dominated(fitness, costs)

    def dominates(a: tuple[int, int, int], b: tuple[int, int, int]) -> bool:
        return a != b and a[0] >= b[0] and a[1] <= b[1] and a[2] <= b[2]

    expected = [i for i, cell in enumerate(cells) if not any(dominates(o, cell) for o in cells)]
    assert sorted(kept) == expected
    assert [fitness[k] for k in kept] == sorted((fitness[k] for k in kept), reverse=True)


def test_status_shows_the_front_of_a_multi_objective_run(tmp_path: Path, forks: Forks) -> None:
    config = tmp_path / "search.toml"
    config.write_text(
        '[evolution]\nstrategy = "nsga2"\nobjectives = ["parameters", "multiply_adds"]\n'
    )
    words = arguments(tmp_path, "--evaluations", "16", "--seeds", "0")
    searched = forks.evo_nas(words[0], str(config), *words[1:])
    assert searched.returncode == 0, searched.stderr
    text = forks.evo_nas("status", str(tmp_path / "run")).stdout
    assert "Pareto front" in text and "multiply-adds" in text
    front = json.loads(forks.evo_nas("status", str(tmp_path / "run"), "--json").stdout)["front"]
    assert front == sorted(front, key=lambda row: -row["fitness"])
    costs = [row["costs"]["parameters"] for row in front]
    assert all(set(row["costs"]) == {"parameters", "multiply_adds"} for row in front)
    assert len(set(costs)) > 1 or len(front) == 1


def test_status_of_any_other_run_has_no_front(tmp_path: Path, forks: Forks) -> None:
    searched = forks.evo_nas(*arguments(tmp_path, "--evaluations", "4", "--seeds", "0"))
    assert searched.returncode == 0, searched.stderr
    assert "Pareto" not in forks.evo_nas("status", str(tmp_path / "run")).stdout
