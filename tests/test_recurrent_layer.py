"""`RecurrentLayer` and `RecurrentStack` as layers: calling, shapes, packing, engines, messages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from genomes import (
    Genome,
    Node,
    SearchSpace,
    canonical,
    mutate,
    parameter_count,
    published,
    published_names,
    random_genome,
)
from workers import RecurrentLayer, RecurrentStack
from workers.engine import ENGINES

F64 = torch.float64


def shaken(layer: RecurrentLayer) -> RecurrentLayer:
    """All weights away from their special initial values."""
    with torch.no_grad():
        layer.weights.add_(0.2 * torch.randn_like(layer.weights))
    return layer


def gradients(layer: RecurrentLayer, x: Tensor, state: Tensor, lengths: Tensor | None):
    x, state = x.clone().requires_grad_(), state.clone().requires_grad_()
    layer.zero_grad()
    y, final = layer(x, state, lengths)
    (y.sin().sum() + final.cos().sum()).backward()
    return y.detach(), final.detach(), x.grad, state.grad, layer.weights.grad.clone()


@pytest.mark.parametrize("lengths", [None, torch.tensor([6, 1, 4])])
@pytest.mark.parametrize("name", published_names())
def test_every_engine_equals_the_reference(name: str, lengths: Tensor | None) -> None:
    genome = published(name)
    torch.manual_seed(0)
    reference = shaken(RecurrentLayer(genome, 5, 5, engine="reference", dtype=F64))
    x, state = torch.randn(6, 3, 5, dtype=F64), torch.randn(genome.states, 3, 5, dtype=F64)
    wanted = gradients(reference, x, state, lengths)
    for engine in ENGINES:
        layer = RecurrentLayer(genome, 5, 5, engine=engine, dtype=F64)
        layer.load_weights(reference.named_weights())
        for got, want in zip(gradients(layer, x, state, lengths), wanted, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("seed", range(60))
def test_engine_torch_equals_the_reference_for_random_mutated_cells(seed: int) -> None:
    rng = np.random.default_rng(seed)
    genome = random_genome(SearchSpace(), rng)
    for _ in range(seed % 5):
        genome, _ = mutate(genome, SearchSpace(), rng)
    torch.manual_seed(seed)
    layers = [RecurrentLayer(genome, 4, 4, engine=e, dtype=F64) for e in ("reference", "torch")]
    layers[1].load_weights(layers[0].named_weights())
    x, lengths = 0.5 * torch.randn(6, 3, 4, dtype=F64), torch.tensor([6, 1, 4])
    wanted, got = [], []
    for layer, results in zip(layers, (wanted, got), strict=True):
        y, final = layer(x, lengths=lengths)
        results += [y, final, *torch.autograd.grad(y.sum() + final.sum(), layer.weights)]
    for one, other in zip(got, wanted, strict=True):
        # Relative to the largest number: an untrained cell may explode, in both engines alike.
        assert (one - other).abs().max() <= 1e-11 * other.abs().max()


def test_state_0_is_h_and_state_1_is_c_as_in_nn_lstm() -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(4, 6, dtype=F64)
    layer = RecurrentLayer(published("lstm"), 4, 6, dtype=F64)
    copy_lstm(lstm, layer)
    x = torch.randn(7, 2, 4, dtype=F64)
    y, state = layer(x)
    wanted, (h, c) = lstm(x)
    torch.testing.assert_close(y, wanted)
    torch.testing.assert_close(state, torch.cat([h, c]))


def copy_lstm(lstm: nn.LSTM, layer: RecurrentLayer, suffix: str = "l0") -> None:
    """nn.LSTM stacks its gates i, f, g, o; a genome's linears are found by what reads them."""
    genome = layer.genome
    order = lstm_linears(genome)
    sizes = dict(zip("ifgo", range(4), strict=True))
    hidden = lstm.hidden_size
    weights = {}
    for gate, node in order.items():
        rows = slice(sizes[gate] * hidden, (sizes[gate] + 1) * hidden)
        weights[f"node{node}_weight_0"] = getattr(lstm, f"weight_ih_{suffix}")[rows]
        weights[f"node{node}_weight_1"] = getattr(lstm, f"weight_hh_{suffix}")[rows]
        bias = getattr(lstm, f"bias_ih_{suffix}") + getattr(lstm, f"bias_hh_{suffix}")
        weights[f"node{node}_bias"] = bias[rows]
    layer.load_weights(weights)


