"""The table of operations a cell is made of.

One row per operation. Every engine (and the cost model, the equation printer and
the mutations) reads this table; an operation that is not a row here does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Kind = Literal["linear", "scale", "combine", "activation"]

LEAKY_RELU_SLOPE = 0.01
"""Negative slope of ``leaky_relu`` (NAS-Bench-NLP uses the same value)."""


@dataclass(frozen=True, slots=True)
class Op:
    """One operation on vectors of the hidden size.

    Attributes:
        name: The name used in genomes, equations and the record.
        kind: ``linear`` and ``scale`` own weights; ``combine`` joins several
            values element by element; ``activation`` maps one value.
        min_inputs: Smallest number of sources.
        max_inputs: Largest number of sources.
        commutative: Whether the order of the sources is without meaning.
        formula: The output in terms of the sources a, b, c, ...
        derivative: Derivative with respect to each source in turn, separated by
            semicolons; y is the output.
        cost: Element-wise operations per output component for the fewest sources; each
            further source adds one (products of matrices are counted by ``genomes.cost``).
    """

    name: str
    kind: Kind
    min_inputs: int
    max_inputs: int
    commutative: bool
    formula: str
    derivative: str
    cost: int

    @property
    def has_weights(self) -> bool:
        """Whether two nodes of this operation can differ by their weights."""
        return self.kind in ("linear", "scale")


_ROWS = (
    Op("linear", "linear", 1, 4, True, "sum of W_i a_i, plus b", "W_i^T", 0),
    Op("scale", "scale", 1, 1, False, "p * a", "p", 1),
    Op("add", "combine", 2, 8, True, "a + b + ...", "1; 1; ...", 1),
    Op("mul", "combine", 2, 8, True, "a * b * ...", "y / a; y / b; ...", 1),
    Op("sub", "combine", 2, 2, False, "a - b", "1; -1", 1),
    Op("mean", "combine", 2, 8, True, "(a + b + ...) / n", "1 / n; 1 / n; ...", 2),
    Op("blend", "combine", 3, 3, False, "a * b + (1 - a) * c", "b - c; a; 1 - a", 3),
    Op("tanh", "activation", 1, 1, False, "tanh(a)", "1 - y * y", 8),
    Op("sigmoid", "activation", 1, 1, False, "1 / (1 + exp(-a))", "y * (1 - y)", 8),
    Op("relu", "activation", 1, 1, False, "max(a, 0)", "1 if a > 0 else 0", 1),
    Op(
        "leaky_relu",
        "activation",
        1,
        1,
        False,
        "a if a > 0 else 0.01 * a",
        "1 if a > 0 else 0.01",
        2,
    ),
    Op("softsign", "activation", 1, 1, False, "a / (1 + |a|)", "(1 - |y|)^2", 3),
    Op("one_minus", "activation", 1, 1, False, "1 - a", "-1", 1),
    Op("identity", "activation", 1, 1, False, "a", "1", 0),
)

OPS: Mapping[str, Op] = MappingProxyType({row.name: row for row in _ROWS})
ACTIVATIONS: tuple[str, ...] = tuple(r.name for r in _ROWS if r.kind == "activation")
COMBINATIONS: tuple[str, ...] = tuple(r.name for r in _ROWS if r.kind == "combine")
