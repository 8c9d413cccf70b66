"""Entrants at one size, the same grid for each, and what is chosen before the final trainings."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from evo_nas.births import births_in
from evo_nas.comparison.entrants import BASELINE, CONTROL, SEARCH, Field, field_of
from evo_nas.comparison.plans import final_plan, tuning_plan
from evo_nas.comparison.recorded import field_from
from evo_nas.comparison.terms import OWN, Terms, full_terms, quick_terms
from evo_nas.comparison.tuning import chosen
from evo_nas.config import CompareConfig, SearchConfig
from evo_nas.events import Asked, Event, Status, Told
from genomes import Genome, published
from genomes.canonical import canonical
from tests.test_record import header
from tests.tiny import tiny_text
from workers.messages import Training
from workers.tasks import load_task
from workers.tasks.base import Task

CONFIG = SearchConfig(
    training=Training(hidden_size=40, steps=7, learning_rate=0.01),
    compare=CompareConfig(learning_rates=(0.5, 1.0, 2.0), verdict_seeds=4, tuning_seeds=2),
)
TERMS = full_terms(CONFIG, "validation", OWN, None)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return load_task("text", str(tiny_text(tmp_path_factory.mktemp("text"))), {})


def events(**cells: float) -> list[Event]:
    """A record in which published cells have these metrics."""
    found: list[Event] = []
    for birth, (name, metric) in enumerate(cells.items()):
        cell = published(name)
        mutation = {"operator": "random"}
        found.append(
            Asked(birth, None, 0, mutation, cell.to_json(), cell.digest, birth, 40, 9, 0, 7)
        )
        found.append(told(birth, metric, parameters=60_000 + birth))
    return found


def told(birth: int, metric: float | None, parameters: int = 1) -> Told:
    fitness = None if metric is None else -metric
    status: Status = "ok" if metric is not None else "diverged"
    return Told(birth, status, metric, fitness, "", (), parameters, 1.0, "", "", 0.0)


def field(task: Task, terms: Terms = TERMS, **cells: float) -> Field:
    ours = births_in(events(**cells or {"mgu": 1.0, "janet": 1.1, "lstm": 1.2, "gru": 1.3}))
    control = Path("random"), births_in(events(ugrnn=1.0, gru=2.0))
    found = field_of(CONFIG, terms, ours, task, control)
    assert found is not None
    return found


def test_all_have_the_parameters_of_the_best_within_two_percent(task: Task) -> None:
    from workers.model import model_parameters

    found = field(task)
    assert found.target == 60_000
    assert found.entrants[0].hidden_size == 40  # whose parameters the record says
    for entrant in found.entrants[1:]:
        training = replace(CONFIG.training, hidden_size=entrant.hidden_size)
        genome = canonical(Genome.from_json(entrant.genome))
        assert abs(model_parameters(genome, task, training) / found.target - 1) < 0.02


def test_the_best_cells_the_baselines_and_the_best_of_random_search_take_part(task: Task) -> None:
    found = field(task)
    assert [(e.name, e.roles) for e in found.entrants] == [
        ("birth 0", (SEARCH,)),
        ("birth 1", (SEARCH,)),
        ("lstm (birth 2)", (SEARCH, BASELINE)),
        ("gru", (BASELINE,)),
        ("gru_reset_after", (BASELINE,)),
        ("random search", (CONTROL,)),
    ]
    assert found.entrants[3].search_metric == 1.3
    assert found.control["birth"] == 0 and found.control["evaluations"] == 2


def test_one_training_serves_a_cell_that_random_search_found_too(task: Task) -> None:
    found = field(task, ugrnn=1.0, mgu=2.0)
    assert found.entrants[0].name == "birth 0 (random search)"
    assert found.entrants[0].roles == (SEARCH, CONTROL)
    assert len(found.entrants) == 5


def test_the_field_survives_the_header(task: Task) -> None:
    found = chosen(CONFIG, TERMS, field(task), results(field(task)), higher_is_better=False)
    config = json.loads(json.dumps({"field": found.plain()}))
    assert field_from(replace(header(), config=config), Path("comparison")) == found


def test_a_quick_comparison_has_no_tuning_and_no_random_search() -> None:
    terms = quick_terms(CONFIG)
    assert (terms.learning_rates, terms.control, terms.seeds) == ((), None, 3)
    assert terms.baselines == ("gru", "lstm")
    assert full_terms(CONFIG, "test", None, 90, tune=False).learning_rates == ()
    assert full_terms(CONFIG, "test", None, 90).steps == 90


def test_everybody_has_the_same_grid_and_the_same_seeds(task: Task) -> None:
    entrants = field(task).entrants
    plan = tuning_plan(CONFIG, TERMS, entrants)
    assert [asked.birth for asked in plan] == list(range(6 * 3 * 2))
    mine = [
        Counter((a.learning_rate, a.seed) for a in plan if a.mutation["cell"] == entrant.name)
        for entrant in entrants
    ]
    assert all(grid == mine[0] for grid in mine)
    assert {rate for rate, _ in mine[0]} == {0.005, 0.01, 0.02}
    assert set(mine[0].values()) == {1} and len(mine[0]) == 6
    assert {(asked.budget, asked.hurdles) for asked in plan} == {(7, ())}


def test_final_trainings_have_seeds_of_their_own_that_all_rows_share(task: Task) -> None:
    entrants = [replace(e, learning_rate=0.02) for e in field(task).entrants]
    plan = final_plan(CONFIG, TERMS, entrants)
    seeds = [{a.seed for a in plan if a.birth % 6 == number} for number in range(6)]
    assert all(found == seeds[0] for found in seeds) and len(seeds[0]) == 4
    assert not seeds[0] & {asked.seed for asked in tuning_plan(CONFIG, TERMS, entrants)}
    assert {(asked.learning_rate, asked.budget) for asked in plan} == {(0.02, 7)}


def results(found: Field, changed: dict[tuple[int, int], float | None] | None = None) -> list[Told]:
    """Of a tuning: entrant k has metric k + 1 + 0.1 at the middle rate and more beside it."""
    count = len(found.entrants)
    said = []
    for birth in range(count * 3 * 2):
        number, place = birth % count, birth // count % 3
        metric: float | None = number + 1 + 0.1 * (place != 1)
        if changed is not None and (number, place) in changed:
            metric = changed[number, place]
        said.append(told(birth, metric))
    return said


def test_each_gets_the_rate_that_was_best_for_it(task: Task) -> None:
    start = field(task)
    found = chosen(CONFIG, TERMS, start, results(start, {(4, 2): 0.5}), higher_is_better=False)
    assert [e.learning_rate for e in found.entrants] == [0.01, 0.01, 0.01, 0.01, 0.02, 0.01]
    assert [trial.metrics for trial in found.entrants[0].tuned] == [(1.1, 1.1), (1, 1), (1.1, 1.1)]
    higher = chosen(CONFIG, TERMS, start, results(start), higher_is_better=True)
    assert {e.learning_rate for e in higher.entrants} == {0.005}


def test_the_tuning_chooses_who_is_judged_and_against_whom(task: Task) -> None:
    start = field(task)
    assert (start.judged, start.rival) == (0, None)
    found = chosen(
        CONFIG, TERMS, start, results(start, {(1, 0): 0.7, (4, 2): 0.5, (5, 0): 0.1}), False
    )
    assert found.entrants[found.judged].name == "birth 1"
    assert found.rival is not None
    assert found.entrants[found.rival].name == "gru_reset_after"


def test_a_rate_that_failed_on_some_seed_stands_after_those_that_never_did(task: Task) -> None:
    start = field(task)
    said = results(start)
    lucky = [replace(event, metric=0.01, fitness=-0.01) for event in said[:1]]
    rest = [told(18, None)]  # the same entrant and rate with the other seed
    others = [event for event in said if event.birth not in (0, 18)]
    found = chosen(CONFIG, TERMS, start, [*lucky, *others, *rest], higher_is_better=False)
    assert found.entrants[0].learning_rate == 0.01
    assert found.entrants[0].tuned[0].failed == 1


def test_who_failed_at_every_rate_keeps_the_runs_own_and_is_not_chosen(task: Task) -> None:
    start = field(task)
    failing = {(number, place): None for number in (0, 3) for place in range(3)}
    found = chosen(CONFIG, TERMS, start, results(start, dict(failing)), higher_is_better=False)
    assert found.entrants[0].learning_rate == CONFIG.training.learning_rate
    assert found.judged == 1
    assert found.rival == 2