def lstm_linears(genome: Genome) -> dict[str, int]:
    """Gate name -> node of its linear, from the structure of the published lstm."""
    first = genome.first_node
    nodes = genome.nodes
    h_new, c_new = genome.outputs

    def linear_of(value: int) -> int:
        return nodes[value - first].inputs[0] - first

    def op(value: int) -> str:
        return nodes[value - first].op

    o = next(v for v in nodes[h_new - first].inputs if op(v) == "sigmoid")
    forget, write = nodes[c_new - first].inputs
    if 2 not in nodes[forget - first].inputs:
        forget, write = write, forget
    f = next(v for v in nodes[forget - first].inputs if v != 2)
    i = next(v for v in nodes[write - first].inputs if op(v) == "sigmoid")
    g = next(v for v in nodes[write - first].inputs if op(v) == "tanh")
    return {"i": linear_of(i), "f": linear_of(f), "g": linear_of(g), "o": linear_of(o)}


def test_a_stack_of_lstm_layers_in_both_directions_equals_nn_lstm_on_packed_sequences() -> None:
    torch.manual_seed(1)
    lstm = nn.LSTM(4, 6, num_layers=2, bidirectional=True, dtype=F64)
    stack = RecurrentStack(published("lstm"), 4, 6, num_layers=2, bidirectional=True, dtype=F64)
    suffixes = ["l0", "l0_reverse", "l1", "l1_reverse"]
    for layer, suffix in zip(stack.recurrent_layers(), suffixes, strict=True):
        copy_lstm(lstm, layer, suffix)
    x, lengths = torch.randn(5, 3, 4, dtype=F64), torch.tensor([2, 5, 3])
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    y, state = stack(packed)
    wanted, (h, c) = lstm(packed)
    assert isinstance(y, PackedSequence)
    torch.testing.assert_close(y.data, wanted.data)
    assert torch.equal(y.batch_sizes, wanted.batch_sizes)
    torch.testing.assert_close(state[:, 0], h)
    torch.testing.assert_close(state[:, 1], c)
    padded, _ = pad_packed_sequence(y)
    unpacked, _ = stack(x, lengths=lengths)
    torch.testing.assert_close(padded, unpacked)


def test_batch_first_only_swaps_the_axes() -> None:
    torch.manual_seed(0)
    plain = RecurrentLayer(published("gru"), 3, 4)
    other = RecurrentLayer(published("gru"), 3, 4, batch_first=True)
    other.load_weights(plain.named_weights())
    x = torch.randn(6, 2, 3)
    y, state = plain(x)
    swapped, same_state = other(x.transpose(0, 1))
    torch.testing.assert_close(swapped.transpose(0, 1), y)
    torch.testing.assert_close(same_state, state)


