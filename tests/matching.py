"""Matched weights between a cell and its canonical form, found by search.

The canonical form does not say where its weights came from. This search finds a
correspondence by walking both cells from the emitted state downwards; whether what it found is
right is for the test to check, by running both cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

from disguise import Origin

from genomes.genome import Genome
from genomes.ops import OPS


@dataclass(frozen=True)
class _Found:
    values: dict[int, int]
    """Value of the cell -> value of its canonical form."""
    sources: dict[int, tuple[int, ...]]
    """Linear node of the form -> for each of its sources, which source of the cell's linear."""
    turned: frozenset[int]
    """Values of the form whose weights have the other sign."""


def match(cell: Genome, form: Genome) -> tuple[Origin, tuple[int, ...]] | None:
    """Where the weights of ``form`` are in ``cell``, and which state of ``cell`` each state is."""
    shapes = _shapes(cell), _shapes(form)
    start = _Found({}, {}, frozenset())
    found = next(_walk(cell, form, shapes, [(cell.outputs[0], form.outputs[0])], start), None)
    if found is None:
        return None
    origin: Origin = {}
    for value, image in found.values.items():
        node = cell.node_of(value)
        if node is None or not OPS[node.op].has_weights:
            continue
        i, k = value - cell.first_node, image - form.first_node
        sign = -1 if image in found.turned else 1
        for new, old in enumerate(found.sources.get(k, ())):
            origin[f"node{k}_weight_{new}"] = (f"node{i}_weight_{old}", sign)
        if node.bias:
            origin[f"node{k}_bias"] = (f"node{i}_bias", sign)
        if node.op == "scale":
            origin[f"node{k}_scale"] = (f"node{i}_scale", sign)
    states = {image: v for v, image in found.values.items() if 1 <= v <= cell.states}
    states.setdefault(1, 1)
    return origin, tuple(states[k + 1] - 1 for k in range(form.states))


def _shapes(genome: Genome) -> list[str]:
    """For each value a text that corresponding values share (states and weights unnamed)."""
    shapes = ["x"] + genome.states * ["state"]
    for node in genome.nodes:
        below = [shapes[v] for v in node.inputs]
        if node.op == "identity":
            shapes.append(below[0])
            continue
        if OPS[node.op].commutative:
            below.sort()
        elif node.op == "blend":
            below[1:] = sorted(below[1:])
        shapes.append(str(hash((node.op, node.bias, node.bias_init, *below))))
    return shapes


def _walk(
    cell: Genome,
    form: Genome,
    shapes: tuple[list[str], list[str]],
    goals: list[tuple[int, int]],
    so_far: _Found,
) -> Iterator[_Found]:
    """Every way in which the pairs of values in ``goals`` can correspond."""
    if not goals:
        yield so_far
        return
    (value, image), rest = goals[-1], goals[:-1]
    node = cell.node_of(value)
    while node is not None and node.op == "identity":
        value = node.inputs[0]
        node = cell.node_of(value)
    if value in so_far.values:
        if so_far.values[value] == image:
            yield from _walk(cell, form, shapes, rest, so_far)
        return
    other = form.node_of(image)
    if shapes[0][value] != shapes[1][image] or (node is None) != (other is None):
        return
    values = so_far.values | {value: image}
    if node is None or other is None:
        if value == 0:
            yield from _walk(
                cell, form, shapes, rest, _Found(values, so_far.sources, so_far.turned)
            )
        elif image not in so_far.values.values() and (value == 1) == (image == 1):
            outputs = [(cell.outputs[value - 1], form.outputs[image - 1])]
            found = _Found(values, so_far.sources, so_far.turned)
            yield from _walk(cell, form, shapes, rest + outputs, found)
        return
    if OPS[node.op].has_weights and image in so_far.values.values():
        return
    for order in _orders(node.op, len(node.inputs)):
        goals_below = [(node.inputs[k], v) for k, v in zip(order, other.inputs, strict=True)]
        if any(shapes[0][a] != shapes[1][b] for a, b in goals_below):
            continue
        sources = so_far.sources
        if node.op == "linear":
            sources = sources | {image - form.first_node: order}
        turned = so_far.turned
        if order == (0, 2, 1) and node.op == "blend":
            gate = form.node_of(other.inputs[0])
            if gate is None or gate.op != "sigmoid":
                continue
            turned = turned | {gate.inputs[0]}
        yield from _walk(cell, form, shapes, rest + goals_below, _Found(values, sources, turned))


def _orders(op: str, count: int) -> Iterator[tuple[int, ...]]:
    if OPS[op].commutative:
        yield from permutations(range(count))
    elif op == "blend":
        yield from ((0, 1, 2), (0, 2, 1))
    else:
        yield tuple(range(count))
