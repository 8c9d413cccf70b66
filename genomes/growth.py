"""How a random cell is put together: from pieces that recurrent cells are made of.

A cell drawn node by node is rarely a sensible one (most nodes end dead, linears follow
linears). So a cell grows from pieces: units (an activation of a linear), gates (a sigmoid
of a linear that blends or multiplies), combinations, single activations and scales; then
every state gets its update, the emitted one last so that it can read the others. Values
that nobody reads yet are preferred as sources, which keeps most of what grows alive.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from genomes.draft import Draft
from genomes.genome import Genome, X

if TYPE_CHECKING:
    from genomes.space import SearchSpace

T = TypeVar("T")

PIECES = {"unit": 0.40, "gate": 0.32, "combination": 0.16, "activation": 0.08, "scale": 0.04}
"""How often each piece is drawn."""
UPDATES = {"direct": 0.35, "blend": 0.40, "keep_and_add": 0.25}
"""How often a new state is a value as it is, blend(z, value, state), or f * state + value."""
AFTER_LINEAR = {"tanh": 8, "sigmoid": 4, "relu": 3, "leaky_relu": 2, "softsign": 2}
"""Weights of the activations of a unit; ``one_minus`` and ``identity`` of a linear add nothing."""
BARE_LINEAR = 0.12
"""Share of units without an activation (in NAS-Bench-NLP 22 % of the linears have none)."""
BIAS = 0.85
RAW_X = 0.04
"""Chance that an element-wise source may be x, in a space that has raw_x."""


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """One of ``items``, all equally likely."""
    return items[int(rng.integers(len(items)))]


def pick_weighted(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """One of the keys, in proportion to its weight."""
    shares = np.array(list(weights.values()), dtype=float)
    return list(weights)[int(rng.choice(len(shares), p=shares / shares.sum()))]


def activation_after_linear(space: SearchSpace, rng: np.random.Generator) -> str | None:
    """An activation of the space that does something to a linear; None if there is none."""
    weights = {a: float(w) for a, w in AFTER_LINEAR.items() if a in space.activations}
    return pick_weighted(rng, weights) if weights else None


def grow(space: SearchSpace, rng: np.random.Generator, states: int) -> Genome:
    """One draw of a cell with ``states`` states, dead ends included.

    Raises:
        InvalidGenome: If the draw came out invalid (no x, or no state, in what is emitted).
    """
    ids = list(range(1, states + 1))
    growth = _Growth(space, rng, Draft(ids, [], {}, states + 1))
    least = min(2 * states, space.max_nodes)
    most = min(8 + 8 * states, space.max_nodes)
    target = int(rng.integers(least, most + 1))
    new = {}
    for turn, k in enumerate(range(states - 1, -1, -1), start=1):
        while len(growth.draft.nodes) < target * turn / (states + 1):
            growth.piece()
        new[k] = growth.update(ids[k])
    growth.draft.outputs = [new[k] for k in range(states)]
    return growth.draft.build()


class _Growth:
    """A cell while it grows."""

    def __init__(self, space: SearchSpace, rng: np.random.Generator, draft: Draft) -> None:
        self.space, self.rng, self.draft = space, rng, draft
        self.read: set[int] = set()

    def piece(self) -> None:
        """Add one piece; a unit if the drawn one does not fit the space."""
        room = self.space.max_nodes - len(self.draft.nodes)
        match pick_weighted(self.rng, PIECES):
            case "gate" if room >= 4 and self.gating():
                self.gated()
            case "combination" if self.joining():
                self.combination(pick(self.rng, self.joining()))
            case "activation" if self.space.activations:
                self.node(pick(self.rng, self.space.activations), [self.source()])
            case "scale" if self.space.scales:
                self.node("scale", [self.source()])
            case _:
                self.unit()

    def update(self, state: int) -> int:
        """The value that becomes the given state."""
        room = self.space.max_nodes - len(self.draft.nodes)
        kind = pick_weighted(self.rng, UPDATES)
        allowed = self.gating()
        value = self.final_value()
        if kind == "blend" and "blend" in allowed and room >= 3:
            order = [value, state] if self.rng.random() < 0.5 else [state, value]
            return self.node("blend", [self.gate(), *order])
        adds = "add" in self.space.combinations
        if kind == "keep_and_add" and "mul" in allowed and adds and room >= 4:
            kept = self.node("mul", [self.gate(), state])
            return self.node("add", [kept, value])
        return value

    def final_value(self) -> int:
        """A node's value nobody reads yet (the newest two thirds of the time), or a new unit."""
        unread = [v for v in self.draft.nodes if v not in self.read]
        if not unread:
            return self.unit()
        room = self.space.max_nodes - len(self.draft.nodes)
        if len(unread) > 1 and self.plain() and room > 0 and self.rng.random() < 0.5:
            return self.node(pick(self.rng, self.plain()), unread[-2:])
        value = unread[-1] if self.rng.random() < 2 / 3 else pick(self.rng, unread)
        self.read.add(value)
        return value

    def unit(self) -> int:
        """A linear, usually with an activation."""
        linear = self.linear()
        activation = activation_after_linear(self.space, self.rng)
        if activation is None or self.rng.random() < BARE_LINEAR:
            return linear
        return self.node(activation, [linear])

    def linear(self) -> int:
        """A linear over x or not, a state, and sometimes further values."""
        most = self.space.max_linear_sources
        count = min(most, 1 + int(self.rng.binomial(2, 0.5)), len(self.draft.values()))
        chosen: list[int] = []
        if self.rng.random() < 0.7:
            chosen.append(X)
        while len(chosen) < count:
            chosen.append(self.source(avoid=chosen, linear=True))
        self.read.update(chosen)
        return self.draft.add("linear", sorted(chosen), bias=bool(self.rng.random() < BIAS))

    def gate(self) -> int:
        """A sigmoid of a linear (now and then with a peephole), or one that exists already."""
        gates = [v for v, n in self.draft.nodes.items() if n.op == "sigmoid"]
        if gates and self.rng.random() < 0.2:
            gate = pick(self.rng, gates)
            if "one_minus" in self.space.activations and self.rng.random() < 0.5:
                return self.node("one_minus", [gate])
            self.read.add(gate)
            return gate
        into = self.linear()
        peephole = self.space.scales and "add" in self.space.combinations
        if peephole and self.rng.random() < 0.1:
            scaled = self.node("scale", [pick(self.rng, self.draft.states)])
            into = self.node("add", [into, scaled])
        return self.node("sigmoid", [into])

    def gated(self) -> int:
        """A gate times a value, or a gate between two values."""
        op = pick(self.rng, self.gating())
        first = self.source()
        inputs = [first, self.source(avoid=[first])] if op == "blend" else [first]
        return self.node(op, [self.gate(), *inputs])

    def combination(self, op: str) -> int:
        """A combination of two, seldom three, values."""
        three = op == "blend" or (op != "sub" and self.rng.random() < 0.15)
        chosen: list[int] = []
        while len(chosen) < 2 + three:
            chosen.append(self.source(avoid=chosen))
        return self.node(op, chosen)

    def node(self, op: str, inputs: list[int]) -> int:
        self.read.update(inputs)
        return self.draft.add(op, inputs)

    def source(self, *, avoid: Collection[int] = (), linear: bool = False) -> int:
        """A value to read, two times out of three one that nobody reads yet."""
        pool = [v for v in self.elementwise(linear=linear) if v not in avoid]
        if not pool:
            pool = [self.unit()]
        unread = [v for v in pool if v not in self.read]
        return pick(self.rng, unread if unread and self.rng.random() < 2 / 3 else pool)

    def elementwise(self, *, linear: bool = False) -> list[int]:
        x_too = linear or (self.space.raw_x and self.rng.random() < RAW_X)
        return [v for v in self.draft.values() if v != X or x_too]

    def gating(self) -> list[str]:
        if "sigmoid" not in self.space.activations:
            return []
        return [op for op in ("blend", "mul") if op in self.space.combinations]

    def joining(self) -> list[str]:
        """What a combination can be; a blend only where there is no sigmoid to make it a gate."""
        if "sigmoid" in self.space.activations:
            return self.plain()
        return list(self.space.combinations)

    def plain(self) -> list[str]:
        return [op for op in self.space.combinations if op != "blend"]
