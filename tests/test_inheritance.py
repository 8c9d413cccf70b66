"""What a child takes over from its parent: the weights of the same edges, and nothing else."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from disguise import REWRITINGS, unchanged
from hypothesis import given, settings
from hypothesis import strategies as st
from matching import match
from tiny import tiny_text

from genomes import (
    Genome,
    SearchSpace,
    canonical,
    mutate,
    parse_equations,
    published,
    random_genome,
)
from genomes.ops import OPS
from genomes.program import Weight, layout, lower
from tests.tiny import ROOT
from workers.messages import Training
from workers.model import SequenceModel
from workers.tasks import load_task
from workers.tasks.base import Task

with pytest.MonkeyPatch.context() as _patch:
    # An experiment's, so it lies beside its script and not in a package.
    _patch.syspath_prepend(str(ROOT / "benchmarks"))
    _weights = importlib.import_module("inherited_weights")
Shared, inherit, shared_weights = _weights.Shared, _weights.inherit, _weights.shared_weights

SMALL = Training(hidden_size=6, num_layers=2, engine="torch")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return load_task("text", str(tiny_text(tmp_path_factory.mktemp("text"))), {})


def weights_of(genome: Genome) -> dict[str, Weight]:
    """By name, at a hidden size that x does not have."""
    return {weight.name: weight for weight in layout(lower(canonical(genome)), 3, 5)}


def model_of(genome: Genome, task: Task, seed: int, training: Training = SMALL) -> SequenceModel:
    torch.manual_seed(seed)
    return SequenceModel(genome, task, training)


def as_written(cell: Genome, shared: tuple[Shared, ...], parent: Genome) -> dict[str, str]:
    """Child's name -> parent's name, by the names of the cells as written; - for a turned sign."""
    mine, theirs = match(cell, canonical(cell)), match(parent, canonical(parent))
    assert mine is not None and theirs is not None
    found = {}
    for weight in shared:
        (name, sign), (other, its_sign) = mine[0][weight.child], theirs[0][weight.parent]
        found[name] = ("" if sign * its_sign * weight.sign == 1 else "-") + other
    return found


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "lstm_peephole", "mgu", "enas"])
def test_an_identical_child_inherits_everything(name: str) -> None:
    genome = published(name)
    shared = shared_weights(genome, genome)
    assert all(weight.child == weight.parent and weight.sign == 1 for weight in shared)
    assert {weight.child for weight in shared} == weights_of(genome).keys()


def with_another_op(parent: Genome, i: int) -> Genome:
    """The cell with node i, which has no weights, computing something else."""
    node = parent.nodes[i]
    op = "relu" if len(node.inputs) == 1 else "mul" if node.op in ("add", "mean") else "add"
    changed = replace(node, op=op if op != node.op else "tanh", inputs=node.inputs[:2])
    return Genome(
        parent.states, (*parent.nodes[:i], changed, *parent.nodes[i + 1 :]), parent.outputs
    )


def not_at(node: int, cell: Genome) -> set[str]:
    """Weights of the cell as written that do not read a node."""
    found = set()
    for i, reader in enumerate(cell.nodes):
        slots = [k for k, v in enumerate(reader.inputs) if v != cell.first_node + node]
        found |= {f"node{i}_weight_{k}" for k in slots if reader.op == "linear"}
        found |= {f"node{i}_scale" for _ in slots if reader.op == "scale"}
        found |= {f"node{i}_bias"} if reader.bias else set()
    return found


@pytest.mark.parametrize("name", ["gru", "lstm", "mgu", "lstm_peephole"])
def test_a_child_with_one_node_changed_inherits_all_edges_but_those_at_the_node(name: str) -> None:
    parent = published(name)
    for i, node in enumerate(parent.nodes):
        if OPS[node.op].has_weights:
            continue
        child = with_another_op(parent, i)
        found = as_written(child, shared_weights(child, parent), parent)
        if node.op == "blend":
            # Which way round its gate was written is lost with it.
            found = {name: other.lstrip("-") for name, other in found.items()}
        form = match(child, canonical(child))
        assert form is not None
        alive = {written for written, _ in form[0].values()}
        assert found == {name: name for name in not_at(i, parent) & alive}, f"node {i}, {node.op}"


def test_a_gate_that_the_canonical_form_turned_is_inherited_with_the_other_sign() -> None:
    parent = parse_equations("z = sigmoid(linear(x, h))\nh' = blend(z, tanh(linear(x, h)), h)")
    child = parse_equations("z = sigmoid(linear(x, h))\nh' = blend(z, h, relu(linear(x, h)))")
    found = as_written(child, shared_weights(child, parent), parent)
    gates = {name: other for name, other in found.items() if name.startswith("node0")}
    # As written the child's gate opens the other way, so that the negated weights do the same.
    assert gates == {f"node0_{w}": f"-node0_{w}" for w in ("weight_0", "weight_1", "bias")}


def test_a_bias_that_starts_at_another_value_is_not_inherited() -> None:
    parent = parse_equations("h' = tanh(linear(x, h))")
    child = parse_equations("h' = tanh(linear(x, h, bias_init=1))")
    assert {w.child for w in shared_weights(child, parent)} == {"node0_weight_0", "node0_weight_1"}


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 4))
def test_mutants_of_any_cell_share_weights_of_equal_role_and_shape_and_none_twice(
    seed: int, steps: int
) -> None:
    rng = np.random.default_rng(seed)
    space = SearchSpace(max_nodes=int(rng.integers(8, 40)))
    parent = child = random_genome(space, rng)
    for _ in range(steps):
        child, _ = mutate(child, space, rng)
    shared = shared_weights(child, parent)
    mine, theirs = weights_of(child), weights_of(parent)
    for w in shared:
        a, b = mine[w.child], theirs[w.parent]
        assert (a.role, a.shape, a.bias_init) == (b.role, b.shape, b.bias_init)
        assert w.sign in (1, -1)
    assert len({w.child for w in shared}) == len(shared) == len({w.parent for w in shared})
    nodes = {(mine[w.child].node, theirs[w.parent].node) for w in shared}
    assert len(nodes) == len({a for a, _ in nodes}) == len({b for _, b in nodes})
    assert steps or len(shared) == len(mine)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), rewritings=st.lists(st.sampled_from(REWRITINGS), max_size=6))
def test_the_same_cell_written_differently_computes_the_same_after_inheriting(
    task: Task, seed: int, rewritings: list[object]
) -> None:
    rng = np.random.default_rng(seed)
    parent = random_genome(SearchSpace(max_nodes=16), rng)
    cell = unchanged(parent)
    for rewrite in rewritings:
        cell = rewrite(cell, rng)  # type: ignore[operator]
    one, other = model_of(parent, task, 1), model_of(cell.genome, task, 2)
    inherit(other, one, ends=True)
    batch = next(iter(task.training_batches(2, rng)))
    with torch.no_grad():
        for mine, its in zip(other(batch), one(batch), strict=True):
            torch.testing.assert_close(mine, its, rtol=0, atol=0, equal_nan=True)


def test_inheriting_leaves_the_parent_and_what_is_not_shared_as_it_was(task: Task) -> None:
    parent, child = model_of(published("gru"), task, 1), model_of(published("lstm"), task, 2)
    before = {name: w.clone() for name, w in child.state_dict().items()}
    kept = {name: w.clone() for name, w in parent.state_dict().items()}
    shared = inherit(child, parent)
    assert shared
    for name, weight in parent.state_dict().items():
        assert torch.equal(weight, kept[name])
    for name in ("front_end.weight", "head.weight"):
        found = [key for key in before if key.startswith(name.split(".")[0])]
        assert found and all(torch.equal(child.state_dict()[key], before[key]) for key in found)
    untouched = model_of(published("lstm"), task, 2).recurrent.recurrent_layers()
    for level, layer in enumerate(child.recurrent.recurrent_layers()):
        theirs = parent.recurrent.recurrent_layers()[level].named_weights()
        sources = {w.child: w.sign * theirs[w.parent] for w in shared}
        for name, weight in layer.named_weights().items():
            expected = sources.get(name, untouched[level].named_weights()[name])
            assert torch.equal(weight, expected), name


def test_models_of_other_sizes_are_refused(task: Task) -> None:
    parent = model_of(published("gru"), task, 1)
    wider = model_of(published("gru"), task, 1, replace(SMALL, hidden_size=7))
    with pytest.raises(ValueError, match=r"sizes \[\(7, 7\), \(7, 7\)\], the parent's \[\(6, 6\)"):
        inherit(wider, parent)
    flatter = model_of(published("gru"), task, 1, replace(SMALL, num_layers=1))
    with pytest.raises(ValueError, match="of one hidden size and number of layers"):
        inherit(flatter, parent)


def test_an_end_of_another_task_is_refused(task: Task, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("abcdefgh " * 400)
    other = load_task("text", str(tmp_path / "other.txt"), {})
    child, parent = model_of(published("gru"), other, 1), model_of(published("gru"), task, 1)
    with pytest.raises(ValueError, match="give both models the same task and hidden size"):
        inherit(child, parent, ends=True)
