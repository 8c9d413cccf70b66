"""Guided, multi-objective and non-ageing evolution as state machines: no Ray, files or training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from evo_nas.config_tables import BudgetConfig, EvolutionConfig, RungsConfig, SearchConfig
from evo_nas.errors import SearchError
from evo_nas.events import Asked
from evo_nas.strategies import Strategy, make_strategy
from evo_nas.strategies.guided import START, GuidedEvolution
from evo_nas.strategies.multi_objective import MultiObjectiveEvolution
from genomes import Genome, canonical, published
from genomes.cost import multiply_adds
from tests.test_evolution import run

CONFIG = SearchConfig(
    evolution=EvolutionConfig(population=24, sample_size=4, published=False),
    budget=BudgetConfig(evaluations=400),
)


def strategy(kind: str, seed: int = 0, **evolution: Any) -> Any:
    settings = replace(CONFIG.evolution, strategy=kind, **evolution)
    return make_strategy(replace(CONFIG, evolution=settings, seed=seed))


def gated(asked: Asked) -> float | None:
    """A fitness that the structure decides: gates are good, and leaky_relu fails."""
    genome = canonical(Genome.from_json(asked.genome))
    ops = [node.op for node in genome.nodes]
    if "leaky_relu" in ops:
        return None
    return float(sum(op in ("mul", "blend") for op in ops) - 0.1 * len(ops))


def best(asked: list[Asked], fitness: Callable[[Asked], float | None]) -> float:
    return max(value for one in asked if (value := fitness(one)) is not None)


@pytest.mark.slow
def test_guided_children_are_better_than_unguided_ones_and_fail_less() -> None:
    """Four seeds: a single one may be lucky."""
    found: dict[str, list[float]] = {"guided": [], "regularized": []}
    failed = dict.fromkeys(found, 0)
    for kind in found:
        for seed in range(4):
            asked = run(strategy(kind, seed), 60, gated)
            found[kind].append(best(asked, gated))
            failed[kind] += sum(gated(one) is None for one in asked[START:])
    assert np.mean(found["guided"]) > np.mean(found["regularized"])
    assert failed["guided"] < failed["regularized"]


def test_guidance_begins_after_the_start_and_children_name_their_parents() -> None:
    asked = run(strategy("guided"), 40, gated)
    assert all(one.generation == 0 for one in asked[:START])
    assert all(one.parent is not None for one in asked[START:] if one.operator != "random")
    assert any(one.parent is not None for one in asked[START:])


def test_births_left_unguided_ask_no_predictor() -> None:
    unguided, guided = strategy("guided", unguided=1.0), strategy("guided", unguided=0.0)
    for search in (unguided, guided):
        run(search, 39, gated)
        search.ask()
    assert unguided._predictor is None
    assert guided._predictor is not None


def test_what_guided_evolution_asks_is_a_function_of_what_it_was_told() -> None:
    first, second = strategy("guided"), strategy("guided")
    assert run(first, 40, gated) == run(second, 40, gated)


def test_other_runs_tell_a_guided_search_where_to_begin() -> None:
    known = [(published("lstm"), 2.0), (published("gru"), 1.5), (published("rnn"), -2.0)]
    settings = replace(CONFIG.evolution, strategy="guided", warm_start=("earlier",), unguided=0.0)
    config = replace(CONFIG, evolution=settings)
    warm = make_strategy(config, earlier=known)  # newcomers may win any birth, but not all
    assert isinstance(warm, GuidedEvolution)
    asked = run(warm, 8, gated)
    assert any(one.parent is not None for one in asked)
    mean, _ = warm._fitted().predict([published("lstm"), published("rnn")])
    assert mean[0] > mean[1]


def test_learning_from_other_runs_is_refused_for_strategies_that_learn_nothing() -> None:
    with pytest.raises(SearchError, match="of use to strategy 'guided' alone, not to 'random'"):
        strategy("random", warm_start=("runs/a",))


def test_without_ageing_the_best_stays() -> None:
    kept = strategy("non_ageing", population=6)
    run(kept, 30, lambda asked: float(-asked.birth))
    # Births 0 to 5 have the highest fitness of all, and births of one digest share their mean.
    assert {one.birth for one in kept.population} <= set(range(7))


def test_the_population_of_nsga2_is_the_front_before_all_others() -> None:
    search = strategy("nsga2", population=8)
    assert isinstance(search, MultiObjectiveEvolution)
    asked = run(search, 60, gated)
    scored = {a.digest: (gated(a), a.recurrent_parameters) for a in asked if gated(a) is not None}

    def dominated(cell: tuple[float, int]) -> bool:
        return any(
            other[0] >= cell[0] and other[1] <= cell[1] and other != cell
            for other in scored.values()
        )

    front = {digest for digest, cell in scored.items() if not dominated(cell)}
    held = {one.digest for one in search.population}
    assert len(search.population) == 8
    assert front <= held or held <= front


def test_nsga2_finds_smaller_cells_than_evolution_of_the_metric_alone() -> None:
    both = run(strategy("nsga2", population=12, objectives=("parameters",)), 80, gated)
    alone = run(strategy("regularized", population=12), 80, gated)
    late = slice(40, None)
    assert np.mean([a.recurrent_parameters for a in both[late]]) < np.mean(
        [a.recurrent_parameters for a in alone[late]]
    )


def test_nsga2_counts_multiply_adds_of_the_canonical_form() -> None:
    search = strategy("nsga2", objectives=("parameters", "multiply_adds"))
    run(search, 30, gated)
    for one in search._placed:
        cell = canonical(one.individual.genome)
        size = one.individual.asked.hidden_size
        fitness, parameters, adds = one.fitness.values
        assert fitness == one.individual.fitness.values[-1]
        assert parameters == one.individual.asked.recurrent_parameters
        assert adds == multiply_adds(cell, size, size)


def test_nsga2_refuses_to_weigh_the_metric_against_nothing() -> None:
    with pytest.raises(SearchError, match=r"evolution\.objectives is empty. Name \"parameters\""):
        strategy("nsga2", objectives=())


def test_nsga2_refuses_rungs() -> None:
    evolution = replace(CONFIG.evolution, strategy="nsga2")
    config = replace(CONFIG, evolution=evolution, rungs=RungsConfig(fractions=(0.1,)))
    with pytest.raises(SearchError, match="metrics at different rungs cannot be weighed"):
        make_strategy(config)


@pytest.mark.parametrize("kind", ["regularized", "guided", "nsga2", "non_ageing", "random"])
def test_every_strategy_survives_a_start_in_which_everything_fails(kind: str) -> None:
    search: Strategy = strategy(kind, population=4)
    asked = run(search, 12, lambda asked: None)
    assert all(one.generation == 0 for one in asked)
    assert run(search, 12, gated)[-1].birth == 23
