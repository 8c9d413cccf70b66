"""Parameters, multiply-adds, and the hidden size for a parameter target."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from genomes.cost import (
    hidden_size_for,
    multiply_adds,
    nearest_size,
    parameter_count,
    recurrent_parameters,
)
from genomes.equations import parse_equations
from genomes.genome import pruned, reads_raw_x
from genomes.published import published, published_names
from workers.layers import RecurrentLayer, RecurrentStack


def test_torch_cells_have_torch_parameters_less_the_biases_they_keep_twice() -> None:
    inputs, hidden = 7, 11
    for name, cell, doubled in (
        ("rnn", nn.RNN(inputs, hidden), 1),
        ("gru_reset_after", nn.GRU(inputs, hidden), 2),  # n has two biases in both
        ("lstm", nn.LSTM(inputs, hidden), 4),
    ):
        theirs = sum(p.numel() for p in cell.parameters())
        assert parameter_count(published(name), inputs, hidden) == theirs - doubled * hidden, name


@pytest.mark.parametrize("name", published_names())
def test_a_layer_has_as_many_weights_as_counted(name: str) -> None:
    genome = published(name)
    hidden = 5
    inputs = hidden if reads_raw_x(genome) else 3
    layer = RecurrentLayer(genome, inputs, hidden)
    counted = sum(p.numel() for p in layer.parameters())
    assert counted == parameter_count(genome, inputs, hidden)
    assert counted == sum(w.numel() for w in layer.named_weights().values())


def test_a_matrix_on_x_is_as_wide_as_x_and_any_other_as_the_state() -> None:
    genome = parse_equations("h' = linear(x, h, tanh(h)) + scale(linear(x, bias=False))")
    # (10 * (3 + 10 + 10) + 10) + 10 * 3 + 10
    assert parameter_count(genome, input_size=3, hidden_size=10) == 280


def test_nodes_are_counted_as_written_dead_ones_included() -> None:
    genome = parse_equations("unused = linear(x, h)\nh' = tanh(linear(x, h))")
    assert parameter_count(genome, 3, 4) == 2 * (4 * 7 + 4)
    assert parameter_count(pruned(genome), 3, 4) == 4 * 7 + 4


def test_multiply_adds_are_matrix_products_plus_elementwise_operations() -> None:
    linear = parse_equations("h' = linear(x, h)")
    assert multiply_adds(linear, 3, 10) == 10 * 3 + 10 * 10

    def elementwise(expression: str) -> int:
        """Operations per component that an expression of x and h costs, a linear apart."""
        genome = parse_equations(f"h' = linear(x, {expression}, bias=False)")
        return (multiply_adds(genome, 10, 10) - 200) // 10

    assert elementwise("x + h") == elementwise("x * h") == elementwise("x - h") == 1
    assert elementwise("x + h + x + h") == elementwise("x * h * x * h") == 3
    assert elementwise("mean(x, h)") == 2
    assert elementwise("mean(x, h, x)") == 3
    assert elementwise("blend(x, h, x)") == 3
    assert elementwise("scale(h)") == elementwise("relu(h)") == elementwise("1 - h") == 1
    assert elementwise("identity(h)") == 0
    assert elementwise("tanh(h)") == elementwise("sigmoid(h)") == 8


def test_an_lstm_costs_four_times_an_rnn_in_products() -> None:
    size = 1000  # so wide that element-wise operations hardly count
    ratio = multiply_adds(published("lstm"), size, size) / multiply_adds(
        published("rnn"), size, size
    )
    assert ratio == pytest.approx(4, rel=0.01)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "enas", "sru"])
@pytest.mark.parametrize("layers", [1, 2])
def test_no_other_hidden_size_comes_nearer_to_the_target(name: str, layers: int) -> None:
    genome = published(name)
    for target in (1, 500, 33_333, 1_000_003):
        size = hidden_size_for(genome, target, layers)
        misses = {
            s: abs(recurrent_parameters(genome, s, layers) - target)
            for s in (size - 1, size, size + 1)
            if s >= 1
        }
        assert min(misses.values()) == misses[size], (target, misses)


def test_the_size_for_the_parameters_of_a_size_is_that_size() -> None:
    for name in published_names():
        genome = published(name)
        for size in (1, 2, 31, 64, 500):
            assert hidden_size_for(genome, recurrent_parameters(genome, size)) == size, name


def test_the_parameters_of_a_stack_are_those_counted_for_it() -> None:
    genome = published("gru")
    with torch.no_grad():
        stack = RecurrentStack(genome, 8, 8, num_layers=3)
    assert sum(p.numel() for p in stack.parameters()) == recurrent_parameters(genome, 8, 3)


def test_a_cell_without_weights_has_no_size_for_a_target() -> None:
    weightless = parse_equations("h' = tanh(x + h)")
    assert parameter_count(weightless, 4, 4) == 0
    with pytest.raises(ValueError, match="no hidden size up to 65,536 reaches 1,000 parameters"):
        hidden_size_for(weightless, 1000)


def test_the_nearest_size_may_lie_on_either_side_of_the_target() -> None:
    assert nearest_size(lambda n: 10 * n, 44) == 4
    assert nearest_size(lambda n: 10 * n, 46) == 5
    assert nearest_size(lambda n: 10 * n, -3) == 1
