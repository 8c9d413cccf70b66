"""The experiment on weight inheritance: what it trains, and what it makes of it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tiny import ROOT, arguments

from evo_nas.births import read_births
from evo_nas.cli import main as evo_nas
from evo_nas.record import read_header
from evo_nas.sessions import last_config
from evo_nas.setting import load_same_data
from workers.messages import Request
from workers.training import evaluate


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """The script, which finds its neighbours as it does when it is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        return importlib.import_module("inheritance")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    words = arguments(folder, "--evaluations", "16", "--seeds", "0", "--seed", "3")
    evo_nas(words, standalone_mode=False)
    return folder / "run"


def started(benchmark: ModuleType, run: Path, out: Path, pairs: int = 3) -> None:
    words = ["inheritance.py", str(run), "--pairs", str(pairs), "--seeds", "2", "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        benchmark.main()


def test_what_was_trained_is_not_trained_again(
    benchmark: ModuleType, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    started(benchmark, run, out)
    table, lines = capsys.readouterr().out, out.read_text()
    assert len(lines.splitlines()) == 1 + 3 * 2 * 6
    assert "| edges + ends, 1x | 0 |" in table and "3 children with a known truth" in table
    half = len(lines) // 2
    out.write_text(lines[:half])  # killed while it wrote a line
    started(benchmark, run, out)
    assert out.read_text() == lines
    assert capsys.readouterr().out == table


def test_trainings_of_another_run_are_refused(
    benchmark: ModuleType, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text('{"created": "before"}\n')
    with pytest.raises(SystemExit, match="trainings of another run or budget. Give another --out"):
        started(benchmark, run, out)


def test_more_pairs_than_the_run_has_are_refused(
    benchmark: ModuleType, run: Path, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=r"the run has \d+ pairs of child and parent"):
        started(benchmark, run, tmp_path / "out.jsonl", pairs=1000)


def test_from_scratch_is_what_a_search_does_and_inheriting_is_not(
    benchmark: ModuleType, run: Path
) -> None:
    header, births, _ = read_births(run)
    config = last_config(run, header)
    task = load_same_data(config, read_header(run))
    (pair,) = benchmark.pairs_of(births, config.training, 1)
    asked, _ = births.events(pair.birth)
    assert asked.genome == pair.child
    assert pair.parent == births.events(asked.parent or 0)[0].genome
    result = evaluate(Request(pair.birth, pair.child, 4, pair.training), task)
    found = {row.kind: row.fitness for row in benchmark.trainings([pair], [4], task, ())}
    assert found["scratch"] == result.fitness
    assert len(set(found.values())) == len(found)


def test_the_figures_are_those_of_a_table_made_by_hand(benchmark: ModuleType) -> None:
    table = importlib.import_module("inheritance_table")
    truths = [1.0, 2.0, 3.0, 4.0]
    orders = {"parent": [1, 1, 2, 2], "scratch": [2, 1, 3, 4], "edges": [4, 3, 2, 1]}
    orders |= {"edges + ends": truths, "scratch 2x": truths, "4x": truths}
    rows = [
        table.Trained(birth, kind, seed, value + (0.1 * seed if kind == "edges" else 0.0))
        for kind, values in orders.items()
        for birth, value in enumerate(values)
        for seed in range(2)
    ]
    rows += [
        table.Trained(9, kind, seed, None if kind == "4x" else 9.0)
        for kind in orders
        for seed in (0, 1)
    ]
    figures, children, at_random = table.figures_of(rows)
    assert (children, at_random) == (4, 1.5)
    assert figures["scratch"].rank.mean == pytest.approx(0.8)
    assert figures["scratch"].regret.mean == 0 and figures["scratch"].gain is None
    assert figures["edges"].rank.mean == pytest.approx(-1)
    assert figures["edges"].rank_gain.mean == pytest.approx(-1.8)
    assert figures["edges"].regret.mean == 3 == figures["edges"].regret_of_draws.mean
    assert figures["edges"].gain.mean == pytest.approx(0.05)
    assert figures["edges"].gain.half_width == pytest.approx(12.706 * 0.05, rel=1e-3)
    assert figures["edges"].median_gain == pytest.approx(0.55)
    assert figures["edges + ends"].with_parent.mean == pytest.approx(0.894, abs=1e-3)
