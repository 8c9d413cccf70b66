"""The predictor of fitness: learns from what was told, and knows where it does not know."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo_nas.predictor import fitted, normal_scores
from genomes import Genome, SearchSpace, published, random_genome

SPACE = SearchSpace(max_nodes=16)


def cells(count: int, seed: int) -> list[Genome]:
    rng = np.random.default_rng(seed)
    return [random_genome(SPACE, rng) for _ in range(count)]


def gates(genome: Genome) -> float:
    """A fitness that depends on the structure."""
    return sum(node.op in ("mul", "blend") for node in genome.nodes) - 0.3 * genome.states


def test_it_predicts_unseen_cells_better_than_chance() -> None:
    seen, unseen = cells(120, 1), cells(80, 2)
    predictor = fitted(seen, normal_scores([gates(g) for g in seen]).tolist())
    mean, _ = predictor.predict(unseen)
    assert np.corrcoef(mean, [gates(g) for g in unseen])[0, 1] > 0.7


def test_it_is_surer_of_what_it_has_seen_than_of_anything_else() -> None:
    seen = [published(name) for name in ("gru", "lstm", "rnn", "mgu")]
    _, of_seen = fitted(seen, [1.0, 0.5, -1.0, 0.0]).predict(seen)
    _, of_others = fitted(seen, [1.0, 0.5, -1.0, 0.0]).predict([published("enas")])
    assert of_seen.max() < of_others.min() <= 1.0


def test_a_cell_seen_again_counts_again_and_makes_it_surer() -> None:
    gru, rnn = published("gru"), published("rnn")
    once = fitted([gru, rnn], [1.0, -1.0]).predict([gru])
    thrice = fitted([gru, gru, gru, rnn], [1.0, 1.0, 1.0, -1.0]).predict([gru])
    assert thrice[1][0] < once[1][0]
    assert thrice[0][0] > once[0][0]


@pytest.mark.parametrize(("genomes", "scores"), [([], []), ([published("gru")], [1.0, 2.0])])
def test_nothing_to_learn_from_is_refused(genomes: list[Genome], scores: list[float]) -> None:
    with pytest.raises(ValueError, match=f"{len(genomes)} cells and {len(scores)} scores"):
        fitted(genomes, scores)


@given(st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_scores_keep_the_order_and_failures_are_worst(standings: list[float | None]) -> None:
    scores = normal_scores(standings)
    assert np.isfinite(scores).all()
    for a, score_a in zip(standings, scores, strict=True):
        for b, score_b in zip(standings, scores, strict=True):
            if a is None or b is None:
                assert (score_a < score_b) == (a is None and b is not None)
            else:
                assert (score_a < score_b) == (a < b)


def test_scores_without_ties_are_those_of_a_standard_normal_variable() -> None:
    scores = normal_scores(np.random.default_rng(0).normal(size=1001).tolist())
    assert abs(scores.mean()) < 1e-9
    assert scores.std() == pytest.approx(1.0, abs=0.01)
    assert sorted(scores)[500] == pytest.approx(0.0, abs=1e-9)


def test_scores_of_standings_at_rungs_put_who_came_further_first() -> None:
    scores = normal_scores([(400, -2.0), (40, -1.0), None, (400, -1.5)])
    assert np.argsort(scores).tolist() == [2, 1, 0, 3]
