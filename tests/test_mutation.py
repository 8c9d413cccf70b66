"""Mutations keep cells valid, change them, and say what they did."""

from __future__ import annotations

import json
import random
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomes.canonical import canonical
from genomes.draft import Draft
from genomes.equations import equations, parse_equations
from genomes.genome import Genome, InvalidGenome, pruned, reads_raw_x, validate
from genomes.mutation import OPERATORS, mutate
from genomes.operators.gate_forms import GATE_FORMS
from genomes.operators.gates import gate_sites
from genomes.published import published, published_names
from genomes.space import SearchSpace, random_genome

SEEDS = st.integers(0, 2**32 - 1)
NAMES = st.sampled_from(published_names())


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def same_cell(genome: Genome, equations: str) -> bool:
    return genome.digest == parse_equations(equations).digest


def drawn_until(operator: str, genome: Genome, equations: str) -> dict[str, object]:
    """The record of the first of 500 draws that gives the wanted cell."""
    for seed in range(500):
        drawn = OPERATORS[operator](genome, SearchSpace(), rng_of(seed))
        if drawn is not None and same_cell(drawn[0], equations):
            return drawn[1]
    raise AssertionError(f"{operator} never gave {equations!r}")


@pytest.mark.parametrize("start", ["gru", "lstm_peephole", "darts_v1"])
def test_a_thousand_mutations_in_a_chain_stay_valid_and_each_differs(start: str) -> None:
    space, rng = SearchSpace(), rng_of(1)
    genome = published(start)
    seen: Counter[str] = Counter()
    for _ in range(1000):
        child, record = mutate(genome, space, rng)
        validate(child)
        assert space.refusal(child) is None
        assert child == pruned(child)
        assert Genome.from_json(child.to_json()) == child
        if record["operator"] == "identity":
            assert child == genome
        elif record.get("unchanged"):
            assert child == genome
            assert record["why"]
        else:
            assert child.digest != genome.digest
        seen[str(record["operator"])] += 1
        genome = child
    assert set(seen) == set(OPERATORS)


@settings(deadline=None, max_examples=150)
@given(SEEDS, SEEDS, st.sampled_from(sorted(OPERATORS)))
def test_every_operator_makes_valid_cells_of_random_ones(
    cell: int, seed: int, operator: str
) -> None:
    space = SearchSpace(raw_x=bool(cell % 2))
    parent = random_genome(space, rng_of(cell))
    drawn = OPERATORS[operator](parent, space, rng_of(seed))
    if drawn is None:
        assert operator in ("change_activation", "change_op", "remove_source", "remove_state",
                            "add_state", "swap_gate", "add_source", "replace_by_ancestor",
                            "remove_node")  # fmt: skip
        return
    child, record = drawn
    validate(child)
    assert space.refusal(child) is None
    assert record["operator"] == operator
    assert json.loads(json.dumps(record)) == record


@settings(deadline=None, max_examples=60)
@given(NAMES, SEEDS)
def test_a_parent_outside_the_space_has_valid_children_that_are_no_further_outside(
    name: str, seed: int
) -> None:
    space = SearchSpace(
        max_states=1, max_nodes=6, max_linear_sources=2, activations=("relu",), raw_x=False
    )
    child, record = mutate(published(name), space, rng_of(seed))
    validate(child)
    assert space.widened(published(name)).refusal(child) is None
    if record["operator"] in ("change_activation", "insert_activation"):
        assert "relu" in (record.get("to"), record.get("activation"))


@settings(deadline=None, max_examples=40)
@given(SEEDS, SEEDS)
def test_the_same_seed_gives_the_same_child_and_record(cell: int, seed: int) -> None:
    parent = random_genome(SearchSpace(), rng_of(cell))
    first = mutate(parent, SearchSpace(), rng_of(seed))
    assert mutate(parent, SearchSpace(), rng_of(seed)) == first


def test_no_global_generator_is_touched() -> None:
    before_numpy = np.random.get_state()[1].tobytes()  # type: ignore[index]
    before = random.getstate()
    genome, rng = published("lstm"), rng_of(0)
    for _ in range(100):
        genome, _ = mutate(genome, SearchSpace(), rng)
        random_genome(SearchSpace(), rng)
    assert random.getstate() == before
    assert np.random.get_state()[1].tobytes() == before_numpy  # type: ignore[index]


def test_no_child_reads_raw_x_where_the_space_forbids_it() -> None:
    space, rng = SearchSpace(raw_x=False), rng_of(3)
    genome = published("gru")
    for _ in range(500):
        genome, _ = mutate(genome, space, rng)
        assert not reads_raw_x(genome)


