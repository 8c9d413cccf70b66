"""The engine ``torch``: any device torch has, differentiated by autograd.

Against the reference it does three things: everything that depends on x alone is computed for
all time steps in one product, the linears that read one value share one product per step, and
neighbouring linears under the same activation share that activation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genomes.genome import X
from genomes.program import Group, Program
from genomes.reference import ACTIVATIONS, COMBINATIONS
from workers.engine.interface import alive_steps, keep_finished
from workers.engine.plan import Product, Sum, plan


@dataclass(frozen=True, slots=True)
class _Weights:
    """The flat vector seen as one matrix per group, and vectors by node."""

    groups: Sequence[Tensor]
    biases: Mapping[int, Tensor]
    scales: Mapping[int, Tensor]


def run_torch(
    program: Program,
    flat: Tensor,
    x: Tensor,
    state: Tensor,
    lengths: Tensor | None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """See :class:`workers.engine.interface.Engine`."""
    steps, genome = plan(program), program.genome
    weights = _views(program, flat, x.shape[2], state.shape[2])
    static, sums = _run_static(program, weights, x)
    transposed = [matrix.t() for matrix in weights.groups]
    bases = {
        s.group: _base(program.groups[s.group], s.opening, sums)
        for s in steps.instructions
        if isinstance(s, Product)
    }
    reads = {v: static[v].unbind(0) for v in steps.static_reads}
    hidden = state.shape[2]
    states = list(state.unbind(0))
    alive = alive_steps(lengths, x.shape[0])
    masks = {} if mask is None else dict(enumerate(mask.unbind(0), 1))
    outputs: list[Tensor] = []
    registers: list[Tensor] = [state] * steps.registers
    for t in range(x.shape[0]):
        for v, slices in reads.items():
            registers[v] = slices[t]
        registers[1 : 1 + len(states)] = states
        for s in steps.instructions:
            if isinstance(s, Product):
                base = bases[s.group]
                source, matrix = registers[s.source], transposed[s.group]
                if s.source in masks:
                    source = source * masks[s.source]
                if base is None:
                    product = torch.mm(source, matrix)
                else:
                    product = torch.addmm(
                        base[t] if isinstance(base, tuple) else base, source, matrix
                    )
                _share_out(product, s, registers, hidden)
            elif isinstance(s, Sum):
                total = registers[s.parts[0]]
                for part in s.parts[1:]:
                    total = total + registers[part]
                registers[s.target] = total
            elif s.op == "blend":
                z, a, b = (registers[v] for v in s.sources)
                registers[s.target] = torch.lerp(b, a, z)
            elif s.op == "scale":
                registers[s.target] = weights.scales[s.node] * registers[s.sources[0]]
            else:
                registers[s.target] = _apply(s.op, [registers[v] for v in s.sources])
        new = [registers[v] for v in genome.outputs]
        emitted = new[0]
        if alive is not None:
            emitted = torch.where(alive[t], emitted, 0.0)
            new = keep_finished(alive[t], new, states)
        states = new
        outputs.append(emitted)
    return torch.stack(outputs), torch.stack(states)


def _share_out(product: Tensor, s: Product, registers: list[Tensor], hidden: int) -> None:
    if len(s.segments) == 1:
        pieces: Sequence[Tensor] = (product,)
    else:
        pieces = torch.split(product, [hidden * len(segment.targets) for segment in s.segments], 1)
    for segment, piece in zip(s.segments, pieces, strict=True):
        if segment.activation is not None:
            piece = ACTIVATIONS[segment.activation](piece)
        if len(segment.targets) == 1:
            registers[segment.targets[0]] = piece
        else:
            for target, part in zip(segment.targets, torch.split(piece, hidden, 1), strict=True):
                registers[target] = part


def _apply(op: str, sources: list[Tensor]) -> Tensor:
    if op in ACTIVATIONS:
        return ACTIVATIONS[op](sources[0])
    return COMBINATIONS[op](sources)


def _views(program: Program, flat: Tensor, input_size: int, hidden: int) -> _Weights:
    columns = [input_size if g.source == X else hidden for g in program.groups]
    rows = [hidden * len(g.members) for g in program.groups]
    sizes = [r * c for r, c in zip(rows, columns, strict=True)]
    vectors = [hidden] * (len(program.biased) + len(program.scales))
    parts = torch.split(flat, [*sizes, *vectors])
    matrices = [part.view(r, c) for part, r, c in zip(parts, rows, columns, strict=False)]
    rest = parts[len(sizes) :]
    biases = dict(zip(program.biased, rest, strict=False))
    scales = dict(zip(program.scales, rest[len(program.biased) :], strict=True))
    return _Weights(matrices, biases, scales)


def _run_static(
    program: Program, weights: _Weights, x: Tensor
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Everything that depends on x alone, for all steps.

    Returns:
        The static values, (T, B, width), by value number; and for each linear that is not
        itself static the sum of its bias (hidden,) and its static products (T, B, hidden).
    """
    genome = program.genome
    values: dict[int, Tensor] = {X: x}
    sums: dict[int, Tensor] = dict(weights.biases)
    groups = {g.source: k for k, g in enumerate(program.groups) if g.static}

    def multiply(source: int) -> None:
        if source not in groups:
            return
        group = program.groups[groups[source]]
        product = values[source] @ weights.groups[groups[source]].t()
        hidden = product.shape[2] // len(group.members)
        for i, part in zip(group.members, torch.split(product, hidden, 2), strict=True):
            sums[i] = part + sums[i] if i in sums else part

    multiply(X)
    for i in program.static:
        node, value = genome.nodes[i], genome.first_node + i
        if node.op == "linear":
            values[value] = sums.pop(i)
        elif node.op == "scale":
            values[value] = weights.scales[i] * values[node.inputs[0]]
        else:
            values[value] = _apply(node.op, [values[v] for v in node.inputs])
        multiply(value)
    return values, sums


def _base(
    group: Group, opening: tuple[bool, ...], sums: Mapping[int, Tensor]
) -> tuple[Tensor, ...] | Tensor | None:
    """What the product of a group starts from: per step (B, rows), or (rows,), or nothing."""
    parts = [sums.get(i) if o else None for i, o in zip(group.members, opening, strict=True)]
    known = [p for p in parts if p is not None]
    if not known:
        return None
    widest = max(known, key=lambda p: p.dim())
    zeros = torch.zeros_like(widest)
    whole = torch.cat([zeros if p is None else p.expand_as(widest) for p in parts], -1)
    return whole if widest.dim() == 1 else whole.unbind(0)
