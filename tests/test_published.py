"""Published cells compute what their papers say, and what torch's own cells compute."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from numpy_cells import CELLS, drawn_weights, unrolled
from torch import Tensor, nn

from genomes.cost import parameter_count
from genomes.equations import parse_equations
from genomes.genome import Genome, reads_raw_x
from genomes.published import PUBLISHED, published, published_names
from genomes.space import SearchSpace
from workers.layers import RecurrentLayer

ENGINES = ("reference", "torch")
TORCH_CELLS = {"rnn": nn.RNN, "gru_reset_after": nn.GRU, "lstm": nn.LSTM}


def layer_of(name: str, input_size: int, hidden_size: int, engine: str) -> RecurrentLayer:
    return RecurrentLayer(
        published(name), input_size, hidden_size, engine=engine, dtype=torch.float64
    )


def weight_names(genome: Genome) -> list[str]:
    """The layer's weights in the order of the genome: matrices, then bias, node by node."""
    names: list[str] = []
    for i, node in enumerate(genome.nodes):
        if node.op == "linear":
            names += [f"node{i}_weight_{j}" for j in range(len(node.inputs))]
            names += [f"node{i}_bias"] * node.bias
        elif node.op == "scale":
            names.append(f"node{i}_scale")
    return names


def gradients(layer: RecurrentLayer) -> dict[str, Tensor]:
    grad = layer.weights.grad
    assert grad is not None
    return {
        w.name: grad[w.offset : w.offset + int(np.prod(w.shape))].view(w.shape)
        for w in layer.layout
    }


