"""Edits of activations and biases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genomes.draft import Draft
from genomes.growth import pick
from genomes.operators import Record
from genomes.space import SearchSpace

BIASES: tuple[float | None, ...] = (None, -1.0, 0.0, 1.0)
"""No bias, or the start of every component; 1 is the forget-gate bias of Jozefowicz et al. 2015."""


def change_activation(draft: Draft, space: SearchSpace, rng: np.random.Generator) -> Record | None:
    """Another activation in the place of one."""
    sites = [v for v in draft.nodes if draft.kind(v) == "activation"]
    if not sites:
        return None
    value = pick(rng, sites)
    old = draft.nodes[value].op
    choices = [a for a in space.activations if a != old]
    if not choices:
        return None
    new = pick(rng, choices)
    draft.nodes[value] = replace(draft.nodes[value], op=new)
    return {"node": value - draft.original.start, "from": old, "to": new}


def insert_activation(draft: Draft, space: SearchSpace, rng: np.random.Generator) -> Record | None:
    """An activation between a value and one of its readers."""
    if not space.activations:
        return None
    reader = pick(rng, draft.edges())
    source = draft.source(reader)
    op = pick(rng, space.activations)
    if source in draft.nodes and draft.nodes[source].op == op:
        return None
    record: Record = {
        "reader": draft.reader_name(reader),
        "source": draft.name(source),
        "activation": op,
    }
    draft.connect(reader, draft.add(op, [source]))
    return record


def change_bias(draft: Draft, space: SearchSpace, rng: np.random.Generator) -> Record | None:
    """Another start of a linear's bias, or none, or one again."""
    sites = [v for v in draft.nodes if draft.kind(v) == "linear"]
    if not sites:
        return None
    value = pick(rng, sites)
    node = draft.nodes[value]
    old = node.bias_init if node.bias else None
    new = pick(rng, [b for b in BIASES if b != old])
    draft.nodes[value] = replace(node, bias=new is not None, bias_init=new or 0.0)
    return {"node": value - draft.original.start, "from": old, "to": new}
