"""Readers of the record: where a cell comes from, which mutations paid, how the run stands."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from evo_nas.births import births_in
from evo_nas.config import SearchConfig, to_dict
from evo_nas.errors import LineageError
from evo_nas.events import Asked, Event, Told
from evo_nas.lineage import best, children, entries, mutation_table, path
from evo_nas.lineage_output import entries_text, mutations_text, path_text, to_dot, to_json
from evo_nas.record import Header, create_run
from evo_nas.status import busy_seconds, summary
from evo_nas.status import to_json as status_json
from evo_nas.status import to_text as status_text
from genomes.equations import parse_equations
from genomes.genome import Genome
from genomes.mutation import mutate
from genomes.published import published
from genomes.space import SearchSpace

PROJECT = Path(__file__).resolve().parents[1]
HEADER = Header(
    to_dict(SearchConfig()),
    "text",
    "0" * 64,
    "cross-entropy",
    "nats/char",
    False,
    "0.1.0",
    "2026-01-02T03:04:05+00:00",
)
GRU = published("gru")
CHANGED = parse_equations(
    """
    r = sigmoid(linear(x, h))
    z = relu(linear(x, h))
    n = tanh(linear(x, r * h))
    h' = blend(z, n, h)
    """
)


def asked(
    birth: int,
    parent: int | None = None,
    *,
    genome: Genome = GRU,
    operator: str = "rewire",
    generation: int = 0,
    digest: str = "",
    name: str | None = None,
    duplicates: int = 0,
) -> Asked:
    mutation = {"operator": operator} | ({} if name is None else {"name": name})
    text, digest = genome.to_json(), digest or genome.digest
    return Asked(birth, parent, generation, mutation, text, digest, birth, 64, 900, duplicates, 400)


def told(birth: int, metric: float, *, seconds: float = 2.0, finished: float = 100.0) -> Told:
    return Told(birth, "ok", metric, -metric, "", (), 1000, seconds, "w", "torch", finished)


def failed(birth: int, message: str = "loss is nan", *, finished: float = 100.0) -> Told:
    return Told(birth, "diverged", None, None, message, (), 0, 1.0, "w", "torch", finished)


def family() -> list[Event]:
    """GRU (0) and LSTM (1); 2 and 3 come of 0, 4 trains 2 again, 5 of 2 failed, 6 runs."""
    return [
        asked(0, operator="published", name="gru"),
        asked(1, genome=published("lstm"), operator="published", name="lstm"),
        told(0, 2.0),
        asked(2, 0, genome=CHANGED, operator="change_activation", generation=1, duplicates=3),
        told(1, 1.75),
        asked(3, 0, genome=published("mgu"), operator="remove_node", generation=1),
        told(2, 1.5),
        told(3, 2.5),
        asked(4, 2, genome=CHANGED, operator="identity", generation=2),
        asked(5, 2, genome=published("ugrnn"), operator="remove_node", generation=2),
        told(4, 2.0),
        failed(5),
        asked(6, 4, genome=published("janet"), operator="add_state", generation=3),
    ]


def test_the_path_leads_from_generation_zero_with_the_equations_that_changed() -> None:
    steps = path(births_in(family()), 4)
    assert [(s.entry.birth, s.entry.parent, s.entry.generation) for s in steps] == [
        (0, None, 0),
        (2, 0, 1),
        (4, 2, 2),
    ]
    assert steps[0].changed == ()
    assert parse_equations("\n".join(steps[0].equations)).digest == GRU.digest
    ((before, after),) = steps[1].changed
    assert before is not None
    assert after is not None
    assert "sigmoid" in before
    assert after == before.replace("sigmoid", "relu")
    assert steps[2].changed == ()


def test_fitness_is_the_mean_over_a_digest_and_gain_is_against_the_parents_mean() -> None:
    by_birth = {entry.birth: entry for entry in entries(births_in(family()))}
    assert (by_birth[2].metric, by_birth[2].own_fitness) == (1.5, -1.5)
    assert (by_birth[2].fitness, by_birth[2].evaluations) == (-1.75, 2)
    assert by_birth[2].gain == 0.25
    assert by_birth[4].fitness == by_birth[2].fitness
    assert by_birth[4].gain is None  # the parent's own cell again gains nothing
    assert by_birth[0].gain is None


def test_a_candidate_without_a_result_is_shown_as_running() -> None:
    entry = entries(births_in(family()))[6]
    assert (entry.status, entry.metric, entry.fitness, entry.gain) == ("running", None, None, None)
    text = path_text(path(births_in(family()), 6), HEADER)
    assert text.split("birth 6 (generation 3): add_state of 4\n")[1].startswith("  running\n")


def test_a_failed_child_has_no_gain_even_if_its_cell_succeeded_elsewhere() -> None:
    events = [*family(), asked(7, 0, genome=CHANGED, operator="identity"), failed(7)]
    entry = entries(births_in(events))[7]
    assert entry.fitness == -1.75
    assert entry.gain is None


def test_children_are_those_whose_parent_it_is() -> None:
    assert [entry.birth for entry in children(births_in(family()), 2)] == [4, 5]
    assert children(births_in(family()), 6) == []


def test_the_best_are_distinct_cells_ranked_by_their_mean() -> None:
    # 2 was lucky at 1.5; with 4 its cell has a mean of 1.75, as lstm has, which is older.
    assert [entry.birth for entry in best(births_in(family()), 10)] == [1, 2, 0, 3]
    assert [entry.birth for entry in best(births_in(family()), 2)] == [1, 2]
    assert best(births_in([asked(0)]), 3) == []
    assert best(births_in(family()), 0) == []


def test_the_best_of_a_digest_is_its_first_birth_that_has_a_result() -> None:
    events = [asked(0), failed(0), asked(1, 0, operator="identity"), told(1, 2.0)]
    assert [entry.birth for entry in best(births_in(events), 5)] == [1]


def test_the_mutation_table_shows_which_operator_paid() -> None:
    rows = {row.operator: row for row in mutation_table(births_in(family()))}
    assert set(rows) == {"change_activation", "remove_node", "identity", "add_state"}
    paid = rows["change_activation"]
    assert (paid.count, paid.failures, paid.mean_gain, paid.improvements) == (1, 0, 0.25, 1.0)
    lost = rows["remove_node"]
    assert (lost.count, lost.failures, lost.mean_gain, lost.improvements) == (2, 1, -0.5, 0.0)
    late = rows["add_state"]
    assert (late.count, late.running, late.mean_gain, late.improvements) == (1, 1, None, None)
    assert mutation_table(births_in(family()))[0].operator == "remove_node"


def test_an_unknown_birth_is_answered_with_the_births_there_are() -> None:
    for ask in (path, children):
        with pytest.raises(LineageError) as caught:
            ask(births_in(family()), 7)
        assert str(caught.value) == "there is no birth 7: the run has births 0 to 6."
        with pytest.raises(LineageError, match="there is no birth 0: the run has no births yet"):
            ask(births_in([]), 0)
        with pytest.raises(LineageError, match="births 0 to 6"):
            ask(births_in(family()), -1)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([asked(0), asked(0)], "0 was born twice"),
        ([asked(0), told(0, 1.0), told(0, 1.0)], "0 was told twice"),
        ([told(3, 1.0)], "3 was told but never asked for"),
        ([asked(1, 0)], "the parent of 1 is 0, which was not born before it"),
        ([asked(1, 1)], "the parent of 1 is 1, which was not born before it"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(events: Sequence[Event], message: str) -> None:
    with pytest.raises(LineageError, match=message):
        entries(births_in(events))


def test_the_text_of_a_lineage_says_what_changed_and_what_it_brought() -> None:
    lines = path_text(path(births_in(family()), 2), HEADER).splitlines()
    assert lines[0] == "lineage of birth 2, generation 1, task text"
    assert "cross-entropy in nats/char, lower is better" in lines[1]
    assert "birth 0 (generation 0): published gru" in lines
    start = lines.index("birth 2 (generation 1): change_activation of 0")
    assert lines[start + 1] == (
        "  metric 1.5000, mean fitness -1.7500 of 2 evaluations, gain +0.2500, "
        "1,000 parameters, 2.0 s"
    )
    assert lines[start + 2].startswith("    before  ")
    assert lines[start + 3].startswith("    after   ")
    text = path_text(path(births_in(family()), 5), HEADER)
    assert "  failed, diverged: loss is nan, 1.0 s" in text
    assert "no equation changed" in path_text(path(births_in(family()), 4), HEADER)


def test_tables_have_one_row_for_each_entry_and_aligned_columns() -> None:
    lines = entries_text(entries(births_in(family())), HEADER).splitlines()
    assert len(lines) == 2 + 7
    end = lines[1].index("birth") + len("birth")
    assert [line[:end].strip() for line in lines[2:]] == [str(i) for i in range(7)]
    rows = mutations_text(mutation_table(births_in(family()))).splitlines()
    assert rows[1].split() == ["remove_node", "2", "0", "1", "-0.5000", "0%"]


def test_json_holds_the_same_and_genomes_are_objects() -> None:
    steps = json.loads(to_json(path(births_in(family()), 2)))
    assert [step["birth"] for step in steps] == [0, 2]
    assert steps[1]["gain"] == 0.25
    assert steps[1]["changed"][0].keys() == {"before", "after"}
    assert Genome.from_json(json.dumps(steps[0]["genome"])) == GRU
    (row,) = [r for r in json.loads(to_json(mutation_table(births_in(family())))) if r["running"]]
    assert row["operator"] == "add_state"


def test_dot_draws_an_arrow_from_parent_to_child_and_escapes_names() -> None:
    events = [*family(), asked(7, 0, operator='quo"te\\', generation=1)]
    lines = to_dot(entries(births_in(events)), marked=(2,)).splitlines()
    assert lines[0] == "digraph lineage {"
    assert lines[-1] == "}"
    assert "  0 -> 2;" in lines
    assert sum("->" in line for line in lines) == 6
    assert '  2 [label="birth 2\\nchange_activation\\n1.5000", style=bold];' in lines
    assert '  7 [label="birth 7\\nquo\\"te\\\\\\nrunning"];' in lines
    only = to_dot([step.entry for step in path(births_in(events), 4)])
    assert sum("->" in line for line in only.splitlines()) == 2


def test_the_status_counts_what_was_recorded() -> None:
    status = summary(HEADER, births_in(family()))
    assert status.evaluations == 6
    assert status.statuses == {"ok": 5, "diverged": 1}
    assert status.in_flight == (6,)
    assert status.duplicates == 3
    assert status.best is not None
    assert status.best.birth == 1
    assert list(status.published.items()) == [("lstm", -1.75), ("gru", -2.0)]
    assert status.operators["published"] == 2
    text = status_text(status, HEADER)
    assert "evaluations: 6 (" in text
    assert "failed: diverged 1" in text
    assert "running: 1 (births 6)" in text
    assert "duplicates avoided: 3" in text
    assert "last failure: loss is nan" in text
    assert text.splitlines()[-1].split() == ["gru", "-2.0000", "+0.2500"]
    document = json.loads(status_json(status))
    assert document["best"]["digest"] == published("lstm").digest
    assert document["statuses"] == {"ok": 5, "diverged": 1}


def test_the_status_of_a_run_without_results_says_so() -> None:
    status = summary(HEADER, births_in([]))
    assert status.evaluations_per_hour is None
    assert "no evaluation has finished well yet" in status_text(status, HEADER)
    silent = status_text(summary(HEADER, births_in([asked(0), failed(0, " \n")])), HEADER)
    assert "failed: diverged 1" in silent
    assert "last failure" not in silent


def test_pauses_between_sessions_do_not_slow_the_pace_down() -> None:
    two_workers = [
        told(0, 1.0, seconds=10, finished=10),
        told(1, 1.0, seconds=10, finished=15),
        told(2, 1.0, seconds=10, finished=100_010),
        told(3, 1.0, seconds=2, finished=100_009),
    ]
    ends = np.array([result.finished for result in two_workers])
    assert busy_seconds(ends, np.array([result.seconds for result in two_workers])) == 25
    assert busy_seconds(ends[:0], ends[:0]) == 0
    events = [*(asked(i, digest=str(i)) for i in range(4)), *two_workers]
    assert summary(HEADER, births_in(events)).evaluations_per_hour == pytest.approx(4 * 3600 / 25)


ANSWER = """
import sys
from evo_nas.births import read_births
from evo_nas.lineage import path
from evo_nas.lineage_output import path_text
header, births, warnings = read_births(sys.argv[1])
print(path_text(path(births, int(sys.argv[2])), header))
"""


def test_another_process_answers_a_lineage_among_a_thousand_births(tmp_path: Path) -> None:
    run, births = tmp_path / "run", 1000
    rng = np.random.default_rng(0)
    space = SearchSpace()
    candidates = [asked(0, genome=published("lstm"), operator="published", name="lstm")]
    with create_run(run, HEADER) as record:
        for birth in range(births):
            curve = tuple((20 * i, 2.0) for i in range(20))
            result = Told(birth, "ok", 2.0, -2.0, "", curve, 9, 1.0, "w", "torch", 1.0)
            parent = candidates[int(rng.integers(max(0, birth - 50), birth + 1))]
            genome, mutation = mutate(Genome.from_json(parent.genome), space, rng)
            child = asked(
                birth + 1,
                parent.birth,
                genome=genome,
                generation=parent.generation + 1,
                operator=mutation["operator"],
            )
            record.append([result, child] if birth else [candidates[0], result, child])
            candidates.append(child)
    deepest = max(candidates, key=lambda candidate: candidate.generation)
    assert deepest.generation > 20
    command = [sys.executable, "-c", ANSWER, str(run), str(deepest.birth)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert f"lineage of birth {deepest.birth}, generation {deepest.generation}," in done.stdout
    assert done.stdout.count("(generation ") == deepest.generation + 1
