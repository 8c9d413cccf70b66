"""`SearchSpace`: which valid genomes a search may visit, and `random_genome` to draw from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches

import numpy as np

from genomes.genome import MAX_NODES, MAX_STATES, Genome, InvalidGenome, pruned, reads_raw_x
from genomes.growth import grow
from genomes.ops import ACTIVATIONS, COMBINATIONS, OPS

DRAWS = 200
"""How often `random_genome` draws before it says that the space is too narrow."""


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """Limits of a search; every one is narrower than the rules of `genomes.genome.validate`.

    Attributes:
        max_states: Most state vectors, 1 to 3.
        max_nodes: Most nodes of a genome as written.
        max_linear_sources: Most sources of one ``linear``, 1 to 4.
        activations: Activations that may be drawn. ``identity`` is admitted in any case
            (the canonical form drops it) but drawn only if it is named here.
        combinations: Operations joining several values that may be drawn.
        scales: Whether the learned vector ``scale`` may be drawn (peepholes, SRU).
        raw_x: Whether anything but a ``linear`` may read x; a layer of such a cell needs
            input and hidden size to agree.

    Raises:
        ValueError: If a limit is out of range or a name is no operation of its kind.
    """

    max_states: int = MAX_STATES
    max_nodes: int = 64
    max_linear_sources: int = OPS["linear"].max_inputs
    activations: tuple[str, ...] = tuple(a for a in ACTIVATIONS if a != "identity")
    combinations: tuple[str, ...] = COMBINATIONS
    scales: bool = True
    raw_x: bool = True

    def __post_init__(self) -> None:
        _check_range("max_states", self.max_states, 1, MAX_STATES)
        _check_range("max_nodes", self.max_nodes, 1, MAX_NODES)
        most = OPS["linear"].max_inputs
        _check_range("max_linear_sources", self.max_linear_sources, 1, most)
        _check_names("activations", self.activations, ACTIVATIONS)
        _check_names("combinations", self.combinations, COMBINATIONS)
        for name in ("scales", "raw_x"):
            if type(getattr(self, name)) is not bool:
                raise ValueError(
                    f"search space: {name} is {getattr(self, name)!r}; give true or false."
                )

    def allows(self, op: str) -> bool:
        """Whether a genome of this space may hold the operation."""
        if op == "scale":
            return self.scales
        return op in ("linear", "identity") or op in self.activations or op in self.combinations

    def refusal(self, genome: Genome) -> str | None:
        """Why ``genome`` is outside this space, or None if it is inside."""
        if genome.states > self.max_states:
            return f"it has {genome.states} states, and max_states is {self.max_states}."
        if len(genome.nodes) > self.max_nodes:
            return f"it has {len(genome.nodes)} nodes, and max_nodes is {self.max_nodes}."
        for i, node in enumerate(genome.nodes):
            if not self.allows(node.op):
                return f"node {i} is a {node.op}, which this space does not allow."
            if node.op == "linear" and len(node.inputs) > self.max_linear_sources:
                return (
                    f"node {i} (linear) reads {len(node.inputs)} values, and max_linear_sources "
                    f"is {self.max_linear_sources}."
                )
        if not self.raw_x and reads_raw_x(genome):
            return "something but a linear reads x, and raw_x is false."
        return None

    def widened(self, genome: Genome) -> SearchSpace:
        """The smallest space round this one that admits ``genome``, itself if it does already.

        A published cell outside the space may so be a parent: its children keep what it has.
        """
        ops = {node.op for node in genome.nodes}
        sources = [len(node.inputs) for node in genome.nodes if node.op == "linear"]
        return replace(
            self,
            max_states=max(self.max_states, genome.states),
            max_nodes=max(self.max_nodes, len(genome.nodes)),
            max_linear_sources=max([self.max_linear_sources, *sources]),
            activations=_union(self.activations, ops & set(ACTIVATIONS) - {"identity"}),
            combinations=_union(self.combinations, ops & set(COMBINATIONS)),
            scales=self.scales or "scale" in ops,
            raw_x=self.raw_x or reads_raw_x(genome),
        )

    def to_dict(self) -> dict[str, object]:
        """JSON-plain; `from_dict` reads it back."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @staticmethod
    def from_dict(values: Mapping[str, object]) -> SearchSpace:
        """A space from (some of) its attributes; the others keep their defaults.

        Raises:
            ValueError: If a key or a value does not fit; the message says which.
        """
        known = [f.name for f in fields(SearchSpace)]
        for key in values:
            if key not in known:
                close = get_close_matches(str(key), known, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(known)}."
                raise ValueError(f"search space has no key {key!r}.{hint}")
        plain = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return SearchSpace(**plain)  # type: ignore[arg-type]  # __post_init__ checks the types


def random_genome(
    space: SearchSpace, rng: np.random.Generator, *, states: int | None = None
) -> Genome:
    """Draw a cell of ``space``; see `genomes.growth` for how it is put together.

    Args:
        states: Number of state vectors, all of them alive; drawn from 1..max_states if None.

    Raises:
        ValueError: If no draw gave a valid cell: the space is too narrow.
    """
    if states is not None and not 1 <= states <= space.max_states:
        raise ValueError(
            f"states is {states!r}, but this space has cells of 1 to {space.max_states} states."
        )
    wanted = states or int(rng.integers(1, space.max_states + 1))
    reason = ""
    for _ in range(DRAWS):
        try:
            genome = pruned(grow(space, rng, wanted))
        except InvalidGenome as error:
            reason = str(error)
            continue
        refusal = space.refusal(genome)
        if refusal is None and genome.states == wanted and has_matrix(genome):
            return genome
        reason = refusal or f"only {genome.states} of {wanted} states were alive, or no linear."
    raise ValueError(
        f"no valid cell in {DRAWS} draws from {space.to_dict()}; the last one failed because "
        f"{reason} Widen the space (max_nodes, activations, combinations)."
    )


def has_matrix(genome: Genome) -> bool:
    """Whether the cell has a linear: without one it mixes no components and has little to learn."""
    return any(node.op == "linear" for node in genome.nodes)


def _check_range(name: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"search space: {name} is {value!r}, but must be {low} to {high}.")


def _check_names(name: str, values: object, known: tuple[str, ...]) -> None:
    if not isinstance(values, tuple):
        raise ValueError(f"search space: {name} is {values!r}; give a tuple of names.")
    for value in values:
        if value not in known:
            raise ValueError(
                f"search space: {name} has {value!r}, which is unknown. "
                f"Known are: {', '.join(known)}."
            )
    if len(set(values)) < len(values):
        raise ValueError(f"search space: {name} names an operation twice: {', '.join(values)}.")


def _union(names: tuple[str, ...], more: set[str]) -> tuple[str, ...]:
    return names + tuple(sorted(more - set(names)))
