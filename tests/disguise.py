"""The same cell written differently: random rewritings that must not change a digest.

Every rewriting says where each weight came from, so that a test can run both cells with matched
weights. Written without the canonical form, which is what the tests compare with.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from genomes.genome import Genome, Node
from genomes.ops import OPS
from genomes.reference import step

Origin = dict[str, tuple[str, int]]
"""Weight name in the rewritten cell -> (name in the original, sign); others are free."""


@dataclass(frozen=True)
class Rewritten:
    """A cell written anew.

    Attributes:
        genome: The new writing.
        origin: Where its weights came from.
        states: ``states[k]`` is the original's state that became state k, None for a dead one.
    """

    genome: Genome
    origin: Origin
    states: tuple[int | None, ...]


def weight_shapes(genome: Genome, size: int) -> dict[str, tuple[int, ...]]:
    """Shapes of all weights for inputs as wide as the states."""
    shapes: dict[str, tuple[int, ...]] = {}
    for i, node in enumerate(genome.nodes):
        if node.op == "linear":
            shapes |= {f"node{i}_weight_{j}": (size, size) for j in range(len(node.inputs))}
            if node.bias:
                shapes[f"node{i}_bias"] = (size,)
        elif node.op == "scale":
            shapes[f"node{i}_scale"] = (size,)
    return shapes


def drawn(genome: Genome, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
    """Random weights by name."""
    return {
        name: torch.from_numpy(rng.normal(scale=0.5, size=shape))
        for name, shape in weight_shapes(genome, size).items()
    }


def carried(
    rewritten: Genome, origin: Origin, weights: Mapping[str, Tensor], rng: np.random.Generator
) -> dict[str, Tensor]:
    """The rewritten cell's weights: matched where they have an origin, random elsewhere."""
    size = next(iter(weights.values())).shape[0] if weights else 3
    result = drawn(rewritten, size, rng)
    for name, (source, sign) in origin.items():
        result[name] = sign * weights[source]
    return result


def emitted(genome: Genome, weights: Mapping[str, Tensor], x: Tensor, states: Tensor) -> Tensor:
    """The emitted states (T, B, size) for x (T, B, size) and states (S, B, size)."""
    now = list(states.unbind(0))
    result = []
    for x_t in x:
        now = step(genome, weights, x_t, now)
        result.append(now[0])
    return torch.stack(result)


def _renamed(origin: Origin, nodes: Mapping[int, int]) -> Origin:
    """The origin after the nodes got new numbers (``nodes``: old -> new)."""

    def new_name(name: str) -> str:
        match = re.fullmatch(r"node(\d+)_(.*)", name)
        assert match is not None
        return f"node{nodes[int(match[1])]}_{match[2]}"

    return {new_name(name): source for name, source in origin.items()}


def unchanged(genome: Genome) -> Rewritten:
    origin = {name: (name, 1) for name in weight_shapes(genome, 1)}
    return Rewritten(genome, origin, tuple(range(genome.states)))


def reordered(cell: Rewritten, rng: np.random.Generator) -> Rewritten:
    """Nodes in another order that respects their inputs, under other numbers."""
    genome, first = cell.genome, cell.genome.first_node
    waiting, order = set(range(len(genome.nodes))), list[int]()
    while waiting:
        ready = [
            i
            for i in sorted(waiting)
            if all(v < first or v - first not in waiting for v in genome.nodes[i].inputs)
        ]
        order.append(int(rng.choice(ready)))
        waiting.remove(order[-1])
    new = {old: place for place, old in enumerate(order)}

    def value(v: int) -> int:
        return v if v < first else first + new[v - first]

    nodes = tuple(
        replace(genome.nodes[i], inputs=tuple(value(v) for v in genome.nodes[i].inputs))
        for i in order
    )
    rewritten = Genome(genome.states, nodes, tuple(value(v) for v in genome.outputs))
    return Rewritten(rewritten, _renamed(cell.origin, new), cell.states)


def commuted(cell: Rewritten, rng: np.random.Generator) -> Rewritten:
    """Sources of commutative operations in another order, their matrices with them."""
    nodes, origin = [], dict(cell.origin)
    for i, node in enumerate(cell.genome.nodes):
        if OPS[node.op].commutative:
            order = [int(k) for k in rng.permutation(len(node.inputs))]
            for new, old in enumerate(order) if node.op == "linear" else ():
                if f"node{i}_weight_{old}" in cell.origin:
                    origin[f"node{i}_weight_{new}"] = cell.origin[f"node{i}_weight_{old}"]
                else:
                    origin.pop(f"node{i}_weight_{new}", None)
            node = replace(node, inputs=tuple(node.inputs[k] for k in order))
        nodes.append(node)
    genome = Genome(cell.genome.states, tuple(nodes), cell.genome.outputs)
    return Rewritten(genome, origin, cell.states)


