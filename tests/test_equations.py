"""Cells as equations: read, written, read again, and compared."""

from __future__ import annotations

import gzip
import itertools
import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_data import shared_data

from genomes.equations import (
    changed_equations,
    equations,
    lineage_equations,
    parse_equations,
)
from genomes.genome import Genome, InvalidGenome, Node
from genomes.nas_bench_nlp import from_recipe
from genomes.published import published, published_names
from genomes.space import SearchSpace, random_genome


def test_a_gru_is_read_as_its_nodes() -> None:
    genome = parse_equations(
        """
        r = sigmoid(linear(x, h))      # the reset gate
        z = sigmoid(linear(x, h))

        n = tanh(linear(x, r * h))
        h' = blend(z, n, h)
        """
    )
    assert genome == Genome(
        states=1,
        nodes=(
            Node("linear", (0, 1), bias=True),
            Node("sigmoid", (2,)),
            Node("linear", (0, 1), bias=True),
            Node("sigmoid", (4,)),
            Node("mul", (3, 1)),
            Node("linear", (0, 6), bias=True),
            Node("tanh", (7,)),
            Node("blend", (5, 8, 1)),
        ),
        outputs=(9,),
    )


def test_operators_are_read_as_nodes() -> None:
    def ops(expression: str) -> list[tuple[str, tuple[int, ...]]]:
        genome = parse_equations(f"h' = linear(x, h, {expression})")
        return [(node.op, node.inputs) for node in genome.nodes[:-1]]

    assert ops("x + h + x") == [("add", (0, 1, 0))]
    assert ops("x + (h + x)") == [("add", (1, 0)), ("add", (0, 2))]
    assert ops("x * h * x") == [("mul", (0, 1, 0))]
    assert ops("x + h * x") == [("mul", (1, 0)), ("add", (0, 2))]
    assert ops("x - h - x") == [("sub", (0, 1)), ("sub", (2, 0))]
    assert ops("1 - h") == [("one_minus", (1,))]
    assert ops("mean(x, h)") == [("mean", (0, 1))]


def test_states_are_called_h_c_d_and_their_new_values_can_be_read() -> None:
    genome = parse_equations("c' = tanh(linear(x, h, c, d))\nd' = c' + h\nh' = d' * c'")
    assert genome.states == 3
    assert genome.nodes[0].inputs == (0, 1, 2, 3)
    assert [genome.value_name(v) for v in genome.outputs] == ["node 3", "node 1", "node 2"]


def test_bias_and_its_start_are_read_and_written() -> None:
    lines = ["h' = linear(h, bias=False) + linear(x, bias_init=-1.5) + linear(x, bias_init=1e-07)"]
    genome = parse_equations(lines[0])
    assert [(n.bias, n.bias_init) for n in genome.nodes[:3]] == [
        (False, 0.0),
        (True, -1.5),
        (True, 1e-07),
    ]
    assert equations(genome) == lines


def test_a_published_lstm_is_written_readably() -> None:
    assert equations(published("lstm")) == [
        "v1 = sigmoid(linear(x, h))",
        "v2 = sigmoid(linear(x, h))",
        "v3 = tanh(linear(x, h))",
        "v4 = sigmoid(linear(x, h))",
        "c' = v2 * c + v1 * v3",
        "h' = v4 * tanh(c')",
    ]


@pytest.mark.parametrize("name", published_names())
def test_a_published_cell_reads_back_from_its_equations(name: str) -> None:
    genome = published(name)
    assert parse_equations("\n".join(equations(genome))).digest == genome.digest


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**32))
def test_a_random_cell_reads_back_from_its_equations(seed: int) -> None:
    genome = random_genome(SearchSpace(), np.random.default_rng(seed))
    again = parse_equations("\n".join(equations(genome)))
    assert again.digest == genome.digest
    assert len(again.nodes) == len(genome.nodes)


def test_every_recipe_of_the_benchmark_reads_back_from_its_equations() -> None:
    with gzip.open(shared_data("nas-bench-nlp-wt2") / "public.jsonl.gz", "rt") as file:
        genomes = [from_recipe(json.loads(line)["recepie"]) for line in file]
    for genome in genomes:
        assert parse_equations("\n".join(equations(genome))).digest == genome.digest


