"""Swapping a whole gate for another published form, and moving a reset gate.

The forms stand in `genomes.operators.gate_forms`. Two more rows concern a reset gate r, whose
place differs between published cells: before the product, W x + U (r * h), as in Cho et al.
2014, or after it, W x + r * (U h), as in torch's and cuDNN's GRU.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genomes.draft import Draft
from genomes.genome import Node
from genomes.growth import pick
from genomes.operators import Record
from genomes.operators.gate_forms import GATE_FORMS, GateContext
from genomes.space import SearchSpace

BEFORE, AFTER = "reset_before", "reset_after"
RESET_SHARE = 0.25
"""How often a cell with a reset gate has the place of it changed rather than a gate's form."""


def swap_gate(draft: Draft, space: SearchSpace, rng: np.random.Generator) -> Record | None:
    """Another published form for one gate, wherever it is read, or a reset gate moved."""
    resets = reset_sites(draft, space)
    if resets and rng.random() < RESET_SHARE:
        return _move_reset(draft, *pick(rng, resets))
    gates = gate_sites(draft)
    if not gates:
        return None
    gate, gated = pick(rng, gates)
    others = [g for g, _ in gates if g != gate and gate not in draft.ancestors(g)]
    context = _context(draft, rng, gate, gated, others)
    forms = [f for f in GATE_FORMS if all(space.allows(op) for op in f.needs)]
    if not space.raw_x:
        forms = [f for f in forms if f.name != "raw_input"]
    if not forms:
        return None
    form = pick(rng, forms)
    record: Record = {
        "gate": draft.name(gate),
        "from": draft.text(gate),
        "to": form.name,
        "source": form.source,
    }
    readers = draft.readers(gate)
    new = form.build(draft, context)
    if new is None:
        return None
    # Only what read the gate is redirected: the new form itself may be built upon it.
    for reader in readers:
        draft.connect(reader, new)
    return record | {"new": draft.text(new)}


def gate_sites(draft: Draft) -> list[tuple[int, int]]:
    """Pairs (gate, a value it gates): what a blend blends with, and factors that are gates."""
    found: dict[int, int] = {}
    for node in draft.nodes.values():
        if node.op == "blend" and node.inputs[0] in draft.nodes:
            found.setdefault(node.inputs[0], node.inputs[1])
        elif node.op == "mul":
            for factor in node.inputs:
                rest = [v for v in node.inputs if v != factor]
                if rest and _is_gate(draft, factor, rest):
                    found.setdefault(factor, rest[0])
    return list(found.items())


def reset_sites(draft: Draft, space: SearchSpace) -> list[tuple[str, int, int]]:
    """Where a reset gate can move: (to where, the linear or the sum, the product)."""
    found = []
    for value, node in draft.nodes.items():
        for source in node.inputs:
            product = draft.nodes.get(source)
            if product is None or product.op != "mul" or len(product.inputs) != 2:
                continue
            first, second = product.inputs
            if node.op == "linear" and len(node.inputs) > 1 and space.allows("add"):
                if any(draft.is_op(v, "sigmoid") for v in product.inputs):
                    found.append((AFTER, value, source))
            elif node.op == "add" and len(node.inputs) == 2 and len(draft.readers(source)) == 1:
                rest = next((v for v in node.inputs if v != source), source)
                inner = second if draft.is_op(first, "sigmoid") else first
                if draft.is_op(rest, "linear") and draft.is_op(inner, "linear"):
                    found.append((BEFORE, value, source))
    return found


def _is_gate(draft: Draft, factor: int, rest: list[int]) -> bool:
    if draft.is_op(factor, "sigmoid") or draft.is_op(factor, "one_minus"):
        return True
    squashed = draft.is_op(factor, "tanh") or draft.is_op(factor, "softsign")
    if not squashed or any(draft.is_op(v, "sigmoid") for v in rest):
        return False
    return draft.is_op(draft.nodes[factor].inputs[0], "linear")


def _context(
    draft: Draft, rng: np.random.Generator, gate: int, gated: int, others: list[int]
) -> GateContext:
    seen = [v for v in draft.states if v in draft.ancestors(gate)]
    state = pick(rng, seen) if seen else draft.states[0]
    rest = [v for v in draft.states if v != state]
    memory = pick(rng, rest) if rest else state
    other = pick(rng, others) if others else None
    under = None
    if other is not None and draft.is_op(other, "sigmoid"):
        under = draft.nodes[other].inputs[0]
    new_memory = draft.outputs[draft.states.index(memory)]
    return GateContext(state, memory, new_memory, gated, other, under)


def _move_reset(draft: Draft, to: str, value: int, product: int) -> Record | None:
    node = draft.nodes[value]
    record: Record = {"gate": draft.name(product), "to": to}
    first, second = draft.nodes[product].inputs
    if to == AFTER:
        gate, inner = (first, second) if draft.is_op(first, "sigmoid") else (second, first)
        kept = tuple(v for v in node.inputs if v != product)
        base = draft.add("linear", kept, node.bias, node.bias_init)
        after = draft.add("mul", [gate, draft.add("linear", [inner])])
        draft.nodes[value] = Node("add", (base, after))
        return record | {"source": "torch.nn.GRU (cuDNN)"}
    gate, inner = (first, second) if draft.is_op(second, "linear") else (second, first)
    base = next(v for v in node.inputs if v != product)
    moved = [draft.add("mul", [gate, v]) for v in draft.nodes[inner].inputs]
    linear = draft.nodes[base]
    inputs = tuple(dict.fromkeys((*linear.inputs, *moved)))
    draft.nodes[value] = replace(linear, inputs=inputs)
    return record | {"source": "Cho et al. 2014"}
