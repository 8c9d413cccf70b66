"""Random genomes are valid cells of their space, varied, and drawn from the given generator."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomes.equations import parse_equations
from genomes.genome import Genome, pruned, reads_raw_x
from genomes.ops import ACTIVATIONS, COMBINATIONS
from genomes.published import published
from genomes.space import SearchSpace, random_genome

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Any space that has cells: something must be able to join x with a state."""
    combinations = tuple(draw(st.lists(st.sampled_from(COMBINATIONS), unique=True)))
    return SearchSpace(
        max_states=draw(st.integers(1, 3)),
        max_nodes=draw(st.integers(8, 64)),
        max_linear_sources=draw(st.integers(1 if combinations else 2, 4)),
        activations=tuple(draw(st.lists(st.sampled_from(ACTIVATIONS), unique=True))),
        combinations=combinations,
        scales=draw(st.booleans()),
        raw_x=draw(st.booleans()),
    )


def draw_many(count: int, space: SearchSpace, states: int | None = None) -> list[Genome]:
    rng = np.random.default_rng(0)
    return [random_genome(space, rng, states=states) for _ in range(count)]


@settings(deadline=None, max_examples=60)
@given(spaces(), SEEDS)
def test_a_random_genome_is_a_pruned_cell_of_its_space(space: SearchSpace, seed: int) -> None:
    genome = random_genome(space, np.random.default_rng(seed))
    assert space.refusal(genome) is None
    assert genome == pruned(genome)
    ops = {node.op for node in genome.nodes}
    assert ops <= {"linear", "scale", *space.activations, *space.combinations}


@settings(deadline=None, max_examples=20)
@given(SEEDS)
def test_the_same_seed_draws_the_same_genome(seed: int) -> None:
    first = random_genome(SearchSpace(), np.random.default_rng(seed))
    assert random_genome(SearchSpace(), np.random.default_rng(seed)) == first


@pytest.mark.parametrize(("states", "at_least"), [(1, 850), (2, 980), (3, 990)])
def test_few_of_a_thousand_random_cells_are_the_same(states: int, at_least: int) -> None:
    cells = draw_many(1000, SearchSpace(), states)
    assert {cell.states for cell in cells} == {states}
    assert len({cell.digest for cell in cells}) >= at_least


def test_random_cells_vary_in_states_and_size_and_most_have_gates() -> None:
    cells = draw_many(300, SearchSpace())
    assert {cell.states for cell in cells} == {1, 2, 3}
    sizes = [len(cell.nodes) for cell in cells]
    assert min(sizes) <= 5
    assert max(sizes) >= 20
    assert len(set(sizes)) >= 15
    gated = [c for c in cells if any(n.op == "sigmoid" for n in c.nodes)]
    assert len(gated) > 250
    assert all(any(n.op == "linear" for n in c.nodes) for c in cells)


def test_no_random_cell_reads_raw_x_where_the_space_forbids_it() -> None:
    assert not any(map(reads_raw_x, draw_many(300, SearchSpace(raw_x=False))))
    assert any(map(reads_raw_x, draw_many(300, SearchSpace())))


def test_a_space_without_any_cell_says_why() -> None:
    narrow = SearchSpace(max_nodes=1, max_linear_sources=1, activations=(), combinations=())
    with pytest.raises(ValueError, match="no valid cell in 200 draws.*the last one failed because"):
        random_genome(narrow, np.random.default_rng(0))


def test_asking_for_more_states_than_the_space_has_is_refused() -> None:
    with pytest.raises(ValueError, match="states is 3, but this space has cells of 1 to 2 states"):
        random_genome(SearchSpace(max_states=2), np.random.default_rng(0), states=3)


@settings(deadline=None, max_examples=30)
@given(spaces())
def test_a_space_survives_its_record(space: SearchSpace) -> None:
    assert SearchSpace.from_dict(space.to_dict()) == space


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_nods": 3}, "no key 'max_nods'. Did you mean 'max_nodes'"),
        ({"colour": 3}, "no key 'colour'. Known: max_states"),
        ({"max_states": 4}, "max_states is 4, but must be 1 to 3"),
        ({"max_states": True}, "max_states is True, but must be 1 to 3"),
        ({"max_nodes": 0}, "max_nodes is 0, but must be 1 to 128"),
        ({"max_linear_sources": 5}, "max_linear_sources is 5, but must be 1 to 4"),
        ({"activations": ["tanh", "gelu"]}, "activations has 'gelu', which is unknown"),
        ({"activations": ["tanh", "tanh"]}, "names an operation twice: tanh, tanh"),
        ({"combinations": ["tanh"]}, "combinations has 'tanh', which is unknown"),
        ({"combinations": "add"}, "combinations is 'add'; give a tuple of names"),
        ({"raw_x": 1}, "raw_x is 1; give true or false"),
    ],
)
def test_a_wrong_space_is_refused_by_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        SearchSpace.from_dict(values)


@pytest.mark.parametrize(
    ("space", "name", "reason"),
    [
        (SearchSpace(max_states=1), "lstm", "it has 2 states, and max_states is 1."),
        (SearchSpace(max_nodes=5), "gru", "it has 8 nodes, and max_nodes is 5."),
        (SearchSpace(activations=("relu",)), "rnn", "node 1 is a tanh, which this space does not"),
        (SearchSpace(scales=False), "lstm_peephole", "is a scale, which this space does not allow"),
        (SearchSpace(max_linear_sources=1), "rnn", "reads 2 values, and max_linear_sources is 1."),
        (SearchSpace(raw_x=False), "sru", "something but a linear reads x, and raw_x is false."),
    ],
)
def test_a_cell_outside_the_space_is_refused_and_the_widened_space_takes_it(
    space: SearchSpace, name: str, reason: str
) -> None:
    assert reason in str(space.refusal(published(name)))
    wide = space.widened(published(name))
    assert wide.refusal(published(name)) is None
    assert wide.widened(published(name)) == wide


def test_the_default_space_admits_every_published_cell_with_identities() -> None:
    assert SearchSpace().refusal(published("darts_v2")) is None
    assert SearchSpace().refusal(parse_equations("h' = identity(tanh(linear(x, h)))")) is None
