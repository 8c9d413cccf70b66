"""What the predictor sees of a cell depends on the cell alone, not on how it is written."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomes import SearchSpace, parse_equations, published, random_genome
from genomes.features import BLOCKS, BUCKETS, FAR, labels, numbers, similarity
from genomes.published import published_names
from tests.disguise import commuted, reordered, unchanged, with_dead_node, with_identity
from tests.tiny import ROOT, environment


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_cell_written_differently_has_the_same_features(seed: int) -> None:
    rng = np.random.default_rng(seed)
    genome = random_genome(SearchSpace(max_nodes=20), rng)
    cell = unchanged(genome)
    for rewriting in (reordered, commuted, with_identity, with_dead_node):
        cell = rewriting(cell, rng)
    np.testing.assert_array_equal(labels(cell.genome), labels(genome))
    np.testing.assert_array_equal(numbers(cell.genome), numbers(genome))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_features_of_any_genome_are_finite_and_similarity_is_a_share(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (random_genome(SearchSpace(), rng) for _ in range(2))
    assert labels(a).shape == (BLOCKS * BUCKETS,)
    assert np.isfinite(numbers(a)).all() and len(numbers(a)) == len(numbers(b))
    assert similarity(a, a) == pytest.approx(1.0)
    assert 0 <= similarity(a, b) <= 1 + 1e-12
    assert similarity(a, b) == pytest.approx(similarity(b, a))


def test_cells_that_share_a_part_are_more_similar_than_cells_that_share_none() -> None:
    lstm = published("lstm")
    assert similarity(lstm, published("lstm_peephole")) > similarity(lstm, published("rnn"))
    assert similarity(published("gru"), published("mgu")) > similarity(published("gru"), lstm)


def test_numbers_tell_a_cell_with_a_linear_free_path_between_states_from_one_without() -> None:
    # The last four groups are distances; the first counts linears from a state to itself.
    def first_distance(text: str) -> float:
        return float(numbers(parse_equations(text))[-16])

    assert first_distance("h' = tanh(linear(x, h))") == 1
    assert first_distance("h' = h + tanh(linear(x, h))") == 0
    far = "h' = tanh(linear(x, c))\nc' = tanh(linear(x, h))"
    assert first_distance(far) == FAR


def test_features_are_the_same_in_another_process() -> None:
    code = (
        "from genomes import published; from genomes.features import labels; "
        "import hashlib; print(hashlib.sha256(labels(published('lstm')).tobytes()).hexdigest())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env={**environment(), "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


def test_every_published_cell_differs_from_every_other() -> None:
    seen = {(labels(g).tobytes(), numbers(g).tobytes()) for g in map(published, published_names())}
    assert len(seen) == len({published(name).digest for name in published_names()})
