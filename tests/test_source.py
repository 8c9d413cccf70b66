"""The exported file runs on its own and computes what the genome says."""

from __future__ import annotations

import ast
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from genomes.canonical import canonical
from genomes.equations import equations, parse_equations
from genomes.genome import Genome, Node, reads_raw_x
from genomes.published import published, published_names
from genomes.source import python_source
from genomes.space import SearchSpace, random_genome
from workers.layers import RecurrentLayer

EVERY_OPERATION = """
a = leaky_relu(linear(x, h, bias_init=1))
b = softsign(linear(x, bias=False)) * relu(c) * a
m = mean(a, b, scale(h))
c' = blend(sigmoid(linear(m)), identity(a - b), 1 - c)
h' = tanh(a + b + c')
"""


def load(text: str, name: str = "Cell") -> type[nn.Module]:
    names: dict[str, type[nn.Module]] = {}
    exec(compile(text, "cell.py", "exec", dont_inherit=True), names)
    return names[name]


def module_of(genome: Genome, size_in: int, hidden: int) -> nn.Module:
    torch.manual_seed(0)
    return load(python_source(genome))(size_in, hidden).double()


def straightforward(genome: Genome, module: nn.Module, x: Tensor, state: Tensor) -> np.ndarray:
    """The genome in NumPy, one component-wise formula at a time; the final state (S, B, hidden)."""
    w = {name: p.detach().numpy() for name, p in module.named_parameters()}
    h = state.numpy()
    for x_t in x.numpy():
        v = [x_t, *h]
        for i, node in enumerate(genome.nodes):
            s = [v[k] for k in node.inputs]
            match node.op:
                case "linear":
                    y = sum(a @ w[f"node{i}_weight_{j}"].T for j, a in enumerate(s))
                    y = y + (w[f"node{i}_bias"] if node.bias else 0)
                case "scale":
                    y = s[0] * w[f"node{i}_scale"]
                case "add":
                    y = np.sum(s, axis=0)
                case "mul":
                    y = np.prod(s, axis=0)
                case "sub":
                    y = s[0] - s[1]
                case "mean":
                    y = np.mean(s, axis=0)
                case "blend":
                    y = s[0] * s[1] + (1 - s[0]) * s[2]
                case "tanh":
                    y = np.tanh(s[0])
                case "sigmoid":
                    y = 1 / (1 + np.exp(-s[0]))
                case "relu":
                    y = np.maximum(s[0], 0)
                case "leaky_relu":
                    y = np.where(s[0] > 0, s[0], 0.01 * s[0])
                case "softsign":
                    y = s[0] / (1 + np.abs(s[0]))
                case "one_minus":
                    y = 1 - s[0]
                case "identity":
                    y = s[0]
            v.append(y)
        h = np.stack([v[k] for k in genome.outputs])
    return h


