"""`Node` and `Genome`: the frozen description of a recurrent cell, and what makes it valid.

A genome numbers its values: value 0 is x (the input x_t), values 1..S are the earlier
states h_prev_0..h_prev_{S-1}, value S+1+i is the output of node i. A node reads only
values with smaller numbers, so a genome cannot hold a cycle.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from genomes.ops import OPS, Op
from genomes.readable import OneLine

MAX_STATES = 3
MAX_NODES = 128
"""Hard limit of the format. A search has its own, smaller one: ``SearchSpace.max_nodes``."""
X = 0
"""The value number of the input x_t."""


class InvalidGenome(OneLine, ValueError):
    """A genome breaks a rule of the search space; the message says which, where and what to do."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of a cell.

    Attributes:
        op: Name of a row of ``genomes.ops.OPS``.
        inputs: Numbers of the values it reads, in the order the formula names them.
        bias: Whether a ``linear`` adds a learned bias vector; False for every other operation.
        bias_init: Initial value of every component of that bias.
    """

    op: str
    inputs: tuple[int, ...]
    bias: bool = False
    bias_init: float = 0.0


@dataclass(frozen=True, slots=True)
class Genome:
    """A recurrent cell as data whose values are numbered x, states, nodes.

    Attributes:
        states: Number of state vectors S, 1 to 3.
        nodes: The nodes; node i is value ``states + 1 + i`` and reads smaller values only.
        outputs: ``outputs[k]`` is the value that becomes state k; state 0 is what a layer emits.

    Raises:
        InvalidGenome: On construction, if the cell breaks a rule of the search space.
    """

    states: int
    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]

    def __post_init__(self) -> None:
        validate(self)

    @property
    def first_node(self) -> int:
        """The value number of node 0."""
        return self.states + 1

    @property
    def digest(self) -> str:
        """Hex digest of the canonical form: equal digests mean the same cell."""
        from genomes.canonical import digest

        return digest(self)

    def node_of(self, value: int) -> Node | None:
        """The node that computes ``value``, or None for x and the earlier states."""
        return self.nodes[value - self.first_node] if value >= self.first_node else None

    def value_name(self, value: int) -> str:
        """How messages call a value: ``x``, ``h_prev_1`` or ``node 4``."""
        if value == X:
            return "x"
        if value <= self.states:
            return f"h_prev_{value - 1}"
        return f"node {value - self.first_node}"

    def to_json(self) -> str:
        """The genome as versioned JSON text; ``Genome.from_json`` reads it back."""
        from genomes.genome_json import to_json

        return to_json(self)

    @staticmethod
    def from_json(text: str) -> Genome:
        """Read a genome written by ``to_json``.

        Raises:
            InvalidGenome: If the text is no such genome; hostile input included.
        """
        from genomes.genome_json import from_json

        return from_json(text)


def validate(genome: Genome) -> None:
    """Check every rule of the search space.

    Raises:
        InvalidGenome: Naming the node and value at fault and what to do about it.
    """
    states, nodes, outputs = genome.states, genome.nodes, genome.outputs
    if type(states) is not int or not 1 <= states <= MAX_STATES:
        raise InvalidGenome(f"states is {states!r}, but a cell has 1 to {MAX_STATES} states.")
    if len(nodes) > MAX_NODES:
        raise InvalidGenome(
            f"the genome has {len(nodes)} nodes, but the limit is {MAX_NODES}. Use fewer nodes."
        )
    for index, node in enumerate(nodes):
        _check_node(genome, index, node)
    last = states + len(nodes)
    if len(outputs) != states:
        raise InvalidGenome(
            f"outputs names {len(outputs)} values, but the cell has {states} states. "
            "Give one output for each state."
        )
    for k, value in enumerate(outputs):
        if type(value) is not int or not 0 <= value <= last:
            raise InvalidGenome(
                f"output h_new_{k} reads value {value!r}, but only values 0 to {last} exist."
            )
    used = live_values(genome)
    if X not in used:
        raise InvalidGenome(
            "the emitted state h_new_0 never depends on x. Let a node on its path read x (value 0)."
        )
    if not any(1 <= v <= states for v in used):
        raise InvalidGenome(
            "the emitted state h_new_0 never depends on an earlier state, so the cell is not "
            "recurrent. Let a node on its path read h_prev_0 (value 1)."
        )


def _check_node(genome: Genome, index: int, node: Node) -> None:
    op = OPS.get(node.op)
    if op is None:
        raise InvalidGenome(
            f"node {index} has the unknown operation {node.op!r}. Known are: {', '.join(OPS)}."
        )
    problem = _problem(op, node, genome.states + index)
    if problem is not None:
        raise InvalidGenome(f"node {index} ({node.op}): {problem}")


def _problem(op: Op, node: Node, last: int) -> str | None:
    """What is wrong with a node that may read values up to ``last``."""
    if not op.min_inputs <= len(node.inputs) <= op.max_inputs:
        most = "" if op.min_inputs == op.max_inputs else f" to {op.max_inputs}"
        return f"reads {len(node.inputs)} values, but takes {op.min_inputs}{most}."
    for value in node.inputs:
        if type(value) is not int or not 0 <= value <= last:
            return (
                f"reads value {value!r}, but only values 0 to {last} exist at that point. "
                "Reorder the nodes, or read h_{t-1} (value 1)."
            )
    if node.bias and op.kind != "linear":
        return "has a bias, but only a linear takes one."
    if not math.isfinite(node.bias_init):
        return f"bias_init is {node.bias_init!r}; it must be finite."
    if node.bias_init != 0 and not node.bias:
        return "has a bias_init but no bias. Set bias, or bias_init to 0."
    return None


def ancestors(genome: Genome, values: Iterable[int]) -> set[int]:
    """The given values and every value they depend on within one time step."""
    first, nodes = genome.states + 1, genome.nodes
    seen: set[int] = set()
    todo = list(values)
    while todo:
        value = todo.pop()
        if value not in seen:
            seen.add(value)
            if value >= first:
                todo.extend(nodes[value - first].inputs)
    return seen


def live_values(genome: Genome) -> set[int]:
    """Every value the emitted state depends on, through any number of time steps."""
    first, nodes, outputs = genome.states + 1, genome.nodes, genome.outputs
    live: set[int] = set()
    todo = [outputs[0]]
    while todo:
        value = todo.pop()
        if value not in live:
            live.add(value)
            if value >= first:
                todo.extend(nodes[value - first].inputs)
            elif value != X:
                todo.append(outputs[value - 1])  # what the state was a step before
    return live


def reads_raw_x(genome: Genome) -> bool:
    """Whether anything but a ``linear`` reads x, so that input and hidden size must agree."""
    live = live_values(genome)
    if any(genome.outputs[v - 1] == X for v in live if 1 <= v <= genome.states):
        return True
    if genome.outputs[0] == X:
        return True
    return any(
        X in node.inputs
        for i, node in enumerate(genome.nodes)
        if node.op != "linear" and genome.first_node + i in live
    )


def pruned(genome: Genome) -> Genome:
    """The genome without dead nodes and dead states, otherwise as written."""
    live = live_values(genome)
    first = genome.first_node
    if all(value in live for value in range(1, first + len(genome.nodes))):
        return genome
    kept_states = [k for k in range(genome.states) if k == 0 or k + 1 in live]
    renumber = {X: X}
    for new, old in enumerate(kept_states):
        renumber[old + 1] = new + 1
    nodes: list[Node] = []
    for value, node in enumerate(genome.nodes, first):
        if value in live:
            renumber[value] = len(kept_states) + 1 + len(nodes)
            inputs = tuple(renumber[v] for v in node.inputs)
            nodes.append(Node(node.op, inputs, node.bias, node.bias_init))
    outputs = tuple(renumber[genome.outputs[k]] for k in kept_states)
    return Genome(len(kept_states), tuple(nodes), outputs)
