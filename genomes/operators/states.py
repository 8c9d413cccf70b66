"""Edits that give a cell one more state feedback, or take one away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genomes.draft import Draft
from genomes.genome import X
from genomes.growth import pick
from genomes.operators import Record
from genomes.operators.nodes import new_gate
from genomes.space import SearchSpace


def add_state(draft: Draft, space: SearchSpace, rng: np.random.Generator) -> Record | None:
    """A new state that some node reads: a value remembered, or a gated memory in its place."""
    if len(draft.states) >= space.max_states:
        return None
    gated = "blend" in space.combinations and "sigmoid" in space.activations
    if gated and rng.random() < 0.5:
        return _memory(draft, space, rng)
    return _remembered(draft, space, rng)


def remove_state(draft: Draft, space: SearchSpace, rng: np.random.Generator) -> Record | None:
    """A state other than the emitted one goes; its readers read another state, or less."""
    if len(draft.states) < 2:
        return None
    k = int(rng.integers(1, len(draft.states)))
    state = draft.states[k]
    by = pick(rng, [v for v in draft.states if v != state])
    drop = bool(rng.random() < 0.5)
    record: Record = {"state": k, "by": draft.name(by)}
    for value, node in draft.nodes.items():
        if drop and node.op == "linear" and state in node.inputs and len(node.inputs) > 1:
            kept = tuple(v for v in node.inputs if v != state)
            draft.nodes[value] = replace(node, inputs=kept)
    draft.redirect(state, by)
    del draft.states[k], draft.outputs[k]
    return record


def _remembered(draft: Draft, space: SearchSpace, rng: np.random.Generator) -> Record | None:
    """h_new_k is a value that was there; a linear or a combination reads h_prev_k."""
    values = [v for v in draft.values() if v not in draft.outputs and (v != X or space.raw_x)]
    if not values:
        return None
    value = pick(rng, values)
    record: Record = {"state": len(draft.states), "value": draft.name(value)}
    state = draft.add_state(value)
    linears = [
        v
        for v, node in draft.nodes.items()
        if node.op == "linear" and len(node.inputs) < space.max_linear_sources
    ]
    plain = [op for op in space.combinations if op != "blend"]
    if linears and (not plain or rng.random() < 2 / 3):
        reader = pick(rng, linears)
        node = draft.nodes[reader]
        draft.nodes[reader] = replace(node, inputs=(*node.inputs, state))
        return record | {"reader": draft.name(reader)}
    edge = pick(rng, draft.edges())
    new = state
    if plain:
        op = pick(rng, plain)
        new = draft.add(op, [draft.source(edge), state])
        record["op"] = op
    draft.connect(edge, new)
    return record | {"reader": draft.reader_name(edge)}


def _memory(draft: Draft, space: SearchSpace, rng: np.random.Generator) -> Record | None:
    """One reader of a value v reads c' = blend(z, v, c) instead, z a new gate, c the new state."""
    edges = [e for e in draft.edges() if draft.source(e) in draft.nodes]
    if not edges:
        return None
    edge = pick(rng, edges)
    value = draft.source(edge)
    record: Record = {
        "state": len(draft.states),
        "value": f"blend(new gate, {draft.name(value)}, h_prev_{len(draft.states)})",
        "reader": draft.reader_name(edge),
    }
    gate = new_gate(draft, space, draft.states[0])
    if gate is None:
        return None
    state = draft.add_state(value)
    memory = draft.add("blend", [gate, value, state])
    draft.outputs[-1] = memory
    draft.connect(edge, memory)
    return record