def states_permuted(cell: Rewritten, rng: np.random.Generator) -> Rewritten:
    """States under other numbers; the emitted one keeps its own."""
    genome = cell.genome
    order = [0, *(int(k) + 1 for k in rng.permutation(genome.states - 1))]  # new -> old
    new = {0: 0} | {old + 1: place + 1 for place, old in enumerate(order)}
    nodes = tuple(replace(n, inputs=tuple(new.get(v, v) for v in n.inputs)) for n in genome.nodes)
    outputs = tuple(new.get(genome.outputs[old], genome.outputs[old]) for old in order)
    rewritten = Genome(genome.states, nodes, outputs)
    return Rewritten(rewritten, cell.origin, tuple(cell.states[old] for old in order))


def _inserted(cell: Rewritten, at: int, node: Node) -> Rewritten:
    """With one node more, which nothing reads yet, as node ``at``."""
    genome = cell.genome
    place = genome.first_node + at

    def value(v: int) -> int:
        return v + (v >= place)

    nodes = [replace(n, inputs=tuple(value(v) for v in n.inputs)) for n in genome.nodes]
    nodes.insert(at, node)
    new = {i: i + (i >= at) for i in range(len(genome.nodes))}
    rewritten = Genome(genome.states, tuple(nodes), tuple(value(v) for v in genome.outputs))
    return Rewritten(rewritten, _renamed(cell.origin, new), cell.states)


def _some_readers_moved(
    cell: Rewritten, old: int, new: int, rng: np.random.Generator, *, share: float
) -> Rewritten:
    """A random share of what reads value ``old`` behind ``new`` reads ``new`` instead."""
    genome = cell.genome

    def value(v: int) -> int:
        return new if v == old and rng.random() < share else v

    nodes = tuple(
        replace(n, inputs=tuple(value(v) for v in n.inputs)) if genome.first_node + i > new else n
        for i, n in enumerate(genome.nodes)
    )
    rewritten = Genome(genome.states, nodes, tuple(value(v) for v in genome.outputs))
    return Rewritten(rewritten, cell.origin, cell.states)


def with_identity(cell: Rewritten, rng: np.random.Generator) -> Rewritten:
    """An identity behind some value, for some of its readers."""
    source = int(rng.integers(0, cell.genome.first_node + len(cell.genome.nodes)))
    at = max(0, source - cell.genome.first_node + 1)
    grown = _inserted(cell, at, Node("identity", (source,)))
    return _some_readers_moved(grown, source, grown.genome.first_node + at, rng, share=0.7)


def with_copy(cell: Rewritten, rng: np.random.Generator) -> Rewritten:
    """A weight-free node written twice, some readers reading the copy."""
    free = [i for i, n in enumerate(cell.genome.nodes) if not OPS[n.op].has_weights]
    if not free:
        return cell
    i = int(rng.choice(free))
    grown = _inserted(cell, i + 1, cell.genome.nodes[i])
    value = grown.genome.first_node + i
    return _some_readers_moved(grown, value, value + 1, rng, share=0.5)


def with_dead_node(cell: Rewritten, rng: np.random.Generator) -> Rewritten:
    """A linear that nothing reads."""
    at = int(rng.integers(0, len(cell.genome.nodes) + 1))
    sources = rng.integers(0, cell.genome.first_node + at, size=2)
    return _inserted(cell, at, Node("linear", tuple(int(v) for v in sources), bias=True))


def with_dead_state(cell: Rewritten, rng: np.random.Generator) -> Rewritten:
    """A last state that feeds only itself, if there is room for one."""
    genome = cell.genome
    if genome.states == 3:
        return cell
    place = genome.states + 1
    nodes = [replace(n, inputs=tuple(v + (v >= place) for v in n.inputs)) for n in genome.nodes]
    source = int(rng.integers(0, place + 1 + len(nodes)))
    nodes.append(Node("mul", (place, source)))
    outputs = (*(v + (v >= place) for v in genome.outputs), place + len(nodes))
    rewritten = Genome(genome.states + 1, tuple(nodes), outputs)
    return Rewritten(rewritten, cell.origin, (*cell.states, None))


def with_blends_turned(cell: Rewritten, rng: np.random.Generator) -> Rewritten:
    """blend(s(L), a, b) as blend(s(-L), b, a), where L and s(L) are read nowhere else."""
    genome, first = cell.genome, cell.genome.first_node
    reads = Counter([v for n in genome.nodes for v in n.inputs] + list(genome.outputs))
    nodes, origin = list(genome.nodes), dict(cell.origin)
    for i, node in enumerate(genome.nodes):
        gate = genome.node_of(node.inputs[0])
        if node.op != "blend" or gate is None or gate.op != "sigmoid" or rng.random() < 0.3:
            continue
        linear = genome.node_of(gate.inputs[0])
        alone = reads[node.inputs[0]] == 1 == reads[gate.inputs[0]]
        if linear is None or linear.op != "linear" or not alone or linear.bias_init != 0:
            continue
        z, a, b = node.inputs
        nodes[i] = replace(node, inputs=(z, b, a))
        for name, (source, sign) in cell.origin.items():
            if name.startswith(f"node{gate.inputs[0] - first}_"):
                origin[name] = (source, -sign)
    rewritten = Genome(genome.states, tuple(nodes), genome.outputs)
    return Rewritten(rewritten, origin, cell.states)


REWRITINGS = (
    reordered,
    commuted,
    states_permuted,
    with_identity,
    with_copy,
    with_dead_node,
    with_dead_state,
    with_blends_turned,
)
