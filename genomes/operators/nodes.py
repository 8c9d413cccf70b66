"""Edits that add, drop or exchange nodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genomes.draft import Draft
from genomes.genome import Node, X
from genomes.growth import activation_after_linear, pick, pick_weighted
from genomes.operators import Record
from genomes.space import SearchSpace

INSERTED = {"combination": 0.5, "unit": 0.4, "scale": 0.1}
"""What insert_node puts in: a combination with another value, act(linear(..)), or a scale."""


def insert_node(draft: Draft, space: SearchSpace, rng: np.random.Generator) -> Record | None:
    """A combination, a linear with an activation, or a scale between a value and a reader."""
    reader = pick(rng, draft.edges())
    source = draft.source(reader)
    others = [v for v in draft.readable_by(reader) if v != source and (v != X or space.raw_x)]
    match pick_weighted(rng, INSERTED):
        case "combination" if space.combinations and others:
            op = pick(rng, space.combinations)
            inputs = _paired(draft, space, rng, op, source, others)
            if inputs is None:
                return None
            new = draft.add(op, inputs)
        case "scale" if space.scales:
            new = draft.add("scale", [source])
        case _:
            sources = [source]
            if others and space.max_linear_sources > 1 and rng.random() < 0.5:
                sources.append(pick(rng, others))
            new = draft.add("linear", sources)
            activation = activation_after_linear(space, rng)
            if activation is not None:
                new = draft.add(activation, [new])
    record: Record = {
        "reader": draft.reader_name(reader),
        "source": draft.name(source),
        "inserted": draft.name(new).removeprefix("new "),
    }
    draft.connect(reader, new)
    return record


def remove_node(draft: Draft, space: SearchSpace, rng: np.random.Generator) -> Record | None:
    """The readers of a node read one of its sources instead."""
    if not draft.nodes:
        return None
    value = pick(rng, list(draft.nodes))
    return _replaced(draft, value, pick(rng, draft.nodes[value].inputs))


def replace_by_ancestor(
    draft: Draft, space: SearchSpace, rng: np.random.Generator
) -> Record | None:
    """The readers of a node read a value further back on its path instead."""
    if not draft.nodes:
        return None
    value = pick(rng, list(draft.nodes))
    near = {value, *draft.nodes[value].inputs}
    choices = sorted(draft.ancestors(value) - near)
    return _replaced(draft, value, pick(rng, choices)) if choices else None


def change_op(draft: Draft, space: SearchSpace, rng: np.random.Generator) -> Record | None:
    """Another combination in the place of one; sources are dropped or added to fit."""
    sites = [v for v in draft.nodes if draft.kind(v) == "combine"]
    if not sites:
        return None
    value = pick(rng, sites)
    node = draft.nodes[value]
    choices = [op for op in space.combinations if op != node.op]
    if not choices:
        return None
    op = pick(rng, choices)
    inputs = _fitting(draft, space, rng, value, node, op)
    if inputs is None:
        return None
    record: Record = {
        "node": value - draft.original.start,
        "from": node.op,
        "to": op,
        "inputs": [draft.name(v) for v in inputs],
    }
    draft.nodes[value] = replace(node, op=op, inputs=tuple(inputs))
    return record


def new_gate(draft: Draft, space: SearchSpace, output_state: int) -> int | None:
    """A new sigmoid(linear(x, h)), or None if the space has no sigmoid."""
    if "sigmoid" not in space.activations:
        return None
    sources = [X, output_state] if space.max_linear_sources > 1 else [output_state]
    return draft.add("sigmoid", [draft.add("linear", sources)])


def gate_for(
    draft: Draft, space: SearchSpace, rng: np.random.Generator, readable: list[int]
) -> int | None:
    """A readable sigmoid (one time in three) or a new gate; in a space without sigmoid any value
    will do. None if nothing is readable."""
    known = [v for v in readable if v in draft.nodes and draft.nodes[v].op == "sigmoid"]
    if known and rng.random() < 1 / 3:
        return pick(rng, known)
    gate = new_gate(draft, space, draft.states[0])
    if gate is None and readable:
        return pick(rng, readable)
    return gate


def _replaced(draft: Draft, value: int, by: int) -> Record:
    record: Record = {
        "node": value - draft.original.start,
        "op": draft.nodes[value].op,
        "by": draft.name(by),
    }
    draft.redirect(value, by)
    return record


def _paired(
    draft: Draft,
    space: SearchSpace,
    rng: np.random.Generator,
    op: str,
    source: int,
    others: list[int],
) -> list[int] | None:
    other = pick(rng, others)
    pair = [source, other] if rng.random() < 0.5 else [other, source]
    if op == "blend":
        gate = gate_for(draft, space, rng, others)
        return None if gate is None else [gate, *pair]
    if op == "mul" and rng.random() < 0.5:
        gate = gate_for(draft, space, rng, others)
        return None if gate is None else [gate, source]
    return pair


def _fitting(
    draft: Draft, space: SearchSpace, rng: np.random.Generator, value: int, node: Node, op: str
) -> list[int] | None:
    inputs = list(node.inputs)
    if op == "blend":
        order = [inputs[int(i)] for i in rng.permutation(len(inputs))]
        if len(order) > 2:
            return order[:3]
        gate = gate_for(draft, space, rng, draft.readable_by(("node", value, 0)))
        return None if gate is None else [gate, *order]
    if node.op == "blend" and (op == "sub" or rng.random() < 0.75):
        kept = pick(rng, [(1, 2), (0, 1), (0, 2)])
        return [inputs[i] for i in kept]
    if op == "sub" and len(inputs) > 2:
        kept_two = rng.choice(len(inputs), size=2, replace=False)
        return [inputs[int(i)] for i in kept_two]
    return inputs
