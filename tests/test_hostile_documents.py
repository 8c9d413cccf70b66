"""What strangers may write into the sealed documents of a run: an answer or one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evo_nas.errors import RecordError
from evo_nas.record import HEADER
from evo_nas.record.sealed import opened, sealed
from evo_nas.warm_start import CELLS, FILE, earlier_of
from genomes.published import published
from tests.formats.make_run import text
from tests.hostile import (
    assert_readable,
    bounded,
    contents,
    edit_config,
    ran,
    refused,
    strangers_run,
    unchanged,
)
from tests.test_hostile_runs import looked_at_once, put_rows

Change = Callable[[dict[str, Any]], object]


def field(**values: Any) -> Change:
    return lambda config: config["field"].update(values)


def each_entrant(**values: Any) -> Change:
    return lambda config: [entrant.update(values) for entrant in config["field"]["entrants"]]


def trial(**values: Any) -> Change:
    good = {"learning_rate": 0.1, "metrics": [1.0], "failed": 0}
    return each_entrant(tuned=[good | values])


COMPARISONS: dict[str, tuple[Change, str]] = {
    "seeds beyond all": (lambda config: config.update(seeds=30_000_000), "30000000 seeds of 5"),
    "seeds that fill the memory": (lambda config: config.update(seeds=10**10), "seeds of 5 cells"),
    "seeds below zero": (lambda config: config.update(seeds=-1), "-1 seeds of 5 cells"),
    "a target of text": (field(target="x"), "its target is of another kind"),
    "a target that is a list": (field(target=[1]), "its target is of another kind"),
    "a control that is a list": (field(control=[]), "its control is of another kind"),
    "a control of text": (field(control="birth"), "its control is of another kind"),
    "a control of which little is known": (
        field(control={"birth": 1}),
        "the random search lacks what is known of it",
    ),
    "a control with a number for a mutation": (
        field(control={"birth": 1, "mutation": 5, "evaluations": 1, "run": "x"}),
        "the random search lacks what is known of it",
    ),
    "a rival from behind": (field(rival=-1), "its rival is of another kind"),
    "a rival that is no baseline": (field(rival=0), "the rival is no baseline"),
    "a rival beyond all": (field(rival=99), "IndexError"),
    "who is judged is a baseline": (field(judged=1), "who is judged is no cell of the run"),
    "who is judged is true": (field(judged=True), "its judged is of another kind"),
    "roles that are lists": (each_entrant(roles=[["search"]]), "its roles is of another kind"),
    "a metric of text": (each_entrant(search_metric="x"), "its search_metric is of another kind"),
    "a huge rate": (each_entrant(learning_rate=10**400), "its learning_rate is of another kind"),
    "a rate of text": (trial(learning_rate="x"), "its learning_rate is of another kind"),
    "trials that count text": (trial(failed="x"), "its failed is of another kind"),
    "an entrant with more": (each_entrant(more=1), "TypeError"),
}


def edit_comparisons(run: Path, change: Change) -> None:
    for path in run.glob("comparisons/*/run.json"):
        document = opened(path.read_bytes())[0]
        change(document["config"])
        path.write_bytes(sealed(document))


@pytest.mark.parametrize("case", COMPARISONS)
def test_a_comparison_of_another_kind_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    run, (change, message) = strangers_run(tmp_path), COMPARISONS[case]
    edit_comparisons(run, change)
    with unchanged(tmp_path), bounded(seconds=5):
        said = refused("compare", str(run), "--last")
    assert "is no comparison that this program wrote" in said and message in said


@pytest.mark.parametrize("form", [(), ("--markdown",), ("--json",)])
def test_a_comparison_of_metrics_beyond_all_reckoning_is_shown(
    tmp_path: Path, form: tuple[str, ...]
) -> None:
    run = strangers_run(tmp_path)

    def explode(row: dict[str, Any]) -> None:
        if row["event"] == "told" and row["birth"] % 3 == 0:
            row |= {"metric": 1e200, "fitness": -1e200}

    put_rows(run / "comparisons" / "003", explode)
    result = ran("compare", str(run), "--last", *form)
    assert result.exit_code == 0, result.stderr
    assert "e+200" not in result.stdout and "failed" in result.stdout


def test_what_a_search_measured_of_an_entrant_has_to_be_a_number(tmp_path: Path) -> None:
    run = strangers_run(tmp_path)
    mutation = '{"operator":"comparison","search_metric":"x"}'
    put_rows(
        run / "comparisons" / "003",
        lambda row: row.update(mutation=mutation) if row["event"] == "asked" else None,
    )
    assert "what a search measured is no number" in refused("compare", str(run), "--last")


def test_a_tuning_of_another_kind_is_not_gone_on_with(tmp_path: Path) -> None:
    run = strangers_run(tmp_path)
    path = run / "tuning" / "001" / HEADER
    document = opened(path.read_bytes())[0]
    document["config"]["field"]["entrants"] = 5
    path.write_bytes(sealed(document))
    data = tmp_path / "tiny.txt"
    data.write_text(text())
    said = refused("compare", str(run), "--workers", "0", "--data", str(data))
    assert f"{path.parent} is no comparison that this program wrote (TypeError" in said


LEARNED: dict[str, dict[str, Any]] = {
    "no cells": {"runs": []},
    "a number of cells": {"cells": 5},
    "a cell without a score": {"cells": [["x"]]},
    "a cell with more": {"cells": [["x", 1.0, 2]]},
    "a score of text": {"cells": [["x", "1"]]},
    "a score beyond all": {"cells": [["x", 10**400]]},
    "a genome that is a number": {"cells": [[5, 1.0]]},
    "a genome that is none": {"cells": [["{}", 1.0]]},
    "very many cells": {"cells": [["{}", 1.0]] * (CELLS + 1)},
}


@pytest.mark.parametrize("case", LEARNED)
def test_cells_to_learn_from_that_are_none_are_refused(tmp_path: Path, case: str) -> None:
    (tmp_path / FILE).write_bytes(sealed(LEARNED[case]))
    with pytest.raises(RecordError) as caught:
        earlier_of(tmp_path, ["/nowhere"])
    assert_readable(said := str(caught.value))
    assert said.startswith(f"{tmp_path / FILE} is damaged or was edited: ") and ".." not in said
    cell = published("gru")
    (tmp_path / FILE).write_bytes(sealed({"cells": [[cell.to_json(), 1.0]]}))
    assert earlier_of(tmp_path, ["/nowhere"]) == [(cell, 1.0)]


@pytest.mark.parametrize("name", [HEADER, "sessions/001.json", "checkpoints"])
def test_a_document_that_would_take_much_memory_to_read_is_refused_unread(
    tmp_path: Path, name: str
) -> None:
    run = strangers_run(tmp_path)
    path = run / name if name != "checkpoints" else max((run / name).iterdir())
    path.write_text('{"a":[' + "{}," * 6_000_000 + "{}]}")
    with bounded(memory=100 * 2**20, seconds=5):
        result = looked_at_once("status", str(run), *(["--watch"] if "sessions" in name else []))
    (said,) = [line for line in result.stderr.splitlines() if "bytes" in line]
    assert f"{path} has 18,000,010 bytes, which no such file of a run has" in said
    assert_readable(said)


def test_baselines_that_nobody_knows_are_told_before_a_search_goes_on(tmp_path: Path) -> None:
    run = strangers_run(tmp_path)
    edit_config(run, "compare", baselines=["\x1b[2J"], seeds=1)
    data = tmp_path / "tiny.txt"
    data.write_text(text())
    words = ("resume", str(run), "--evaluations", "17", "--workers", "0", "--data", str(data))
    before = contents(run / "segments")
    assert refused(*words).startswith("no published cell is called '\\x1b[2J'. Known are: ")
    assert contents(run / "segments") == before
    assert ran(*words, "--seeds", "0").exit_code == 0  # where none is needed none is missed


def test_an_objective_that_is_named_twice_is_refused_before_any_file(tmp_path: Path) -> None:
    config = tmp_path / "search.toml"
    names = '["parameters", "multiply_adds", "parameters"]'
    config.write_text(f'[evolution]\nstrategy = "nsga2"\nobjectives = {names}\n')
    said = refused("search", str(config), "--run", str(tmp_path / "run"), "--evaluations", "4")
    assert said.endswith("strategy 'nsga2' weighs each once. Name none twice.")
    assert not (tmp_path / "run").exists()
