"""The reference: a cell run one operation, one node and one time step at a time.

Slow and readable on purpose. Every other engine is checked against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from genomes.genome import Genome
from genomes.ops import LEAKY_RELU_SLOPE
from genomes.program import needed_values

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "leaky_relu": lambda a: F.leaky_relu(a, LEAKY_RELU_SLOPE),
    "softsign": F.softsign,
    "one_minus": lambda a: 1 - a,
    "identity": lambda a: a,
}


def _product(values: list[Tensor]) -> Tensor:
    result = values[0]
    for value in values[1:]:
        result = result * value
    return result


def _sum(values: list[Tensor]) -> Tensor:
    result = values[0]
    for value in values[1:]:
        result = result + value
    return result


COMBINATIONS: Mapping[str, Callable[[list[Tensor]], Tensor]] = {
    "add": _sum,
    "mul": _product,
    "sub": lambda v: v[0] - v[1],
    "mean": lambda v: _sum(v) / len(v),
    "blend": lambda v: v[0] * v[1] + (1 - v[0]) * v[2],
}


def step(
    genome: Genome,
    weights: Mapping[str, Tensor],
    x: Tensor,
    states: list[Tensor],
    masks: list[Tensor] | None = None,
) -> list[Tensor]:
    """One time step.

    Args:
        genome: The cell as written.
        weights: ``node{i}_weight_{j}``, ``node{i}_bias`` and ``node{i}_scale`` by name.
        x: Input, (B, input).
        states: Earlier states, S tensors (B, hidden).
        masks: Recurrent dropout: S tensors (B, hidden) by which the earlier states are multiplied
            where a linear reads them (Gal, Ghahramani 2016, section 4); None for none.

    Returns:
        The new states, S tensors (B, hidden).
    """
    needed = needed_values(genome)
    values = [x, *states]
    for i, node in enumerate(genome.nodes):
        if len(values) not in needed:
            values.append(x)  # holds the place of a value that nobody reads
            continue
        sources = [values[v] for v in node.inputs]
        if node.op == "linear":
            read = [_masked(v, a, masks) for v, a in zip(node.inputs, sources, strict=True)]
            terms = [F.linear(a, weights[f"node{i}_weight_{j}"]) for j, a in enumerate(read)]
            result = _sum(terms)
            if node.bias:
                result = result + weights[f"node{i}_bias"]
        elif node.op == "scale":
            result = weights[f"node{i}_scale"] * sources[0]
        elif node.op in ACTIVATIONS:
            result = ACTIVATIONS[node.op](sources[0])
        else:
            result = COMBINATIONS[node.op](sources)
        values.append(result)
    return [values[v] for v in genome.outputs]


def _masked(number: int, value: Tensor, masks: list[Tensor] | None) -> Tensor:
    is_state = masks is not None and 1 <= number <= len(masks)
    return value * masks[number - 1] if masks is not None and is_state else value
