"""What readers of a record say of candidates that were stopped at a rung."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from evo_nas.births import births_in
from evo_nas.config_tables import SearchConfig
from evo_nas.events import Event, Told
from evo_nas.history import History
from evo_nas.lineage import best, best_finished, entries, mutation_table, path
from evo_nas.lineage_output import entries_text, path_text, to_dot
from evo_nas.loop import Budget, Clock
from evo_nas.past import Totals
from evo_nas.progress import ProgressLine
from evo_nas.record import read_events
from evo_nas.status import summary
from evo_nas.status import to_text as status_text
from evo_nas.strategies import Indifferent, rules_of
from genomes.published import published
from tests.faulty_runs import Forks
from tests.test_lineage import CHANGED, HEADER, asked, failed, told
from tests.tiny import arguments

MGU, LSTM, UGRNN = (published(name) for name in ("mgu", "lstm", "ugrnn"))


def stopped(birth: int, metric: float, step: int) -> Told:
    result = told(birth, metric)
    return replace(result, status="stopped", steps=step, rungs=((step, metric),))


def family() -> list[Event]:
    """GRU (0) is whole, LSTM (1) and 2, a child of 0, were stopped at step 40; of 2 come 3, stopped
    at 40 too, and 4, stopped at 120; 5 failed; 6 trains the cell of 2 again, up to step 120."""
    return [
        asked(0, operator="published", name="gru"),
        told(0, 2.0),
        asked(1, genome=LSTM, operator="published", name="lstm"),
        stopped(1, 1.5, 40),
        asked(2, 0, genome=CHANGED, generation=1),
        stopped(2, 3.0, 40),
        asked(3, 2, genome=MGU, generation=2),
        stopped(3, 2.5, 40),
        asked(4, 2, genome=UGRNN, generation=2),
        stopped(4, 2.25, 120),
        asked(5, 2, digest="other", generation=2),
        replace(failed(5), steps=7),
        asked(6, 2, genome=CHANGED, operator="identity", generation=2),
        stopped(6, 2.75, 120),
    ]


def test_the_best_come_furthest_and_are_shown_by_the_birth_that_came_so_far() -> None:
    found = [(e.birth, e.steps, e.fitness, e.evaluations) for e in best(births_in(family()), 9)]
    assert found == [
        (0, 400, -2.0, 1),
        (4, 120, -2.25, 1),
        (6, 120, -2.75, 1),
        (1, 40, -1.5, 1),
        (3, 40, -2.5, 1),
    ]


def test_only_whole_trainings_count_as_finished_unless_there_is_none() -> None:
    events = family()
    assert [entry.birth for entry in best_finished(births_in(events), 9)] == [0]
    assert [entry.birth for entry in best_finished(births_in(events[2:4]), 9)] == [1]
    orphans = [asked(2, genome=CHANGED), *events[5:]]
    assert [entry.birth for entry in best_finished(births_in(orphans), 9)] == [4, 6]
    births = births_in(events)
    assert births.mean_fitness(published("gru").digest) == -2.0
    assert births.mean_fitness(LSTM.digest) is None


def test_a_gain_is_the_difference_between_cells_that_came_equally_far() -> None:
    gains = {entry.birth: entry.gain for entry in entries(births_in(family()))}
    # 2 stands at step 120 since birth 6, so that 4 may be compared with it and 3 may not.
    assert gains == {0: None, 1: None, 2: None, 3: None, 4: 0.5, 5: None, 6: None}
    (row, again) = mutation_table(births_in(family()))
    assert (row.operator, row.count, row.failures, row.mean_gain) == ("rewire", 4, 1, 0.5)
    assert (again.operator, again.failures) == ("identity", 0)


def test_a_lineage_says_where_each_was_stopped() -> None:
    births = births_in(family())
    text = path_text(path(births, 4), HEADER)
    assert "  metric 2.0000, 1,000 parameters, 2.0 s\n" in text
    assert "  metric 3.0000 at step 40, stopped, in another evaluation -2.7500 at step 120" in text
    assert "  metric 2.2500 at step 120, stopped, gain +0.5000" in text
    assert 'label="birth 4\\nrewire\\n2.2500 at step 120, stopped"' in to_dot(entries(births))


def test_a_table_with_stopped_candidates_has_their_steps_and_another_has_not() -> None:
    _, names, first, *_, last = entries_text(entries(births_in(family())), HEADER).splitlines()
    assert names.split()[4:9] == ["status", "step", "metric", "step", "fitness"]
    assert first.split()[4:9] == ["ok", "400", "2.0000", "400", "-2.0000"]
    assert last.split()[4:9] == ["stopped", "120", "2.7500", "120", "-2.7500"]
    _, names, _ = entries_text(entries(births_in(family()[:2])), HEADER).splitlines()
    assert names.split()[4:7] == ["status", "metric", "fitness"]


def test_a_status_counts_stops_by_step_and_the_steps_that_were_saved() -> None:
    status = summary(HEADER, births_in(family()))
    assert status.stopped == {40: 3, 120: 2}
    assert (status.steps, status.whole_steps) == (767, 2407)
    assert status.best is not None
    assert status.best.birth == 0
    assert status.published == {"gru": -2.0}
    text = status_text(status, HEADER)
    assert "\nfailed: diverged 1\nstopped: 5 (at step 40: 3, at step 120: 2)\n" in text
    assert "\noptimiser steps: 767 instead of 2,407 (32%)\n" in text
    whole = status_text(summary(HEADER, births_in(family()[:2])), HEADER)
    assert "stopped" not in whole
    assert "optimiser steps" not in whole


def test_the_totals_take_their_mean_and_best_from_whole_trainings() -> None:
    totals = Totals()
    for event in family():
        if isinstance(event, Told):
            totals.add(replace(event, seconds=8.0 if event.status == "ok" else 1.0))
    assert (totals.mean_seconds, totals.lowest, totals.highest) == (8.0, 2.0, 2.0)


def test_a_stopped_candidate_is_no_failure_in_the_progress() -> None:
    stream = io.StringIO()
    strategy = Indifferent(History(rules_of(SearchConfig())))
    line = ProgressLine(strategy, Budget(9), Clock(), "nats", False, stream=stream)  # type: ignore[arg-type]
    line.told([stopped(birth, 2.0, 40) for birth in range(20)])
    line.end()
    assert "first failure" not in stream.getvalue()
    assert "have failed" not in stream.getvalue()
    assert "| stopped 20 | failed 0 |" in stream.getvalue()


def test_a_search_with_rungs_stops_candidates_and_compares_whole_trainings(
    tmp_path: Path, forks: Forks
) -> None:
    words = arguments(tmp_path, "--evaluations", "24", "--rungs", "0.25,0.5", "--keep", "0.5")
    done = forks.evo_nas(*words, "--steps", "8", "--seeds", "1", "--top", "2", "--json")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    results = [event for event in read_events(run)[0] if isinstance(event, Told)]
    stops = [event for event in results if event.status == "stopped"]
    assert {event.steps for event in stops} == {2, 4}
    whole = {event.birth for event in results if event.status == "ok"}
    assert all(event.steps == 8 for event in results if event.birth in whole)
    shown = json.loads(done.stdout)
    assert shown["best"][0]["birth"] in whole
    assert shown["best"][0]["steps"] == 8
    status = forks.evo_nas("status", str(run))
    assert f"stopped: {len(stops)} (at step 2: " in status.stdout
    other = tmp_path / "other.toml"
    other.write_text("[rungs]\nfractions = [0.5]\n")
    refused = forks.evo_nas("resume", str(run), str(other))
    assert refused.returncode == 1
    assert "rungs.fractions: [0.25, 0.5] in the run, [0.5] now" in refused.stderr


@pytest.mark.parametrize(
    ("shares", "code", "message"),
    [
        ("0.1;0.3", 2, "--rungs '0.1;0.3' is not of the form 0.1,0.3."),
        ("0.3,0.1", 1, "--rungs: fractions is [0.3, 0.1], but must ascend."),
        ("0.5,0.9", 1, "rungs.fractions 0.5, 0.9 of 4 steps are the steps 2, 4: each must be"),
    ],
)
def test_rungs_that_cannot_be_are_refused_before_there_is_a_run(
    tmp_path: Path, shares: str, code: int, message: str, forks: Forks
) -> None:
    refused = forks.evo_nas(*arguments(tmp_path, "--rungs", shares, "--evaluations", "3"))
    assert (refused.returncode, message in refused.stderr) == (code, True), refused.stderr
    assert not (tmp_path / "run").exists()
