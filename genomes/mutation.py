"""Mutations: one function per operator, one table, and `mutate`, which draws from it.

Each operator returns a child and a JSON-plain record of what it did. The record names values
by their place in the parent as written (``x``, ``h_prev_1``, ``node 4``); the child is pruned
and keeps the order of the parent's nodes wherever the edit allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import TypeAlias

import numpy as np

from genomes.draft import Draft
from genomes.genome import Genome, InvalidGenome, pruned
from genomes.growth import pick_weighted
from genomes.operators import Edit, Record
from genomes.operators.activations import change_activation, change_bias, insert_activation
from genomes.operators.gates import swap_gate
from genomes.operators.nodes import change_op, insert_node, remove_node, replace_by_ancestor
from genomes.operators.states import add_state, remove_state
from genomes.operators.wires import add_source, remove_source, rewire
from genomes.space import SearchSpace, has_matrix

Operator: TypeAlias = Callable[
    [Genome, SearchSpace, np.random.Generator], tuple[Genome, Record] | None
]

IDENTITY = "identity"
IDENTITY_RATE = 0.05
EDITS = 12
"""How many edits one operator draws before it says that it is not applicable."""
WEIGHTS = {"replace_by_ancestor": 0.5}
"""Weights other than 1 where the caller names no operators. Replacing a node by an ancestor drops
all between them (45 of 59 nodes of ``enas`` at worst); at half the rate the operators together
neither shrink nor grow a cell much."""
DRAWS = 24
"""How many operators `mutate` draws before it gives the parent back unchanged."""


def identity(genome: Genome, space: SearchSpace, rng: np.random.Generator) -> tuple[Genome, Record]:
    """The parent's cell again: it is trained once more, which corrects lucky scores."""
    return genome, {"operator": IDENTITY}


def _operator(edit: Edit) -> Operator:
    """An operator that draws edits until one gives a valid child inside the space.

    The space is widened to what the parent has already, so that a published cell outside the
    space can be a parent; the edits themselves draw from the space as it is.
    """

    def operator(
        genome: Genome, space: SearchSpace, rng: np.random.Generator
    ) -> tuple[Genome, Record] | None:
        limits = space.widened(genome)
        for _ in range(EDITS):
            draft = Draft.of(genome)
            details = edit(draft, space, rng)
            if details is None:
                continue
            try:
                child = pruned(draft.build())
            except InvalidGenome:
                # Which edits are valid is known only by trying them; the next one is drawn.
                continue
            worse = _pointless(child) > _pointless(genome)
            if limits.refusal(child) is None and has_matrix(child) and not worse:
                return child, {"operator": edit.__name__, **details}
        return None

    operator.__name__, operator.__doc__ = edit.__name__, edit.__doc__
    return operator


_EDITS: tuple[Edit, ...] = (
    change_activation,
    change_op,
    change_bias,
    rewire,
    insert_activation,
    insert_node,
    remove_node,
    replace_by_ancestor,
    add_source,
    remove_source,
    add_state,
    remove_state,
    swap_gate,
)

OPERATORS: Mapping[str, Operator] = {
    **{edit.__name__: _operator(edit) for edit in _EDITS},
    IDENTITY: identity,
}
"""Name -> function(genome, space, rng) giving (child, record), or None: not applicable here."""


def mutate(
    genome: Genome,
    space: SearchSpace,
    rng: np.random.Generator,
    *,
    operators: Sequence[str] | Mapping[str, float] | None = None,
    identity_rate: float = IDENTITY_RATE,
) -> tuple[Genome, Record]:
    """One child of ``genome`` by one operator.

    A child with the parent's digest is drawn again, a bounded number of times. Were all of
    them so, the parent comes back and the record has ``"unchanged": True`` and ``"why"``.

    Args:
        rng: All randomness comes from here.
        operators: Names to draw from, or name -> weight; all but identity, weighted as
            ``WEIGHTS`` says, if None.
        identity_rate: Chance of the identity before anything else is drawn.

    Raises:
        ValueError: If an operator is unknown, the weights are no weights, or the rate is
            not between 0 and 1.
    """
    weights = _weights(operators)
    if not 0 <= identity_rate <= 1:
        raise ValueError(f"identity_rate is {identity_rate!r}, but is a chance: give 0 to 1.")
    if rng.random() < identity_rate:
        return identity(genome, space, rng)
    tried: dict[str, str] = {}
    for _ in range(DRAWS):
        name = pick_weighted(rng, weights)
        drawn = OPERATORS[name](genome, space, rng)
        if drawn is None:
            tried[name] = "found nothing to do"
            continue
        child, record = drawn
        if name == IDENTITY or child.digest != genome.digest:
            return child, record
        tried[name] = "only gave the same cell again"
    why = "; ".join(f"{name} {what}" for name, what in sorted(tried.items()))
    last = next(reversed(tried))
    return genome, {"operator": last, "unchanged": True, "why": f"in {DRAWS} draws {why}."}


def _weights(operators: Sequence[str] | Mapping[str, float] | None) -> dict[str, float]:
    if operators is None:
        return {name: WEIGHTS.get(name, 1.0) for name in OPERATORS if name != IDENTITY}
    if isinstance(operators, str):
        operators = [operators]
    weights = dict(operators) if isinstance(operators, Mapping) else dict.fromkeys(operators, 1.0)
    for name, weight in weights.items():
        if name not in OPERATORS:
            close = get_close_matches(name, OPERATORS, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(OPERATORS)}."
            raise ValueError(f"unknown mutation {name!r}. {hint}")
        if not 0 <= weight < float("inf"):
            raise ValueError(f"the weight of mutation {name!r} is {weight!r}; give 0 or more.")
    if sum(weights.values()) <= 0:
        raise ValueError("no mutation has a weight above 0. Name at least one operator.")
    return weights


def _pointless(genome: Genome) -> int:
    """How many nodes read one value where that makes them pointless, such as ``sub(a, a)``."""
    count = 0
    for node in genome.nodes:
        if node.op in ("sub", "mean", "linear"):
            count += len(set(node.inputs)) < len(node.inputs)
        elif node.op == "blend":
            count += node.inputs[1] == node.inputs[2]
    return count