def test_dead_values_and_states_without_a_node_are_written_too() -> None:
    lines = ["v1 = tanh(x)", "h' = linear(x, h)", "c' = h"]
    assert equations(parse_equations("\n".join(lines))) == lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no equation gives the new state. End with a line  h' = ..."),
        ("q = linear(x)", "no equation gives the new state"),
        ("c' = linear(x, c)", "no equation gives h', but a later state has one"),
        ("h' = linear(x, c)", r"line 1 \(h' = linear\(x, c\)\): 'c' is not known here. Define it"),
        ("a = tanh(b)\nb = x\nh' = a", r"line 1 \(a = tanh\(b\)\): 'b' is not known here"),
        ("h' = tanh(h')", r"line 1 \(h' = tanh\(h'\)\): \"h'\" is not known here"),
        ("\n\nh = x\nh' = h", r"line 3 \(h = x\): h has a value already"),
        ("h' = h + linear(x)\nh' = x", r"line 2 \(h' = x\): h' has a value already"),
        ("h' tanh(x)\nh' = x", r"line 1 \(h' tanh\(x\)\): not of the form  name = expression"),
        ("1h = x\nh' = x", "line 1 .*: not of the form"),
        ("h' = (x", "the right side is no expression"),
        ("h' = linear(x, h); import os", "the right side is no expression"),
        ("h' = conv(x, h)", "unknown operation 'conv'. Known: linear, scale, add"),
        ("h' = x / h", r"only \+, - and \* join values"),
        ("h' = -x", "'-x' is no value, sum or call"),
        ("h' = 2 * x", "'2' is no value, sum or call"),
        ("h' = x[0]", r"'x\[0\]' is no value"),
        ('h\' = __import__("os").system("true")', "is no value, sum or call"),
        ("h' = linear(*x)", r"'\*x' is no value"),
        ("h' = tanh(x, bias=True)", "tanh takes no 'bias'"),
        ("h' = linear(x, h, biass=False)", "linear takes no 'biass'"),
        ("h' = linear(x, h, bias=1)", "bias is True or False, bias_init a number"),
        ("h' = linear(x, h, bias=h)", "bias is no plain number"),
        ("h' = linear(x, h, bias={[]: 1})", "bias is no plain number"),
        ("h' = linear(x, h, bias_init=1, bias_init=2)", "bias_init stands twice in one call"),
        ("h' = linear(x, h, bias_init=1" + 400 * "0" + ")", "bias_init is beyond 1,000,000,000"),
        ("h' = linear(x, h, bias_init=1e999)", "bias_init is beyond 1,000,000,000"),
        ("h' = linear(x, h) + 0x" + 9000 * "f", "'0xffff.*' is no value"),
        ("h' = linear(x, h) + 1" + 9000 * "0", "the right side is no expression"),
        ("h' = " + 190 * "tanh(" + "x" + 190 * ")", "the genome has 190 nodes, but the limit"),
        ("h' = " + 5000 * "(" + "x" + 5000 * ")", "the right side is no expression"),
        ("h' = " + 4000 * "x + " + "h", "the right side is no expression|reads 4001 values"),
        ("h' = x\n" * 9000, "the equations have 63,000 characters; 20,000 do"),
        ("h' = tanh(x)", "h_new_0 never depends on an earlier state"),
    ],
)
def test_equations_that_are_none_are_refused_naming_line_and_reason(
    text: str, message: str
) -> None:
    with pytest.raises(InvalidGenome, match=message) as caught:
        parse_equations(text)
    assert len(str(caught.value)) < 300


def test_a_changed_activation_shows_as_the_one_line_it_stands_in() -> None:
    gru = published("gru")
    child = parse_equations(
        """
        r = sigmoid(linear(x, h))
        z = sigmoid(linear(x, h))
        n = relu(linear(x, r * h))
        h' = blend(z, n, h)
        """
    )
    assert changed_equations(gru, child) == [
        ("v3 = tanh(linear(x, v1 * h))", "v3 = relu(linear(x, v1 * h))")
    ]


def test_an_inserted_value_shows_as_a_new_line_beside_the_line_that_reads_it() -> None:
    rnn = published("rnn")
    child = parse_equations("v1 = tanh(linear(x, h))\nh' = v1 * sigmoid(v1)")
    assert changed_equations(rnn, child) == [
        (None, "v1 = tanh(linear(x, h))"),
        ("h' = tanh(linear(x, h))", "h' = v1 * sigmoid(v1)"),
    ]


def test_nothing_changed_between_a_cell_and_itself() -> None:
    for name in published_names():
        assert changed_equations(published(name), published(name)) == []


def test_a_removed_state_shows_as_a_line_that_went() -> None:
    before = parse_equations("c' = tanh(linear(x, c))\nh' = linear(h) + c'")
    after = parse_equations("h' = linear(h) + tanh(linear(x))")
    assert ("c' = tanh(linear(x, c))", None) in changed_equations(before, after)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_the_lines_of_a_child_are_those_of_its_parent_with_the_changes_made(
    first: int, second: int
) -> None:
    parent = random_genome(SearchSpace(), np.random.default_rng(first))
    child = random_genome(SearchSpace(), np.random.default_rng(second))
    changes = changed_equations(parent, child)
    lines = equations(parent)
    for before, _ in changes:
        if before is not None:
            lines.remove(before)  # raises if the parent has no such line
    lines += [after for _, after in changes if after is not None]
    assert _parsed_in_any_order(lines).digest == child.digest


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 5), max_size=5))
def test_a_lineage_is_written_like_each_of_its_cells_and_pairs(seeds: list[int]) -> None:
    line = [random_genome(SearchSpace(), np.random.default_rng(seed)) for seed in seeds]
    written = list(lineage_equations(iter(line)))
    assert [lines for lines, _ in written] == [equations(cell) for cell in line]
    changes = [changed_equations(parent, child) for parent, child in itertools.pairwise(line)]
    assert [changed for _, changed in written] == [[], *changes][: len(line)]


def _parsed_in_any_order(lines: list[str]) -> Genome:
    """Equations whose order is lost: each line goes behind those that define what it reads."""
    waiting, ordered, defined = list(lines), list[str](), {"x", "h", "c", "d"}
    while waiting:
        for line in waiting:
            name, _, right = line.partition(" = ")
            if _names(right) <= defined:
                ordered.append(line)
                defined.add(name)
                waiting.remove(line)
                break
        else:
            raise AssertionError(f"no order for {waiting}")
    return parse_equations("\n".join(ordered))


def _names(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:v\d+|[hcd]'?(?![\w']))", expression))
