"""Regularized evolution and random search as state machines: no Ray, no files, no training."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from evo_nas.config_tables import BudgetConfig, EvolutionConfig, SearchConfig
from evo_nas.events import Asked, Told
from evo_nas.history import Exhausted, History
from evo_nas.individual import Individual
from evo_nas.strategies import Strategy, make_strategy, rules_of
from evo_nas.strategies.regularized import RegularizedEvolution, default_toolbox
from genomes import Genome, published
from genomes.canonical import canonical
from genomes.cost import recurrent_parameters

CONFIG = SearchConfig(
    evolution=EvolutionConfig(population=6, sample_size=3, published=True),
    budget=BudgetConfig(evaluations=200),
)


def told(asked: Asked, fitness: float | None) -> Told:
    return Told(
        birth=asked.birth,
        status="diverged" if fitness is None else "ok",
        metric=None if fitness is None else -fitness,
        fitness=fitness,
        message="the loss is nan" if fitness is None else "",
        curve=((1, 1.0),),
        parameters=10,
        seconds=0.1,
        worker="w",
        engine="torch",
        finished=time.time(),
    )


def run(strategy: Strategy, births: int, fitness=lambda asked: float(-asked.birth)) -> list[Asked]:
    history = []
    for _ in range(births):
        asked = strategy.ask()
        strategy.note(asked)
        strategy.tell(told(asked, fitness(asked)))
        history.append(asked)
    return history


def evolution(config: SearchConfig = CONFIG) -> RegularizedEvolution:
    strategy = make_strategy(config)
    assert isinstance(strategy, RegularizedEvolution)
    return strategy


def test_the_oldest_leaves_even_if_it_is_the_best() -> None:
    strategy = evolution()
    run(strategy, 7)  # birth 0 has the highest fitness
    assert [individual.birth for individual in strategy.population] == [1, 2, 3, 4, 5, 6]


def test_the_start_holds_published_cells_in_at_most_half_of_the_population() -> None:
    asked = run(evolution(), 6)
    names = [a.mutation.get("name") for a in asked]
    assert names[:3] == ["gru", "lstm", "rnn"]
    assert [a.operator for a in asked[3:]] == ["random"] * 3
    assert all(a.parent is None and a.generation == 0 for a in asked)


def test_without_published_cells_the_start_is_random() -> None:
    config = replace(CONFIG, evolution=replace(CONFIG.evolution, published=False))
    assert {a.operator for a in run(evolution(config), 6)} == {"random"}


def test_children_name_their_parent_and_count_their_ancestors() -> None:
    asked = run(evolution(), 40)
    by_birth = {a.birth: a for a in asked}
    for child in asked[6:]:
        assert child.parent is not None
        assert child.generation == by_birth[child.parent].generation + 1


def test_a_parent_is_a_member_of_the_population_of_its_time() -> None:
    for a in run(evolution(), 60)[6:]:
        assert a.parent is not None
        assert a.birth - 6 <= a.parent < a.birth


def test_the_tournament_takes_the_best_of_those_it_drew() -> None:
    strategy = evolution(replace(CONFIG, evolution=replace(CONFIG.evolution, sample_size=200)))
    run(strategy, 6, fitness=lambda a: [0.0, 3.0, 1.0, 9.0, 2.0, 5.0][a.birth])
    strategy.toolbox.unregister("select")
    from evo_nas.strategies.regularized import tournament

    rng = np.random.default_rng(0)
    assert tournament(strategy.population, rng, sample_size=200).birth == 3
    drawn = {tournament(strategy.population, rng, sample_size=1).birth for _ in range(200)}
    assert drawn == set(range(6))


def test_a_failed_candidate_keeps_its_birth_and_never_enters_the_population() -> None:
    strategy = evolution()
    run(strategy, 20, fitness=lambda a: None if a.birth % 2 else 1.0)
    assert all(individual.birth % 2 == 0 for individual in strategy.population)
    assert strategy.history.births == 20
    assert strategy.history.told == 20


def test_if_all_initial_candidates_fail_the_search_draws_on() -> None:
    strategy = evolution()
    asked = run(strategy, 15, fitness=lambda a: None)
    assert all(a.parent is None for a in asked)
    assert [a.operator for a in asked[6:]] == ["random"] * 9


def test_every_digest_is_new_unless_the_mutation_is_the_identity() -> None:
    seen: Counter[str] = Counter()
    for a in run(evolution(), 150):
        if a.operator == "identity":
            assert seen[a.digest] >= 1
        else:
            assert seen[a.digest] == 0, a.mutation
        seen[a.digest] += 1


def test_the_identity_trains_a_digest_again_at_most_as_often_as_allowed() -> None:
    config = replace(CONFIG, evolution=replace(CONFIG.evolution, identity_rate=1.0))
    strategy = evolution(config)
    seen = Counter(a.digest for a in run(strategy, 80))
    assert max(seen.values()) == 1 + config.evolution.identity_limit
    assert strategy.history.duplicates > 0


def test_fitness_is_the_mean_over_the_evaluations_of_a_digest() -> None:
    config = replace(CONFIG, evolution=replace(CONFIG.evolution, identity_rate=1.0))
    strategy = evolution(config)
    asked = run(strategy, 12, fitness=lambda a: float(a.birth))
    for individual in strategy.population:
        same = [a.birth for a in asked if a.digest == individual.digest]
        assert individual.fitness.values == pytest.approx((400, sum(same) / len(same)))


def test_an_identity_child_gets_a_new_seed() -> None:
    config = replace(CONFIG, evolution=replace(CONFIG.evolution, identity_rate=1.0))
    asked = run(evolution(config), 30)
    assert len({a.seed for a in asked}) == 30


@pytest.mark.parametrize("strategy", ["regularized", "random"])
def test_the_same_seed_and_answers_give_the_same_history(strategy: str) -> None:
    config = replace(CONFIG, evolution=replace(CONFIG.evolution, strategy=strategy))
    first, second = run(make_strategy(config), 40), run(make_strategy(config), 40)
    assert first == second
    assert run(make_strategy(replace(config, seed=1)), 40) != first


def test_asking_does_not_change_the_state_until_it_is_noted() -> None:
    strategy = evolution()
    run(strategy, 10)
    assert strategy.ask() == strategy.ask()


def test_no_candidate_is_larger_than_the_parameter_limit() -> None:
    limit = 1.5 * recurrent_parameters(canonical(published("lstm")), 64)
    asked = run(evolution(), 100)
    assert max(a.recurrent_parameters for a in asked) <= limit
    for a in asked:
        cell = canonical(Genome.from_json(a.genome))
        assert recurrent_parameters(cell, a.hidden_size) == a.recurrent_parameters


def test_equal_parameters_solves_the_hidden_size_of_each_candidate() -> None:
    config = replace(CONFIG, evolution=replace(CONFIG.evolution, equal_parameters=True))
    target = recurrent_parameters(canonical(published("lstm")), 64)
    asked = run(evolution(config), 30)
    assert len({a.hidden_size for a in asked}) > 3
    for a in asked:
        assert abs(a.recurrent_parameters - target) < 0.1 * target


def test_random_search_keeps_the_same_rules_and_learns_nothing() -> None:
    config = replace(CONFIG, evolution=replace(CONFIG.evolution, strategy="random"))
    asked = run(make_strategy(config), 60)
    assert len({a.digest for a in asked}) == 60
    assert {a.operator for a in asked[3:]} == {"random"}
    assert asked == run(make_strategy(config), 60, fitness=lambda a: float(a.birth**2))


def test_an_exhausted_space_says_what_to_do() -> None:
    space = {
        "max_states": 1,
        "max_nodes": 2,
        "max_linear_sources": 2,
        "activations": ["tanh"],
        "combinations": [],
        "scales": False,
        "raw_x": False,
    }
    strategy = make_strategy(
        replace(CONFIG, space=space, evolution=replace(CONFIG.evolution, published=False))
    )
    with pytest.raises(Exhausted, match="Widen the search space"):
        run(strategy, 500)


def test_a_user_can_register_other_selection_in_the_toolbox() -> None:
    history = History(rules_of(CONFIG))
    toolbox = default_toolbox(CONFIG, history)

    def oldest(population: list[Individual], rng: np.random.Generator) -> Individual:
        return population[0]

    toolbox.register("select", oldest)
    asked = run(RegularizedEvolution(CONFIG, history, toolbox), 12)
    assert [a.parent for a in asked[6:]] == [0, 1, 2, 3, 4, 5]


def test_telling_twice_or_what_was_never_asked_is_refused() -> None:
    strategy = evolution()
    asked = run(strategy, 1)[0]
    with pytest.raises(ValueError, match="birth 0 was told twice"):
        strategy.tell(told(asked, 1.0))
    with pytest.raises(ValueError, match="birth 9 was told but never asked"):
        strategy.tell(told(replace(asked, birth=9), 1.0))


def test_the_statistics_are_of_the_population_of_now() -> None:
    strategy = evolution()
    assert strategy.statistics() == {}
    run(strategy, 10)
    assert strategy.statistics() == {"min": -9.0, "mean": -6.5, "max": -4.0}


def test_births_are_noted_in_the_order_of_asking() -> None:
    strategy = evolution()
    asked = strategy.ask()
    with pytest.raises(ValueError, match="birth 3 was asked for, but the next is 0"):
        strategy.note(replace(asked, birth=3))