def check_against_formulas(genome: Genome) -> None:
    size_in, hidden = (4, 4) if reads_raw_x(genome) else (3, 4)
    module = module_of(genome, size_in, hidden)
    x = torch.randn(5, 2, size_in, dtype=torch.float64)
    state = torch.randn(genome.states, 2, hidden, dtype=torch.float64)
    y, final = module(x, state)
    assert y.shape == (5, 2, hidden)
    assert final.shape == state.shape
    expected = straightforward(genome, module, x, state)
    np.testing.assert_allclose(final.detach().numpy(), expected, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(y[-1].detach().numpy(), final[0].detach().numpy())


@pytest.mark.parametrize("name", published_names())
def test_the_source_of_a_published_cell_computes_its_formulas(name: str) -> None:
    check_against_formulas(published(name))


def test_the_source_of_a_cell_with_every_operation_computes_its_formulas() -> None:
    check_against_formulas(parse_equations(EVERY_OPERATION))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_the_source_of_a_random_cell_computes_its_formulas(seed: int) -> None:
    # A bounded activation at the end keeps products of states from overflowing.
    space = SearchSpace(
        activations=("tanh", "sigmoid", "one_minus"), combinations=("mean", "blend")
    )
    check_against_formulas(random_genome(space, np.random.default_rng(seed)))


@pytest.mark.parametrize("cell", [*published_names(), "every operation"])
def test_the_source_equals_the_layer_with_the_same_named_weights(cell: str) -> None:
    genome = parse_equations(EVERY_OPERATION) if cell == "every operation" else published(cell)
    genome = canonical(genome)
    size_in, hidden = (4, 4) if reads_raw_x(genome) else (3, 4)
    module = module_of(genome, size_in, hidden)
    layer = RecurrentLayer(genome, size_in, hidden, engine="torch", dtype=torch.float64)
    layer.load_weights(dict(module.named_parameters()))
    x = torch.randn(6, 2, size_in, dtype=torch.float64)
    y, state = module(x)
    y_layer, state_layer = layer(x)
    torch.testing.assert_close(y, y_layer, rtol=0, atol=1e-10)
    torch.testing.assert_close(state, state_layer, rtol=0, atol=1e-10)
    module.load_state_dict(layer.named_weights())


def test_dead_nodes_keep_their_weights_and_are_not_computed() -> None:
    genome = parse_equations("a = sigmoid(linear(h)) \n b = x * a \n h' = tanh(linear(x, h))")
    text = python_source(genome)
    assert "node1 =" not in text
    module = load(text)(3, 5)
    layer = RecurrentLayer(genome, 3, 5)
    assert dict(module.named_parameters()).keys() == layer.named_weights().keys()
    assert module(torch.randn(2, 1, 3))[0].shape == (2, 1, 5)


def test_a_training_step_lowers_the_loss_and_reaches_every_weight() -> None:
    module = module_of(parse_equations(EVERY_OPERATION), 3, 4)
    x = torch.randn(4, 8, 3, dtype=torch.float64)
    target = torch.rand(4, 8, 4, dtype=torch.float64)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    before = (module(x)[0] - target).square().mean()
    before.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    optimizer.step()
    assert (module(x)[0] - target).square().mean() < before


def test_a_sequence_may_be_run_in_two_halves_or_be_empty() -> None:
    module = module_of(published("lstm"), 3, 4)
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    whole, end = module(x)
    first, middle = module(x[:2])
    second, last = module(x[2:], middle)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(last, end)
    y, state = module(x[:0], end)
    assert y.shape == (0, 2, 4)
    assert torch.equal(state, end)


def test_the_weights_start_as_the_rule_says() -> None:
    genome = parse_equations("h' = tanh(linear(x, h, bias_init=-1) + scale(h))")
    module = module_of(genome, 30, 50)
    weights = dict(module.named_parameters())
    of_x, of_h = weights["node0_weight_0"], weights["node0_weight_1"]
    bound = math.sqrt(6 / 80)
    assert of_x.abs().max() <= bound
    assert of_x.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    torch.testing.assert_close(of_h @ of_h.T, torch.eye(50, dtype=torch.float64), atol=1e-5, rtol=0)
    assert torch.equal(weights["node0_bias"], torch.full((50,), -1.0, dtype=torch.float64))
    scale = weights["node1_scale"]
    assert 0.8 * 50**-0.5 < scale.abs().max() <= 50**-0.5


def test_the_file_imports_torch_alone_and_shows_the_equations() -> None:
    genome = published("lstm_peephole")
    tree = ast.parse(python_source(genome, "Peephole", note="Found in a search."))
    imported = {
        (n.module or "").split(".")[0] if isinstance(n, ast.ImportFrom) else n.names[0].name
        for n in ast.walk(tree)
        if isinstance(n, ast.Import | ast.ImportFrom)
    }
    assert imported == {"__future__", "torch"}
    text = ast.get_docstring(tree) or ""
    assert "Found in a search." in text
    for line in equations(genome):
        assert line in text


def test_the_file_runs_in_a_fresh_python_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "cell.py").write_text(python_source(published("gru"), "Gru"))
    code = "import torch; from cell import Gru; print(*Gru(3, 4)(torch.zeros(2, 1, 3))[0].shape)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["2", "1", "4"]


@pytest.mark.parametrize(
    "note",
    ['ends """ early', "back\\slash \\", 'ends with a "', "{braces} and % signs", "ünï\n2nd"],
)
def test_any_note_stays_text(note: str) -> None:
    tree = ast.parse(python_source(published("rnn"), note=note))
    assert note.strip() in (ast.get_docstring(tree, clean=False) or "")


@pytest.mark.parametrize("name", ["", "2x", "class", "a b", "x\nimport os", "torch", "Tensor"])
def test_a_name_that_no_class_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="class_name is .* give a Python name, such as 'Cell'"):
        python_source(published("rnn"), name)


def test_a_cell_of_raw_x_refuses_unequal_sizes() -> None:
    cell = load(python_source(published("sru")))
    with pytest.raises(ValueError, match=r"input_size \(3\) must be hidden_size \(4\)"):
        cell(3, 4)


def test_a_cell_without_weights_runs() -> None:
    module = load(python_source(parse_equations("h' = tanh(x + h)")))(2, 2)
    y, _ = module(torch.ones(1, 1, 2))
    torch.testing.assert_close(y, torch.ones(1, 1, 2).tanh())


def test_a_state_that_the_output_never_reads_is_computed_in_the_source_too() -> None:
    cell = Genome(2, (Node("linear", (0, 1)), Node("tanh", (3,)), Node("relu", (4,))), (4, 5))
    names: dict[str, Any] = {}
    exec(compile(python_source(cell), "cell.py", "exec"), names)
    y, state = names["Cell"](3, 4)(torch.randn(5, 2, 3))
    torch.testing.assert_close(state[1], y[-1].relu())