def test_only_operations_of_the_space_are_mutated_into() -> None:
    space = SearchSpace(activations=("tanh", "sigmoid"), combinations=("mul", "add"), scales=False)
    rng = rng_of(4)
    genome = published("lstm")
    for _ in range(500):
        genome, _ = mutate(genome, space, rng)
        assert {n.op for n in genome.nodes} <= {"linear", "tanh", "sigmoid", "mul", "add"}


def test_the_identity_comes_at_its_rate_and_not_otherwise() -> None:
    gru, space, rng = published("gru"), SearchSpace(), rng_of(5)
    records = [mutate(gru, space, rng, identity_rate=0.5)[1]["operator"] for _ in range(400)]
    assert 150 < records.count("identity") < 250
    never = [mutate(gru, space, rng, identity_rate=0)[1]["operator"] for _ in range(200)]
    assert "identity" not in never
    assert mutate(gru, space, rng, identity_rate=1) == (gru, {"operator": "identity"})


def test_operators_can_be_named_and_weighted() -> None:
    lstm, space, rng = published("lstm"), SearchSpace(), rng_of(6)
    weights = {"rewire": 3.0, "change_bias": 1.0, "add_state": 0.0}
    drawn = Counter(
        mutate(lstm, space, rng, operators=weights, identity_rate=0)[1]["operator"]
        for _ in range(400)
    )
    assert set(drawn) == {"rewire", "change_bias"}
    assert drawn["rewire"] > 2 * drawn["change_bias"]
    only, record = mutate(lstm, space, rng, operators=["identity"], identity_rate=0)
    assert (only, record) == (lstm, {"operator": "identity"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operators": ["rewrie"]}, "unknown mutation 'rewrie'. Did you mean 'rewire'?"),
        ({"operators": ["zzz"]}, "unknown mutation 'zzz'. Known: change_activation, change_op"),
        ({"operators": []}, "no mutation has a weight above 0"),
        ({"operators": {"rewire": -1.0}}, "the weight of mutation 'rewire' is -1.0"),
        ({"identity_rate": 5}, "identity_rate is 5, but is a chance: give 0 to 1."),
    ],
)
def test_wrong_options_are_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        mutate(published("gru"), SearchSpace(), rng_of(0), **options)  # type: ignore[arg-type]


def test_a_cell_that_cannot_change_comes_back_with_the_reason() -> None:
    cell = published("rnn")
    space = SearchSpace(max_states=1, activations=("tanh",))
    child, record = mutate(cell, space, rng_of(0), operators=["change_activation"], identity_rate=0)
    assert child == cell
    assert record["unchanged"] is True
    assert record["why"] == "in 24 draws change_activation found nothing to do."


def test_a_change_that_the_canonical_form_undoes_is_no_child() -> None:
    space = SearchSpace(activations=("identity",))
    child, record = mutate(
        published("rnn"), space, rng_of(0), operators=["insert_activation"], identity_rate=0
    )
    assert child == published("rnn")
    assert record["why"] == "in 24 draws insert_activation only gave the same cell again."


def test_the_record_names_the_node_and_what_it_was() -> None:
    gru = published("gru")
    node = next(i for i, n in enumerate(gru.nodes) if n.op == "tanh")
    wanted = {"operator": "change_activation", "node": node, "from": "tanh", "to": "relu"}
    records = [
        OPERATORS["change_activation"](gru, SearchSpace(), rng_of(s))[1]  # type: ignore[index]
        for s in range(100)
    ]
    assert wanted in records


def test_no_child_is_left_without_a_matrix() -> None:
    cell = parse_equations("h' = linear(x) + h")
    for operator in ("remove_node", "rewire", "replace_by_ancestor"):
        for seed in range(50):
            drawn = OPERATORS[operator](cell, SearchSpace(), rng_of(seed))
            assert drawn is None or any(n.op == "linear" for n in drawn[0].nodes)


def test_a_small_change_keeps_the_other_nodes_as_written() -> None:
    lstm = published("lstm")
    for seed in range(30):
        drawn = OPERATORS["change_activation"](lstm, SearchSpace(), rng_of(seed))
        assert drawn is not None
        child = drawn[0]
        assert child.outputs == lstm.outputs
        assert sum(a != b for a, b in zip(child.nodes, lstm.nodes, strict=True)) == 1


RNN = "h' = tanh(linear(x, h))"
GRU = """
r = sigmoid(linear(x, h))
n = tanh(linear(x, r * h))
h' = blend({z}, n, h)
"""
CELL_OF_TWO = """
z = sigmoid(linear(x, h))
c' = tanh(linear(x, c))
h' = blend(z, c', h)
"""


