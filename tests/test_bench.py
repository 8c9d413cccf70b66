"""Strategies on recorded results: what is read, how mutations stay inside, what is printed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from evo_nas.bench.neighbours import Neighbours
from evo_nas.bench.replay import configurations, replay, replay_all
from evo_nas.bench.summary import summary_of
from evo_nas.bench.table import Cell, Table, read_table
from evo_nas.cli import main
from evo_nas.config import with_overrides
from evo_nas.config_tables import SearchConfig
from evo_nas.errors import BenchError
from genomes import Genome, SearchSpace, canonical, random_genome
from genomes.features import similarity
from genomes.nas_bench_nlp import to_recipe
from tests.hostile import edit_document, ran, strangers_run
from tests.shared_data import shared_data
from tests.tiny import arguments, evo_nas

SPACE = SearchSpace(
    max_states=2,
    max_nodes=12,
    activations=("tanh", "sigmoid"),
    combinations=("mul", "add"),
    scales=False,
)


def drawn(rng: np.random.Generator) -> Genome:
    """A random cell of the benchmark's space."""
    while True:
        genome = random_genome(SPACE, rng)
        nodes = [replace(n, bias=True) if n.op == "linear" else n for n in genome.nodes]
        genome = replace(genome, nodes=tuple(nodes))
        try:
            to_recipe(genome)
        except ValueError:
            continue  # linears of one source, which the benchmark lacks
        return genome


def loss_of(genome: Genome) -> float | None:
    """Of a cell, decided by its structure; cells with three tanh or more fail."""
    ops = [node.op for node in canonical(genome).nodes]
    if ops.count("tanh") >= 3:
        return None
    return 5.0 - 0.1 * ops.count("mul") + 0.01 * len(ops)


def made_rows(count: int = 120) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    rows: dict[str, dict[str, Any]] = {}
    while len(rows) < count:
        genome = drawn(rng)
        loss = loss_of(genome)
        runs = [None if loss is None else loss + float(rng.normal(0, 0.004)) for _ in range(3)]
        rows[genome.digest] = {
            "recepie": to_recipe(genome),
            "runs": [{"test_loss": value} for value in runs],
        }
    return list(rows.values())


@pytest.fixture(scope="module")
def table_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "made.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made_rows()))
    return path


@pytest.fixture(scope="module")
def neighbours(table_file: Path) -> Neighbours:
    return Neighbours(read_table(table_file))


def settings(evaluations: int = 60, **flags: Any) -> SearchConfig:
    return with_overrides(SearchConfig(), evaluations=evaluations, **flags)


def test_fitness_is_the_negative_loss_and_regret_is_counted_on_the_mean(table_file: Path) -> None:
    table = read_table(table_file)
    means = {d: c.mean for d, c in table.cells.items() if c.mean is not None}
    digest = max(means, key=lambda d: means[d])
    assert (
        table.best
        == means[digest]
        == pytest.approx(-np.mean([-v for v in table.cells[digest].runs]))
    )
    assert table.regret(digest) == 0
    assert table.regret(None) == table.best - min(means.values()) > 0


def test_a_cell_that_failed_once_can_fail_or_not_when_it_is_looked_up() -> None:
    genome = drawn(np.random.default_rng(1))
    table = Table("t", "nats", {genome.digest: Cell(genome, (-5.0, None, -5.1))})
    rng = np.random.default_rng(0)
    seen = {table.look_up(genome.digest, rng) for _ in range(50)}
    assert seen == {-5.0, None, -5.1}
    assert table.cells[genome.digest].mean == pytest.approx(-5.05)


