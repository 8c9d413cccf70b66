"""Recipes of NAS-Bench-NLP against its own tables: sizes, identity, and the way back."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pytest
from shared_data import shared_data

from genomes.equations import parse_equations
from genomes.genome import Genome, InvalidGenome, pruned
from genomes.nas_bench_nlp import from_recipe, model_parameters, to_recipe
from genomes.published import published, published_names

VOCABULARY = {"nas-bench-nlp-wt2": 33_278, "nas-bench-nlp-ptb": 10_000}
LINES = {"nas-bench-nlp-wt2": 102, "nas-bench-nlp-ptb": 1_368}

SAME_BUT_FOR_DEAD_STATES = (
    "1000000 1006089 1006212 1006405 1006549 1006996 1007127 1007659 1007768 1007964 "
    "1012282 1012504",
    "1000033 1006291",
    "1000048 1006977 1006979 1007017",
    "1000053 1007062",
    "1000071 1006156 1007491",
    "1000140 1006602",
    "1000172 1006619",
    "1000225 1007406",
    "1000241 1007951",
    "1000992 1007588",
    "1006122 1006210 1006401 1006756 1006846 1007168 1007933 1007987 1012158",
    "1006192 1006331 1006415 1006442 1006626 1007110 1007120 1007334 1007551 1007715 1007882 "
    "1007926 1007934 1012070 1012123 1012299 1012312 1012329 1012349 1012368 1012404",
    "1007065 1007426 1012019",
    "1007395 1012371",
)
"""Classes of the benchmark (class_id) that the canonical form merges, all for one reason: they
differ in states that the emitted state never depends on. The benchmark counts such states and
the nodes that compute them; pruning removes them."""


@dataclass(frozen=True)
class Row:
    class_id: int
    recipe: dict[str, Any]
    num_params: int
    genome: Genome


@lru_cache
def rows(data: str) -> tuple[Row, ...]:
    with gzip.open(shared_data(data) / "public.jsonl.gz", "rt", encoding="utf-8") as file:
        entries = [json.loads(line) for line in file]
    return tuple(
        Row(e["class_id"], e["recepie"], e["num_params"], from_recipe(e["recepie"]))
        for e in entries
    )


def all_rows() -> list[Row]:
    return [row for data in LINES for row in rows(data)]


@pytest.mark.parametrize("data", LINES)
def test_parameters_of_every_recipe_are_those_of_the_benchmark(data: str) -> None:
    wrong = [
        row.class_id
        for row in rows(data)
        if model_parameters(row.genome, VOCABULARY[data]) != row.num_params
    ]
    assert wrong == []
    assert len(rows(data)) == LINES[data]


def test_recipes_of_one_class_have_one_digest() -> None:
    digests = defaultdict(set)
    for row in all_rows():
        digests[row.class_id].add(row.genome.digest)
    assert len(digests) == 1198
    assert {c: d for c, d in digests.items() if len(d) > 1} == {}


def test_recipes_of_two_classes_differ_unless_the_listed_dead_states_alone_tell_them_apart() -> (
    None
):
    classes = defaultdict(set)
    for row in all_rows():
        classes[row.genome.digest].add(row.class_id)
    merged = {frozenset(ids) for ids in classes.values() if len(ids) > 1}
    assert merged == {frozenset(map(int, ids.split())) for ids in SAME_BUT_FOR_DEAD_STATES}


def test_the_merged_classes_do_differ_in_dead_states_only() -> None:
    by_class = {row.class_id: row.genome for row in all_rows()}
    for ids in SAME_BUT_FOR_DEAD_STATES:
        genomes = [by_class[int(class_id)] for class_id in ids.split()]
        whole = [g for g in genomes if pruned(g).states == g.states]
        assert len(whole) <= 1, ids  # the others owe their merging to a state that goes
        shapes = {tuple(sorted(node.op for node in pruned(g).nodes)) for g in genomes}
        assert len(shapes) == 1, ids


def test_every_recipe_survives_the_way_to_a_genome_and_back() -> None:
    for row in all_rows():
        recipe = to_recipe(row.genome)
        again = from_recipe(json.loads(json.dumps(recipe)))
        assert again.digest == row.genome.digest
        # Nothing is dropped on the way: same nodes, same sources, other names at most.
        written = sorted((node["op"], len(node["input"])) for node in row.recipe.values())
        assert sorted((node["op"], len(node["input"])) for node in recipe.values()) == written


def test_the_reference_cells_of_the_benchmark_are_published_cells() -> None:
    found = {row.class_id: row.genome.digest for row in rows("nas-bench-nlp-wt2")}
    assert found[1000000] == published("rnn").digest
    assert found[1000001] == published("lstm_tanh_output").digest
    # Its GRU keeps h where z is 1, published("gru") replaces it: negating z's weights swaps that.
    assert found[1000002] == published("gru").digest


def test_published_cells_in_the_benchmark_space_go_there_and_back() -> None:
    inside = []
    for name in published_names():
        try:
            recipe = to_recipe(published(name))
        except ValueError:
            continue
        assert from_recipe(recipe).digest == published(name).digest
        inside.append(name)
    expected = "rnn gru lstm lstm_tanh_output lstm_coupled mgu ugrnn mut3"
    assert inside == expected.split()


LINEAR = {"op": "linear", "input": ["x", "h_prev_0"]}


def test_nodes_may_stand_in_any_order_and_inner_names_may_look_like_outputs() -> None:
    recipe = {
        "h_new_0": {"op": "elementwise_prod", "input": ["h_new_1_act", "h_new_1"]},
        "h_new_1_act": {"op": "activation_tanh", "input": ["h_new_1"]},
        "h_new_1": {"op": "elementwise_sum", "input": ["h_new_1_part1", "h_prev_1"]},
        "h_new_1_part1": LINEAR,
    }
    expected = parse_equations("c' = linear(x, h) + c\nh' = tanh(c') * c'")
    assert from_recipe(recipe).digest == expected.digest


def test_two_states_that_are_one_weight_free_node_become_two_nodes() -> None:
    genome = parse_equations("c' = tanh(linear(x, h, c))\nh' = c'")
    recipe = to_recipe(genome)
    assert [node["op"] for node in recipe.values()] == ["linear"] + 2 * ["activation_tanh"]
    assert from_recipe(recipe).digest == genome.digest


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            {"h_new_0": {"op": "conv", "input": ["x"]}},
            "recipe node 'h_new_0' has the unknown op 'conv'. Known are: linear, activation_tanh",
        ),
        (
            {"h_new_0": {"op": ["linear"], "input": ["x"]}},
            "recipe node 'h_new_0' has the unknown op \\['linear'\\]",
        ),
        (
            {
                "a": {"op": "linear", "input": ["x", "b"]},
                "b": {"op": "activation_tanh", "input": ["c"]},
                "c": {"op": "activation_tanh", "input": ["a"]},
                "h_new_0": {"op": "linear", "input": ["a", "h_prev_0"]},
            },
            "recipe nodes form a cycle: (a -> c -> b -> a|b -> a -> c -> b|c -> b -> a -> c)|"
            "(a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c)",
        ),
        (
            {"h_new_0": {"op": "linear", "input": ["x", "node_7"]}},
            "recipe node 'h_new_0' reads 'node_7', which is neither a node nor an input",
        ),
        (
            {"h_new_0": {"op": "linear", "input": ["x", "h_prev_1"]}},
            "'h_new_0' reads h_prev_1, but the recipe's last output is h_new_0. Add the output",
        ),
        ({}, "the recipe's outputs are missing"),
        ({"h_new_1": LINEAR}, "outputs are h_new_1; a recipe has h_new_0, h_new_1, ... without a"),
        ({"h_new_0": LINEAR, "h_new_00": LINEAR}, "outputs are h_new_00; a recipe has h_new_0"),
        (
            {f"h_new_{k}": LINEAR for k in range(4)},
            "the recipe has 4 outputs; a cell has 1 to 3",
        ),
        ({"x": LINEAR, "h_new_0": LINEAR}, "recipe node 'x' has the name of an input"),
        (
            {"h_prev_0": LINEAR, "h_new_0": LINEAR},
            "recipe node 'h_prev_0' has the name of an input",
        ),
        (
            {"h_new_0": {"op": "blend", "input": ["x", "h_prev_0"]}},
            "'h_new_0' \\(blend\\) reads 2 values, but takes 3",
        ),
        ({"h_new_0": {"op": "linear"}}, "'h_new_0' is not an object with exactly 'op' and 'input'"),
        ({"h_new_0": {"op": "linear", "input": "x"}}, "'input' is not a list of names"),
        (
            {"h_new_0": {"op": "linear", "input": ["x", "x"]}},
            "h_new_0 never depends on an earlier state",
        ),
    ],
)
def test_a_recipe_that_is_none_is_refused_with_the_reason(
    recipe: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidGenome, match=message):
        from_recipe(recipe)


@pytest.mark.parametrize(
    ("equations", "message"),
    [
        ("h' = relu(linear(x, h))", r"node 1 \(relu\): the benchmark's operations are linear,"),
        ("h' = tanh(linear(x, h, bias=False))", r"node 0 \(linear\): has no bias"),
        ("h' = tanh(linear(x, h, bias_init=1.5))", r"node 0 \(linear\): its bias starts at 1.5"),
        (
            "h' = linear(x) + linear(h)",
            r"node 0 \(linear\): reads 1 values, where the benchmark reads 2 to 3",
        ),
        (
            "h' = linear(x, h) + tanh(h) + h",
            r"node 2 \(add\): reads 3 values, where the benchmark reads 2\. NAS-Bench-NLP has no",
        ),
        ("h' = linear(x, h) * x", r"node 1 \(mul\): reads x directly"),
        ("c' = h\nh' = linear(x, h, c)", "output h_new_1 is h_prev_0 itself"),
        (
            "c' = linear(x, h, c)\nh' = c'",
            r"node 0 \(linear\) becomes h_new_0 and h_new_1, but a recipe has one node for each",
        ),
    ],
)
def test_a_cell_outside_the_benchmark_space_is_refused_naming_node_and_reason(
    equations: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        to_recipe(parse_equations(equations))
