"""Hurdles are ranks in what was told; how far a candidate came decides before how good it was."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo_nas.config_tables import BudgetConfig, EvolutionConfig, RungsConfig, SearchConfig
from evo_nas.errors import SearchError
from evo_nas.events import Asked, Told
from evo_nas.rungs import Arrivals, hurdles, rung_steps
from evo_nas.strategies import Strategy, make_strategy
from evo_nas.strategies.regularized import RegularizedEvolution, tournament
from tests.rung_results import outcome

RUNGS = RungsConfig(fractions=(0.1, 0.3), keep=0.5, least=2)
CONFIG = SearchConfig(
    evolution=EvolutionConfig(population=6, sample_size=3),
    rungs=RUNGS,
    budget=BudgetConfig(evaluations=200),
)


def arrived(*fitness: tuple[float, ...]) -> Arrivals:
    """Candidates of 400 steps that came to one rung or both with so much fitness."""
    arrivals = Arrivals()
    for values in fitness:
        arrivals.add(400, tuple(zip((40, 120), values, strict=False)))
    return arrivals


def test_before_anything_was_told_everyone_is_measured_and_passes() -> None:
    assert hurdles(RUNGS, Arrivals(), 400) == ((40, None), (120, None))


def test_without_fractions_there_are_no_hurdles() -> None:
    assert hurdles(RungsConfig(), arrived((1.0,)), 400) == ()


def test_nobody_is_stopped_before_enough_have_come() -> None:
    careful = replace(RUNGS, least=3)
    two, three = arrived((1.0, 1.0), (2.0, 2.0)), arrived((1.0, 1.0), (2.0, 2.0), (3.0, 3.0))
    assert hurdles(careful, two, 400) == ((40, None), (120, None))
    assert hurdles(careful, three, 400) == ((40, 2.0), (120, 3.0))


def test_a_hurdle_is_the_fitness_of_the_last_that_belongs_to_the_share_that_passes() -> None:
    ten = arrived(*((float(k), float(k)) for k in range(10)))
    assert hurdles(RUNGS, ten, 400) == ((40, 5.0), (120, 7.0))  # the best 5, the best 2.5
    assert hurdles(replace(RUNGS, keep=0.1), ten, 400) == ((40, 9.0), (120, 9.0))
    assert hurdles(replace(RUNGS, keep=1.0), ten, 400) == ((40, 0.0), (120, 0.0))


def test_who_was_stopped_before_counts_as_worse_than_all_at_a_rung() -> None:
    # Of eight two pass the second rung, whether four of them came to it or all.
    some = arrived((1.0,), (2.0,), (3.0,), (4.0,), (5.0, 5.0), (6.0, 6.0), (7.0, 7.0), (8.0, 8.0))
    everyone = arrived(*((float(k), float(k)) for k in range(1, 9)))
    assert hurdles(RUNGS, some, 400) == hurdles(RUNGS, everyone, 400) == ((40, 5.0), (120, 7.0))


def test_where_fewer_came_than_may_pass_all_pass() -> None:
    few = arrived((1.0,), (2.0,), (3.0,), (4.0,), (5.0,), (6.0, 0.5))
    assert hurdles(RUNGS, few, 400) == ((40, 4.0), (120, None))


def test_the_same_step_of_another_budget_is_another_rung() -> None:
    assert hurdles(RUNGS, arrived((1.0, 1.0), (2.0, 2.0)), 1200) == ((120, None), (360, None))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), max_size=30),
    st.floats(0.01, 1),
    st.integers(0, 99),
)
def test_hurdles_depend_on_what_was_told_and_not_on_its_order(
    values: list[tuple[float, float]], keep: float, seed: int
) -> None:
    rungs = replace(RUNGS, keep=keep)
    found = hurdles(rungs, arrived(*values), 400)
    assert found == hurdles(rungs, arrived(*random.Random(seed).sample(values, len(values))), 400)
    for number, (_, hurdle) in enumerate(found):
        passing = sum(hurdle is None or value[number] >= hurdle for value in values)
        assert passing >= keep ** (number + 1) * len(values) - 1e-6


def test_the_steps_of_a_rung_are_the_nearest() -> None:
    assert rung_steps((0.07, 0.15), 100) == (7, 15)
    assert rung_steps((0.001, 0.5), 5) == (1, 2)


@pytest.mark.parametrize(("fractions", "steps"), [((0.1, 0.2), "1, 1"), ((0.5, 0.95), "2, 4")])
def test_fractions_that_a_budget_is_too_small_for_are_refused_at_the_start(
    fractions: tuple[float, ...], steps: str
) -> None:
    config = replace(CONFIG, rungs=replace(RUNGS, fractions=fractions))
    config = replace(config, training=replace(config.training, steps=4))
    with pytest.raises(SearchError, match=rf"of 4 steps are the steps {steps}: each must be"):
        make_strategy(config)


# ---- in a strategy ----


def run(strategy: Strategy, births: int, **options: Any) -> list[tuple[Asked, Told]]:
    rng, found = random.Random(4), []
    for _ in range(births):
        asked = strategy.ask()
        strategy.note(asked)
        told = outcome(asked, rng, **options)
        strategy.tell(told)
        found.append((asked, told))
    return found


@pytest.mark.parametrize("kind", ["regularized", "random"])
def test_a_candidate_carries_the_hurdles_of_those_told_before_it(kind: str) -> None:
    config = replace(CONFIG, evolution=replace(CONFIG.evolution, strategy=kind))
    told: list[Told] = []
    for asked, result in run(make_strategy(config), 60):
        scored = [one for one in told if one.fitness is not None]
        expected = arrived(*(tuple(f for _, f in one.rung_fitness) for one in scored))
        assert asked.hurdles == hurdles(RUNGS, expected, 400)
        told.append(result)
    assert {one.status for one in told} == {"ok", "stopped", "diverged"}
    assert any(one.rungs for one in told if one.status == "diverged")


def test_the_direction_of_the_metric_makes_no_difference() -> None:
    lower, higher = (
        run(make_strategy(CONFIG), 60, higher_is_better=higher) for higher in (False, True)
    )
    assert [asked for asked, _ in lower] == [asked for asked, _ in higher]
    assert {one.metric for _, one in lower} != {one.metric for _, one in higher}


@pytest.mark.parametrize(("metric", "fitness", "expected"), [(0.0, -0.0, -2.5), (0.0, 0.0, 2.5)])
def test_the_direction_is_known_even_from_a_metric_of_zero(
    metric: float, fitness: float, expected: float
) -> None:
    told = outcome(make_strategy(replace(CONFIG, rungs=RungsConfig())).ask(), random.Random(4))
    told = replace(told, status="ok", metric=metric, fitness=fitness, rungs=((40, 2.5),))
    assert told.rung_fitness == ((40, expected),)


def ended(asked: Asked, steps: int, fitness: float) -> Told:
    status: Any = "ok" if steps == asked.budget else "stopped"
    rungs = tuple((step, -fitness) for step, _ in asked.hurdles if step <= steps)
    about: tuple[Any, ...] = (asked.birth, status, -fitness, fitness, "", (), 1, 0.1, "w", "e", 1.0)
    return Told(*about, steps=steps, rungs=rungs)


def evolved(*results: tuple[int, float], identity_rate: float = 0.0) -> RegularizedEvolution:
    evolution = replace(CONFIG.evolution, identity_rate=identity_rate)
    strategy = make_strategy(replace(CONFIG, evolution=evolution))
    assert isinstance(strategy, RegularizedEvolution)
    for steps, fitness in results:
        asked = strategy.ask()
        strategy.note(asked)
        strategy.tell(ended(asked, steps, fitness))
    return strategy


def test_in_a_tournament_who_came_further_wins_then_who_is_better_there() -> None:
    strategy = evolved((40, -0.1), (400, -9.0), (120, -0.2), (400, -8.0), (120, -0.1))
    order = []
    while strategy.population:
        best = tournament(strategy.population, np.random.default_rng(0), sample_size=200)
        order.append(best.birth)
        strategy.population.remove(best)
    assert order == [3, 1, 4, 2, 0]


def test_the_statistics_are_of_those_that_came_as_far_as_the_furthest() -> None:
    strategy = evolved((40, -0.1), (400, -9.0), (120, -0.2), (400, -8.0))
    assert strategy.statistics() == {"min": -9.0, "mean": -8.5, "max": -8.0}


def test_a_cell_stands_where_its_furthest_evaluation_came() -> None:
    strategy = evolved((40, -3.0), (400, -2.0), identity_rate=1.0)
    history = strategy.history
    first = strategy.population[0].asked
    for steps, fitness, expected in (
        (120, -2.5, (120, -2.5)),  # further than before: what it had at step 40 counts no more
        (120, -1.5, (120, -2.0)),  # as far: the mean
        (40, -0.5, (120, -2.0)),  # less far: nothing
        (400, -9.0, (400, -9.0)),
    ):
        again = replace(first, birth=history.births, hurdles=())
        strategy.note(again)
        strategy.tell(ended(again, steps, fitness))
        assert history.standing(first.digest) == expected
        mine = [one for one in strategy.population if one.digest == first.digest]
        assert {one.fitness.values for one in mine} == {expected}