def test_a_sequence_in_two_pieces_with_the_state_carried_is_the_whole_sequence() -> None:
    stack = RecurrentStack(published("lstm_peephole"), 3, 4, num_layers=2, dtype=F64)
    x = torch.randn(9, 2, 3, dtype=F64)
    whole, final = stack(x)
    first, state = stack(x[:4])
    second, last = stack(x[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(last, final)


def test_what_lies_behind_a_sequence_changes_nothing() -> None:
    layer = RecurrentLayer(published("gru"), 3, 4, reverse=True)
    x, lengths = torch.randn(6, 2, 3), torch.tensor([6, 2])
    y, state = layer(x, lengths=lengths)
    x[2:, 1] = 99.0
    again, same = layer(x, lengths=lengths)
    torch.testing.assert_close(again, y)
    torch.testing.assert_close(same, state)
    assert torch.equal(y[2:, 1], torch.zeros(4, 4))


def test_the_weights_are_as_many_as_the_cost_model_says() -> None:
    for name in published_names():
        genome = published(name)
        layer = RecurrentLayer(genome, 6, 6)
        assert layer.weights.numel() == parameter_count(genome, 6, 6)


def test_initialisation_keeps_its_rule_for_any_cell() -> None:
    for name in ("lstm_forget_bias", "lstm_peephole", "darts_v1"):
        layer = RecurrentLayer(published(name), 16, 16)
        views = layer.named_weights()
        for weight in layer.layout:
            view = views[weight.name].detach()
            if weight.role == "input":
                assert view.abs().max() <= (6 / 32) ** 0.5
            elif weight.role == "recurrent":
                torch.testing.assert_close(view @ view.T, torch.eye(16), atol=1e-5, rtol=0)
            elif weight.role == "bias":
                assert torch.equal(view, torch.full((16,), weight.bias_init))
            else:
                assert view.abs().max() <= 0.25
    biases = [w.bias_init for w in RecurrentLayer(published("lstm_forget_bias"), 4, 4).layout]
    assert biases.count(1.0) == 1


def test_the_same_seed_gives_the_same_weights() -> None:
    layers = []
    for _ in range(2):
        torch.manual_seed(7)
        layers.append(RecurrentLayer(published("gru"), 5, 6))
    assert torch.equal(layers[0].weights, layers[1].weights)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_nobody_reads_is_never_run_but_keeps_its_weights(engine: str) -> None:
    nodes = (
        Node("linear", (0, 1)),
        Node("relu", (0,)),
        Node("add", (1, 3)),
        Node("scale", (4,)),
    )
    dead = Genome(1, nodes, (2,))
    layer = RecurrentLayer(dead, 3, 4, engine=engine)
    y, _ = layer(torch.randn(5, 2, 3))
    assert y.shape == (5, 2, 4)
    assert "node3_scale" in layer.named_weights()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_state_that_the_output_never_reads_is_computed_all_the_same(engine: str) -> None:
    cell = Genome(2, (Node("linear", (0, 1)), Node("tanh", (3,)), Node("relu", (4,))), (4, 5))
    y, state = RecurrentLayer(cell, 3, 4, engine=engine)(torch.randn(5, 2, 3))
    torch.testing.assert_close(state[1], y[-1].relu())


def test_a_canonical_form_computes_what_its_genome_computes() -> None:
    """Shown on one published cell here; for any genome in test_canonical."""
    genome = published("gru")
    assert RecurrentLayer(canonical(genome), 3, 3).weights.numel() == parameter_count(genome, 3, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RecurrentLayer(published("sru"), 3, 4), r"Project x to 4 features first"),
        (lambda: RecurrentLayer(published("gru"), 0, 4), r"sizes must be at least 1"),
        (lambda: RecurrentLayer(published("gru"), 3, 4, engine="fast"), r"unknown engine 'fast'"),
        (lambda: RecurrentStack(published("gru"), 3, 4, num_layers=0), r"at least 1 layer"),
        (
            lambda: RecurrentLayer(published("gru"), 3, 4)(torch.zeros(5, 2, 4)),
            r"takes \(T, B, 3\)",
        ),
        (
            lambda: RecurrentLayer(published("gru"), 3, 4, batch_first=True)(torch.zeros(5, 2, 4)),
            r"x has shape \(5, 2, 4\); this layer takes \(B, T, 3\)",
        ),
        (lambda: RecurrentLayer(published("gru"), 3, 4)(torch.zeros(0, 2, 3)), r"with T >= 1"),
        (
            lambda: RecurrentLayer(published("gru"), 3, 4)(
                torch.zeros(5, 2, 3), lengths=torch.tensor([3])
            ),
            r"lengths must be a tensor of shape \(2,\)",
        ),
        (
            lambda: RecurrentLayer(published("gru"), 3, 4)(
                torch.zeros(5, 2, 3), lengths=torch.tensor([3, 6])
            ),
            r"lengths go from 3 to 6, but must lie in 1 to 5",
        ),
        (
            lambda: RecurrentLayer(published("lstm"), 3, 4)(
                torch.zeros(5, 2, 3), torch.zeros(1, 2, 4)
            ),
            r"takes \(2, 2, 4\)",
        ),
        (
            lambda: RecurrentLayer(published("gru"), 3, 4).load_weights({}),
            r"weights missing or not of this cell",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make()