def write_gzip(path: Path, rows: list[dict[str, Any]]) -> Path:
    with gzip.open(path.with_suffix(".jsonl.gz"), "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path.with_suffix(".jsonl.gz")


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    # Recipes have a node name for every node of every cell; a column of text holds them best.
    plain = [row | {"recepie": json.dumps(row["recepie"])} for row in rows]
    pq.write_table(pa.Table.from_pylist(plain), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def write_structs(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


@pytest.mark.parametrize("write", [write_gzip, write_parquet, write_structs])
def test_every_form_of_a_table_is_the_same_table(
    write: Callable[[Path, list[dict[str, Any]]], Path], tmp_path: Path, table_file: Path
) -> None:
    rows = made_rows(20)
    plain = tmp_path / "plain.jsonl"
    plain.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_table(write(tmp_path / "other", rows)).cells == read_table(plain).cells


def test_rows_of_one_digest_are_one_cell_with_all_their_runs(tmp_path: Path) -> None:
    row = made_rows(1)[0]
    path = tmp_path / "twice.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    (cell,) = read_table(path).cells.values()
    assert len(cell.runs) == 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json\n", "cannot be read as lines of JSON"),
        ("[1]\n", "row 1: is no JSON object"),
        ("{}\n", "row 1: it has no 'recepie' or 'recipe'"),
        ('{"recepie": {"a": {"op": "magic", "input": ["x"]}}, "test_loss": 1}\n', "row 1"),
        ("", "holds no cell with a fitness"),
    ],
)
def test_a_table_that_is_none_is_refused_naming_the_row(
    content: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(BenchError) as caught:
        read_table(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_a_row_without_a_loss_says_which_keys_are_wanted(tmp_path: Path) -> None:
    path = tmp_path / "lossless.jsonl"
    path.write_text(json.dumps({"recepie": made_rows(1)[0]["recepie"], "loss": 3.0}) + "\n")
    with pytest.raises(BenchError, match="row 1: a run has none of test_loss, final_val_loss"):
        read_table(path)


def test_a_file_that_is_not_there_is_an_error_of_the_command(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["bench", str(tmp_path / "no.jsonl")])
    assert result.exit_code == 1
    assert "there is no such table, and no run directory" in result.output


def test_parts_of_a_table_are_disjoint_and_together_all_of_it(table_file: Path) -> None:
    table = read_table(table_file)
    parts = [table.part(number, 3) for number in (1, 2, 3)]
    assert sorted(d for part in parts for d in part.digests) == sorted(table.digests)


def test_children_stay_in_the_table_and_are_never_their_parent(neighbours: Neighbours) -> None:
    rng = np.random.default_rng(0)
    for digest in neighbours.table.digests[:10]:
        parent = neighbours.table.cells[digest].genome
        children = [
            neighbours.mutate(parent, rng=rng, identity_rate=0.0)[0].digest for _ in range(30)
        ]
        assert set(children) <= neighbours.table.cells.keys() - {digest}
        assert len(set(children)) > 1


def test_a_child_outside_the_table_becomes_the_most_similar_cell(neighbours: Neighbours) -> None:
    table = neighbours.table
    parent = table.digests[0]
    outside = drawn(np.random.default_rng(77))
    assert outside.digest not in table.cells
    others = [d for d in table.digests if d != parent]
    most = max(similarity(outside, table.cells[d].genome) for d in others)
    found = neighbours._nearest(outside, parent)
    assert similarity(outside, table.cells[found].genome) == pytest.approx(most, abs=1e-6)


def test_the_identity_mutation_trains_the_parent_again(neighbours: Neighbours) -> None:
    parent = neighbours.table.cells[neighbours.table.digests[3]].genome
    rng = np.random.default_rng(0)
    child, record = neighbours.mutate(parent, rng=rng, identity_rate=1.0)
    assert (child, record) == (parent, {"operator": "identity"})


@pytest.mark.parametrize("name", ["random", "regularized", "non_ageing", "guided", "nsga2"])
def test_a_replay_is_a_function_of_its_seed_and_regret_only_falls_with_better_cells(
    name: str, neighbours: Neighbours
) -> None:
    first, second = configurations(settings(), [name], 2)
    trace = replay(neighbours, first)
    assert replace(trace, seconds=0) == replace(replay(neighbours, first), seconds=0)
    assert trace.regret != replay(neighbours, second).regret
    assert len(trace.regret) == 60
    assert min(trace.regret) >= 0
    assert trace.regret[-1] < trace.regret[0]


def test_every_strategy_keeps_the_same_duplicate_rule(
    neighbours: Neighbours, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 120 cells, 120 evaluations without identity mutations see each cell once."""
    seen: list[str] = []
    look_up = Table.look_up

    def spy(table: Table, digest: str, rng: np.random.Generator) -> float | None:
        seen.append(digest)
        return look_up(table, digest, rng)

    monkeypatch.setattr(Table, "look_up", spy)
    for name in ("random", "regularized", "non_ageing", "guided"):
        seen.clear()
        (config,) = configurations(settings(120, identity_rate=0.0), [name], 1)
        assert replay(neighbours, config).regret[-1] < 0.02  # noise may hide the very best
        assert sorted(seen) == sorted(neighbours.table.cells)


def test_a_table_with_fewer_cells_than_evaluations_is_searched_to_its_end(
    neighbours: Neighbours,
) -> None:
    (config,) = configurations(settings(150, identity_rate=0.0), ["random"], 1)
    trace = replay(neighbours, config)
    assert len(trace.regret) == 150


def test_processes_give_what_one_process_gives(neighbours: Neighbours) -> None:
    configs = list(configurations(settings(24), ["random", "guided"], 2))
    alone = [replace(t, seconds=0) for t in replay_all(neighbours, configs, 0)]
    together = [replace(t, seconds=0) for t in replay_all(neighbours, configs, 2)]
    assert alone == together


def test_the_summary_has_the_mean_over_seeds_and_wins_against_random(
    neighbours: Neighbours,
) -> None:
    configs = configurations(settings(60), ["random", "guided"], 6)
    traces = list(replay_all(neighbours, configs, 0))
    summary = summary_of(neighbours.table, traces)
    random, guided = summary.standings
    last = guided.checkpoints[-1]
    own = [t.regret[-1] for t in traces if t.strategy == "guided"]
    other = [t.regret[-1] for t in traces if t.strategy == "random"]
    assert [c.evaluations for c in guided.checkpoints] == [50, 60]
    assert last.mean.mean == pytest.approx(np.mean(own))
    assert last.mean.low <= last.mean.mean <= last.mean.high
    assert last.wins == pytest.approx(
        np.mean([(a < b) + (a == b) / 2 for a, b in zip(own, other, strict=True)])
    )
    assert last.ratio is not None and last.ratio.mean == pytest.approx(
        np.mean(own) / np.mean(other)
    )
    assert random.checkpoints[-1].ratio is None
    assert summary.seeds == 6


def test_the_command_prints_a_table_and_draws_a_picture(table_file: Path, tmp_path: Path) -> None:
    words = ["bench", str(table_file), "--evaluations", "24", "--seeds", "3", "--processes", "0"]
    picture = tmp_path / "regret.svg"
    result = CliRunner().invoke(main, [*words, "--plot", str(picture)])
    assert result.exit_code == 0, result.output
    for name in ("random", "regularized", "non_ageing", "guided"):
        assert name in result.stdout
    assert "mean over 3 seeds [bootstrap 95 %]" in result.stdout
    drawn = ElementTree.fromstring(picture.read_text())
    assert len(drawn.findall("{http://www.w3.org/2000/svg}polyline")) == 4
    as_json = CliRunner().invoke(main, [*words, "--json", "--strategies", "random,guided"])
    document = json.loads(as_json.stdout)
    assert [s["strategy"] for s in document["standings"]] == ["random", "guided"]
    assert len(document["standings"][0]["curve"]) == 24


def test_a_unit_that_acts_on_a_terminal_is_escaped_in_table_and_picture(tmp_path: Path) -> None:
    run, picture = strangers_run(tmp_path), tmp_path / "regret.svg"
    edit_document(run / "run.json", unit="\x1b[2J\ud800\n<b>")
    words = ["bench", str(run), "--evaluations", "4", "--seeds", "2", "--processes", "0"]
    result = ran(*words, "--strategies", "random", "--plot", str(picture))
    assert result.exit_code == 0
    assert "regret \\x1b[2J\\ud800\\n<b>: mean over" in result.stdout
    (title, *_) = ElementTree.fromstring(picture.read_text()).iter(
        "{http://www.w3.org/2000/svg}text"
    )
    assert title.text is not None and "(\\x1b[2J\\ud800\\n<b>)" in title.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strategies", "random,magic"], "there is no 'magic'. Known are: random"),
        (["--part", "3/2"], "is not of the form K/N"),
    ],
)
def test_wrong_flags_are_wrong_usage(words: list[str], message: str, table_file: Path) -> None:
    result = CliRunner().invoke(main, ["bench", str(table_file), *words])
    assert result.exit_code == 2
    assert message in result.output


def test_a_run_of_ones_own_is_a_table(tmp_path: Path) -> None:
    searched = evo_nas(*arguments(tmp_path, "--evaluations", "14", "--seeds", "0"))
    assert searched.returncode == 0, searched.stderr
    table = read_table(tmp_path / "run")
    assert 4 < len(table.cells) <= 14
    assert table.unit == "nats/char"
    words = ["bench", str(tmp_path / "run"), "--evaluations", "8", "--seeds", "2"]
    result = CliRunner().invoke(main, [*words, "--processes", "0"])
    assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_on_the_public_table_guidance_beats_random_search() -> None:
    table = read_table(shared_data("nas-bench-nlp-ptb") / "public.jsonl.gz")
    assert len(table.cells) == 1136
    neighbours = Neighbours(table)
    names = ("random", "guided")
    configs = list(configurations(settings(60), names, 4))
    summary = summary_of(table, list(replay_all(neighbours, configs, 0)))
    random, guided = summary.standings
    assert guided.checkpoints[-1].mean.mean < random.checkpoints[-1].mean.mean
