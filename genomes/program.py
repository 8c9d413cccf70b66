"""A genome lowered to a program: the flat tape that every engine runs.

Lowering decides once what all engines share: the order of the instructions, which values do
not depend on the states and can be computed for all time steps at once, which matrix products
belong together, and where each weight stands in one flat vector.

*Static* values depend on x alone. All others are *stepped*: computed once per time step.
All linears that read one value form a *group*: their matrices stand one below the other in the
flat vector, so a group is one product (rows: linears x hidden), made as soon as the value exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from genomes.genome import Genome, Node, X, ancestors
from genomes.ops import OPS

Role = Literal["input", "recurrent", "bias", "scale"]


@dataclass(frozen=True, slots=True)
class Group:
    """The linears that read one value, as one product.

    Attributes:
        source: The value they read.
        members: Node indices, in the order of their row blocks. A linear that reads the same
            value twice appears twice.
        slots: For each member, which of its sources this is.
        static: Whether the value is the same function of x at every step.
    """

    source: int
    members: tuple[int, ...]
    slots: tuple[int, ...]
    static: bool


@dataclass(frozen=True, slots=True)
class Weight:
    """One named weight and its place in the flat vector, in units fixed by ``layout``.

    Attributes:
        name: ``node{i}_weight_{j}`` (source j of node i), ``node{i}_bias`` or ``node{i}_scale``.
        role: Decides its initialisation.
        node: The node it belongs to.
        offset: Index of its first number.
        shape: (hidden, columns) or (hidden,).
        bias_init: Initial value of a bias.
    """

    name: str
    role: Role
    node: int
    offset: int
    shape: tuple[int, ...]
    bias_init: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """What an engine needs to run a cell; independent of sizes.

    Programs are compared by identity, so that looking one up costs nothing: ``lower`` gives the
    same one for equal genomes as long as it remembers them.

    Attributes:
        genome: The genome it was lowered from; value numbers are the genome's.
        static: Node indices to compute for all time steps at once, in order.
        stepped: Node indices to compute at each time step, in order.
        groups: All linear groups, by source value.
        biased: Linears with a bias, in the order of their bias vectors.
        scales: Scale nodes, in the order of their vectors.
        needs_equal_sizes: Whether x enters an element-wise node.
    """

    genome: Genome
    static: tuple[int, ...]
    stepped: tuple[int, ...]
    groups: tuple[Group, ...]
    biased: tuple[int, ...]
    scales: tuple[int, ...]
    needs_equal_sizes: bool


@lru_cache(maxsize=1024)
def lower(genome: Genome) -> Program:
    """Lower a genome to its program."""
    first = genome.first_node
    static_values = {X}
    static, stepped = [], []
    needed = needed_values(genome)
    for i, node in enumerate(genome.nodes):
        if first + i not in needed:
            continue
        if all(v in static_values for v in node.inputs):
            static_values.add(first + i)
            static.append(i)
        else:
            stepped.append(i)
    readers: dict[int, list[tuple[int, int]]] = {}
    for i, node in enumerate(genome.nodes):
        if node.op == "linear":
            for slot, value in enumerate(node.inputs):
                readers.setdefault(value, []).append((i, slot))
    return Program(
        genome=genome,
        static=tuple(static),
        stepped=tuple(stepped),
        groups=tuple(
            _group(genome, value, readers[value], value in static_values)
            for value in sorted(readers)
        ),
        biased=tuple(i for i, n in enumerate(genome.nodes) if n.op == "linear" and n.bias),
        scales=tuple(i for i, n in enumerate(genome.nodes) if n.op == "scale"),
        needs_equal_sizes=_uses_raw_x(genome, needed),
    )


@lru_cache(maxsize=1024)
def needed_values(genome: Genome) -> frozenset[int]:
    """The values some new state depends on within a step; others keep weights but never run."""
    return frozenset(ancestors(genome, genome.outputs))


def sole_activation(genome: Genome, node: int) -> int | None:
    """The activation that alone reads a linear, if that is how it is used: one instruction then."""
    value = genome.first_node + node
    readers = [i for i, n in enumerate(genome.nodes) if value in n.inputs]
    if value in genome.outputs or len(readers) != 1:
        return None
    return readers[0] if OPS[genome.nodes[readers[0]].op].kind == "activation" else None


def _uses_raw_x(genome: Genome, needed: frozenset[int]) -> bool:
    return X in genome.outputs or any(
        X in node.inputs and node.op != "linear"
        for i, node in enumerate(genome.nodes)
        if genome.first_node + i in needed
    )


def _group(genome: Genome, source: int, readers: Sequence[tuple[int, int]], static: bool) -> Group:
    # Linears that feed the same activation stand together, so that an engine can apply it
    # to neighbouring rows at once. Python's sort is stable: equal keys keep the node order.
    ordered = sorted(readers, key=lambda reader: _activation_over(genome, reader[0]))
    return Group(source, tuple(i for i, _ in ordered), tuple(s for _, s in ordered), static)


def _activation_over(genome: Genome, node: int) -> str:
    value = genome.first_node + node
    over: list[Node] = [n for n in genome.nodes if value in n.inputs]
    if len(over) == 1 and OPS[over[0].op].kind == "activation":
        return over[0].op
    return ""


def layout(program: Program, input_size: int, hidden_size: int) -> tuple[Weight, ...]:
    """Every weight with its place in the flat vector: groups, then biases, then scales.

    The weights of one group, and all biases, are adjacent, so an engine can view a group as one
    matrix (members x hidden, columns) without copying.
    """
    weights: list[Weight] = []
    offset = 0

    def place(name: str, role: Role, node: int, shape: tuple[int, ...], init: float = 0.0) -> None:
        nonlocal offset
        weights.append(Weight(name, role, node, offset, shape, init))
        offset += shape[0] * (shape[1] if len(shape) == 2 else 1)

    for group in program.groups:
        role: Role = "input" if group.source == X else "recurrent"
        columns = input_size if group.source == X else hidden_size
        for i, slot in zip(group.members, group.slots, strict=True):
            place(f"node{i}_weight_{slot}", role, i, (hidden_size, columns))
    for i in program.biased:
        init = program.genome.nodes[i].bias_init
        place(f"node{i}_bias", "bias", i, (hidden_size,), init)
    for i in program.scales:
        place(f"node{i}_scale", "scale", i, (hidden_size,))
    return tuple(weights)