def torch_weights(name: str, cell: nn.RNNBase, parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Torch's stacked weights (or their gradients) under the names of our layer.

    ``parts`` holds weight_ih, weight_hh, bias_ih and bias_hh; for gradients the two biases of
    one sum have the same gradient, so bias_hh is given as zeros where a sum is formed.
    """
    genome = published(name)
    linears = [i for i, node in enumerate(genome.nodes) if node.op == "linear"]
    gates = len(parts["bias_ih"]) // cell.hidden_size
    w_ih, w_hh, b_ih, b_hh = (
        parts[p].chunk(gates) for p in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    result = {}
    for gate, i in enumerate(linears[: len(w_ih)]):
        result[f"node{i}_weight_0"] = w_ih[gate]
        result[f"node{i}_weight_1"] = w_hh[gate]
        result[f"node{i}_bias"] = b_ih[gate] + b_hh[gate]
    if name == "gru_reset_after":  # its n has two linears, W x + b_in and U h + b_hn
        of_x, of_h = linears[2:]
        del result[f"node{of_x}_weight_1"]
        result[f"node{of_x}_bias"] = b_ih[2]
        result[f"node{of_h}_weight_0"] = w_hh[2]
        result[f"node{of_h}_bias"] = b_hh[2]
    return result


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", TORCH_CELLS)
def test_a_cell_that_torch_has_agrees_with_it_over_sequences_and_through_gradients(
    name: str, engine: str
) -> None:
    torch.manual_seed(3)
    steps, batch, inputs, hidden = 17, 3, 4, 6
    theirs = TORCH_CELLS[name](inputs, hidden).double()
    ours = layer_of(name, inputs, hidden, engine)
    parts = {
        p: getattr(theirs, f"{p}_l0") for p in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    ours.load_weights(torch_weights(name, theirs, parts))

    x = torch.randn(steps, batch, inputs, dtype=torch.float64)
    state = torch.randn(ours.genome.states, batch, hidden, dtype=torch.float64)
    weighting = torch.randn(steps, batch, hidden, dtype=torch.float64)
    last_weighting = torch.randn_like(state)
    x1, x2 = x.clone().requires_grad_(), x.clone().requires_grad_()
    s1, s2 = state.clone().requires_grad_(), state.clone().requires_grad_()

    y_ours, last_ours = ours(x1, s1)
    if name == "lstm":
        y_theirs, (h, c) = theirs(x2, (s2[:1], s2[1:]))
        last_theirs = torch.cat([h, c])
    else:
        y_theirs, last_theirs = theirs(x2, s2)
    torch.testing.assert_close(y_ours, y_theirs, rtol=0, atol=1e-9)
    torch.testing.assert_close(last_ours, last_theirs, rtol=0, atol=1e-9)

    ((y_ours * weighting).sum() + (last_ours * last_weighting).sum()).backward()
    ((y_theirs * weighting).sum() + (last_theirs * last_weighting).sum()).backward()
    torch.testing.assert_close(x1.grad, x2.grad, rtol=0, atol=1e-9)
    torch.testing.assert_close(s1.grad, s2.grad, rtol=0, atol=1e-9)
    grads = {p: w.grad for p, w in parts.items()}
    if name != "gru_reset_after":
        torch.testing.assert_close(grads["bias_ih"], grads["bias_hh"])
        grads["bias_hh"] = torch.zeros_like(grads["bias_hh"])
    else:
        grads["bias_hh"][: 2 * hidden] = 0
    expected = torch_weights(name, theirs, grads)
    found = gradients(ours)
    assert found.keys() == expected.keys()
    for weight, gradient in expected.items():
        assert gradient.abs().max() > 1e-3, f"{weight} has no gradient to compare"
        torch.testing.assert_close(found[weight], gradient, rtol=0, atol=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CELLS)
def test_a_cell_that_torch_lacks_agrees_with_its_equations_in_numpy(name: str, engine: str) -> None:
    rng = np.random.default_rng(5)
    genome = published(name)
    hidden = 5
    inputs = hidden if reads_raw_x(genome) else 4
    weights = drawn_weights(name, inputs, hidden, rng)
    x = rng.normal(size=(9, 3, inputs))
    state = rng.normal(size=(genome.states, 3, hidden))

    layer = layer_of(name, inputs, hidden, engine)
    names = zip(weight_names(genome), weights.values(), strict=True)
    layer.load_weights({ours: torch.from_numpy(array) for ours, array in names})
    y, last = layer(torch.from_numpy(x), torch.from_numpy(state))

    expected, expected_last = unrolled(name, weights, x, tuple(state))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(last.detach().numpy(), np.stack(expected_last), rtol=0, atol=1e-9)


def test_every_published_cell_is_compared_with_torch_or_with_numpy() -> None:
    assert set(published_names()) == set(TORCH_CELLS) | set(CELLS)
    assert not set(TORCH_CELLS) & set(CELLS)


def test_there_are_22_published_cells() -> None:
    assert published_names() == tuple(
        "rnn gru gru_reset_after lstm lstm_forget_bias lstm_tanh_output lstm_peephole lstm_coupled "
        "mgu janet ugrnn ran minimal_rnn li_gru sru mut1 mut2 mut3 nas_cell enas darts_v1 "
        "darts_v2".split()
    )


def test_every_row_names_its_authors_and_year() -> None:
    for row in PUBLISHED:
        assert re.search(r"[A-Z]\w+(, [A-Z]\w+)*( et al\.)? (19|20)\d\d", row.source), row.name


def test_no_two_published_cells_are_the_same_cell() -> None:
    digests = {published(name).digest for name in published_names()}
    assert len(digests) == len(published_names())


def test_every_published_cell_fits_the_default_search_space() -> None:
    for name in published_names():
        assert SearchSpace().refusal(published(name)) is None, name
    assert len(published("enas").nodes) == 61


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(
        ValueError, match=r"no published cell is called 'LSTN'. Did you mean 'lstm'\?"
    ):
        published("LSTN")
    with pytest.raises(ValueError, match="called 'zzz'. Known are: rnn, gru, gru_reset_after"):
        published("zzz")


def test_the_forget_bias_starts_at_one_and_makes_another_cell() -> None:
    lstm, biased = published("lstm"), published("lstm_forget_bias")
    assert lstm.digest != biased.digest
    layer = layer_of("lstm_forget_bias", 4, 5, "reference")
    biases = {k: v.detach() for k, v in layer.named_weights().items() if k.endswith("_bias")}
    starts = {k: set(v.tolist()) for k, v in biases.items()}
    assert starts == {"node0_bias": {0}, "node2_bias": {1}, "node4_bias": {0}, "node6_bias": {0}}


@pytest.mark.parametrize(
    ("name", "without"),
    [("ran", 1), ("sru", 1), ("enas", 24), ("darts_v1", 18), ("darts_v2", 18), ("nas_cell", 9)],
)
def test_linears_without_a_bias_are_those_of_the_paper(name: str, without: int) -> None:
    linears = [node for node in published(name).nodes if node.op == "linear"]
    assert sum(not node.bias for node in linears) == without
    if name not in ("ran", "sru"):
        assert len(linears) == without


def test_cells_that_read_x_element_by_element_are_sru_mut1_and_mut2() -> None:
    assert [n for n in published_names() if reads_raw_x(published(n))] == ["sru", "mut1", "mut2"]


def test_darts_models_have_the_published_number_of_parameters() -> None:
    # One layer, input as wide as the state, decoder tied to the embedding, with a bias.
    def model(size: int, vocabulary: int) -> int:
        return parameter_count(published("darts_v2"), size, size) + vocabulary * (size + 1)

    assert model(850, 10_000) == 22_960_000
    assert round(model(700, 33_278) / 1e6, 1) == 33.1


def test_a_blend_gives_its_second_value_where_the_gate_is_one() -> None:
    gru = parse_equations(
        """
        z = sigmoid(linear(x, h, bias_init=40))
        h' = blend(z, tanh(linear(x)), h)
        """
    )
    layer = RecurrentLayer(gru, 2, 2, engine="reference", dtype=torch.float64)
    x, state = torch.randn(1, 1, 2, dtype=torch.float64), torch.full((1, 1, 2), 7.0).double()
    y, _ = layer(x, state)
    replaced = torch.tanh(x @ layer.named_weights()["node2_weight_0"].T)
    torch.testing.assert_close(y, replaced)
