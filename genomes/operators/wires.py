"""Edits of who reads what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genomes.draft import Draft
from genomes.growth import pick
from genomes.operators import Record
from genomes.space import SearchSpace


def rewire(draft: Draft, space: SearchSpace, rng: np.random.Generator) -> Record | None:
    """Another source for one input of a node or of a new state."""
    reader = pick(rng, draft.edges())
    source = draft.source(reader)
    taken = {source} if reader[0] == "output" else set(draft.nodes[reader[1]].inputs)
    choices = [v for v in draft.readable_by(reader) if v not in taken]
    if not choices:
        return None
    new = pick(rng, choices)
    record: Record = {
        "reader": draft.reader_name(reader),
        "input": reader[2],
        "from": draft.name(source),
        "to": draft.name(new),
    }
    draft.connect(reader, new)
    return record


def add_source(draft: Draft, space: SearchSpace, rng: np.random.Generator) -> Record | None:
    """One more source (one more matrix) for a linear."""
    sites = [
        v
        for v, node in draft.nodes.items()
        if node.op == "linear" and len(node.inputs) < space.max_linear_sources
    ]
    if not sites:
        return None
    value = pick(rng, sites)
    node = draft.nodes[value]
    choices = [v for v in draft.readable_by(("node", value, 0)) if v not in node.inputs]
    if not choices:
        return None
    new = pick(rng, choices)
    draft.nodes[value] = replace(node, inputs=(*node.inputs, new))
    return {"node": value - draft.original.start, "source": draft.name(new)}


def remove_source(draft: Draft, space: SearchSpace, rng: np.random.Generator) -> Record | None:
    """One source (one matrix) of a linear less."""
    sites = [v for v, n in draft.nodes.items() if n.op == "linear" and len(n.inputs) > 1]
    if not sites:
        return None
    value = pick(rng, sites)
    node = draft.nodes[value]
    at = int(rng.integers(len(node.inputs)))
    draft.nodes[value] = replace(node, inputs=node.inputs[:at] + node.inputs[at + 1 :])
    return {"node": value - draft.original.start, "source": draft.name(node.inputs[at])}