@pytest.mark.parametrize(
    ("operator", "before", "after"),
    [
        ("change_activation", RNN, "h' = relu(linear(x, h))"),
        ("change_bias", RNN, "h' = tanh(linear(x, h, bias_init=1))"),
        ("change_bias", RNN, "h' = tanh(linear(x, h, bias=False))"),
        ("change_op", "h' = tanh(linear(x)) + h", "h' = tanh(linear(x)) * h"),
        ("change_op", "h' = tanh(linear(x)) + h", "h' = tanh(linear(x)) - h"),
        (
            "change_op",
            "h' = tanh(linear(x)) + h",
            "h' = blend(sigmoid(linear(x, h)), h, tanh(linear(x)))",
        ),
        ("change_op", "h' = blend(sigmoid(linear(x)), h, relu(linear(x)))",
         "h' = h + relu(linear(x))"),
        ("rewire", "h' = tanh(linear(x, h)) * h", "h' = tanh(linear(x, h)) * x"),
        ("insert_activation", RNN, "h' = tanh(linear(x, relu(h)))"),
        ("insert_node", RNN, "h' = tanh(linear(x, h)) * h"),
        ("insert_node", RNN, "h' = tanh(linear(x, scale(h)))"),
        ("insert_node", RNN, "h' = tanh(linear(x, relu(linear(h))))"),
        ("remove_node", RNN, "h' = linear(x, h)"),
        ("replace_by_ancestor", "h' = mean(tanh(linear(tanh(h))), linear(x))",
         "h' = mean(h, linear(x))"),
        ("add_source", "h' = h * linear(x)", "h' = h * linear(x, h)"),
        ("remove_source", "h' = h * linear(x, h)", "h' = h * linear(x)"),
        ("add_state", "a = linear(x, h) \n h' = tanh(a)",
         "a = linear(x, h, c) \n c' = a \n h' = tanh(a)"),
        ("add_state", "h' = tanh(linear(x))+h",
         "c' = blend(sigmoid(linear(x, h)), tanh(linear(x)), c) \n h' = c' + h"),
        ("remove_state", CELL_OF_TWO,
         "z = sigmoid(linear(x, h)) \n h' = blend(z, tanh(linear(x, h)), h)"),
        ("remove_state", CELL_OF_TWO,
         "z = sigmoid(linear(x, h)) \n h' = blend(z, tanh(linear(x)), h)"),
        ("swap_gate", GRU.format(z="sigmoid(linear(x, h))"), GRU.format(z="r")),
        ("swap_gate", GRU.format(z="sigmoid(linear(x, h))"), GRU.format(z="1 - r")),
        ("swap_gate", GRU.format(z="sigmoid(linear(x, h))"),
         GRU.format(z="sigmoid(linear(x, h, bias_init=1))")),
        ("swap_gate", GRU.format(z="sigmoid(linear(x, h))"), GRU.format(z="sigmoid(linear(h, n))")),
        ("swap_gate", GRU.format(z="sigmoid(linear(x, h))"),
         GRU.format(z="sigmoid(linear(x) + scale(h))")),
    ],
)  # fmt: skip
def test_an_operator_reaches_the_cell_it_is_named_for(
    operator: str, before: str, after: str
) -> None:
    record = drawn_until(operator, parse_equations(before), after)
    assert record["operator"] == operator


def test_a_reset_gate_moves_behind_the_product_and_back() -> None:
    before = published("gru")
    after = published("gru_reset_after")
    moved = drawn_until("swap_gate", before, "\n".join(equations(after)))
    assert moved["to"] == "reset_after"
    back = drawn_until("swap_gate", after, "\n".join(equations(before)))
    assert back["to"] == "reset_before"


def test_every_published_gate_form_is_reached_and_named_with_its_source() -> None:
    lstm, space = published("lstm"), SearchSpace()
    found = {}
    for seed in range(400):
        drawn = OPERATORS["swap_gate"](lstm, space, rng_of(seed))
        assert drawn is not None
        found[drawn[1]["to"]] = drawn[1]["source"]
    assert found == {form.name: form.source for form in GATE_FORMS}


def test_the_gates_of_an_lstm_are_its_three_sigmoids() -> None:
    lstm = published("lstm")
    gates = [lstm.node_of(gate) for gate, _ in gate_sites(Draft.of(lstm))]
    assert [gate.op for gate in gates if gate] == ["sigmoid"] * 3


def test_a_new_state_is_alive() -> None:
    drawn = [OPERATORS["add_state"](published("gru"), SearchSpace(), rng_of(s)) for s in range(60)]
    states = [canonical(d[0]).states for d in drawn if d is not None]
    assert states.count(2) > 50


def test_an_edit_that_closes_a_cycle_is_refused() -> None:
    draft = Draft.of(published("gru"))
    draft.connect(("node", 2, 0), 9)
    with pytest.raises(InvalidGenome, match="closed a cycle within one time step"):
        draft.build()


def test_a_node_inserted_late_is_written_before_its_reader() -> None:
    draft = Draft.of(parse_equations(RNN))
    draft.connect(("node", 2, 1), draft.add("relu", [1]))
    assert [node.op for node in draft.build().nodes] == ["relu", "linear", "tanh"]
