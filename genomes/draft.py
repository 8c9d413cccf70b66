"""`Draft`: a genome taken apart so that it can be edited, and put together again.

A genome's values are numbered in order, so inserting one node would renumber all later
ones. A draft gives every value an id that stays; `build` orders and numbers the nodes
again, keeping their order wherever the edit allows it, so that diffs stay small.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from genomes.genome import Genome, InvalidGenome, Node, X
from genomes.ops import OPS

Reader = tuple[str, int, int]
"""Who reads a value: ("node", id, position), or ("output", k, 0) for h_new_k."""


@dataclass
class Draft:
    """An editable cell; not validated until `build`.

    Attributes:
        states: Ids of h_prev_0, h_prev_1, ...; a fresh draft numbers values like its genome.
        outputs: Ids of h_new_0, h_new_1, ...
        nodes: Node by id, in the order in which they are to be written; ``Node.inputs`` are ids.
    """

    states: list[int]
    outputs: list[int]
    nodes: dict[int, Node]
    next_id: int
    original: range = range(0)
    """Ids of the nodes that the genome had; records name them by their number there."""

    @staticmethod
    def of(genome: Genome) -> Draft:
        """A draft whose ids are the value numbers of ``genome``."""
        first = genome.first_node
        return Draft(
            states=list(range(1, first)),
            outputs=list(genome.outputs),
            nodes={first + i: node for i, node in enumerate(genome.nodes)},
            next_id=first + len(genome.nodes),
            original=range(first, first + len(genome.nodes)),
        )

    def add(
        self, op: str, inputs: Iterable[int], bias: bool | None = None, bias_init: float = 0.0
    ) -> int:
        """Append a node (a linear gets a bias unless told otherwise) and return its id."""
        bias = (op == "linear") if bias is None else bias
        self.nodes[self.next_id] = Node(op, tuple(inputs), bias, bias_init)
        self.next_id += 1
        return self.next_id - 1

    def add_state(self, output: int) -> int:
        """Append a state whose new value is ``output`` and return the id of its old value."""
        self.states.append(self.next_id)
        self.outputs.append(output)
        self.next_id += 1
        return self.next_id - 1

    def values(self) -> list[int]:
        """All ids: x, the states, the nodes."""
        return [X, *self.states, *self.nodes]

    def name(self, value: int) -> str:
        """How a record calls a value: ``x``, ``h_prev_1``, ``node 4`` (as the genome counts), or,
        for a value the edit added, ``new`` and what it is."""
        if value in self.original:
            return f"node {value - self.original.start}"
        if value in self.nodes:
            return f"new {self.text(value, 2)}"
        return "x" if value == X else f"h_prev_{self.states.index(value)}"

    def reader_name(self, reader: Reader) -> str:
        """How a record calls a reader: ``node 4`` or ``h_new_1``."""
        return f"h_new_{reader[1]}" if reader[0] == "output" else self.name(reader[1])

    def text(self, value: int, depth: int = 3) -> str:
        """A value as an expression, spelled out to the given depth."""
        if value not in self.nodes:
            return self.name(value)
        node = self.nodes[value]
        if depth == 0:
            return self.name(value) if value in self.original else node.op
        return f"{node.op}({', '.join(self.text(v, depth - 1) for v in node.inputs)})"

    def is_op(self, value: int, op: str) -> bool:
        """Whether the value is a node of that operation."""
        return value in self.nodes and self.nodes[value].op == op

    def kind(self, value: int) -> str:
        """``x``, ``state``, or the kind of the node's operation."""
        if value in self.nodes:
            return OPS[self.nodes[value].op].kind
        return "x" if value == X else "state"

    def readers(self, value: int) -> list[Reader]:
        """Everything that reads ``value``, nodes first."""
        found: list[Reader] = [
            ("node", i, at)
            for i, node in self.nodes.items()
            for at, source in enumerate(node.inputs)
            if source == value
        ]
        found += [("output", k, 0) for k, out in enumerate(self.outputs) if out == value]
        return found

    def edges(self) -> list[Reader]:
        """Every place at which a value is read."""
        found: list[Reader] = [
            ("node", i, at) for i, node in self.nodes.items() for at in range(len(node.inputs))
        ]
        return found + [("output", k, 0) for k in range(len(self.outputs))]

    def source(self, reader: Reader) -> int:
        """The value that ``reader`` reads."""
        what, i, at = reader
        return self.outputs[i] if what == "output" else self.nodes[i].inputs[at]

    def connect(self, reader: Reader, value: int) -> None:
        """Let ``reader`` read ``value``. A linear that would read a value twice reads it once."""
        what, i, at = reader
        if what == "output":
            self.outputs[i] = value
            return
        node = self.nodes[i]
        inputs = [*node.inputs[:at], value, *node.inputs[at + 1 :]]
        self.nodes[i] = replace(node, inputs=_sources(node.op, inputs))

    def redirect(self, old: int, new: int) -> None:
        """Let everything that reads ``old`` read ``new`` instead."""
        self.outputs = [new if v == old else v for v in self.outputs]
        for i, node in self.nodes.items():
            if old in node.inputs:
                inputs = [new if v == old else v for v in node.inputs]
                self.nodes[i] = replace(node, inputs=_sources(node.op, inputs))

    def ancestors(self, value: int) -> set[int]:
        """``value`` and all it depends on within one time step."""
        seen: set[int] = set()
        todo = [value]
        while todo:
            v = todo.pop()
            if v not in seen:
                seen.add(v)
                if v in self.nodes:
                    todo.extend(self.nodes[v].inputs)
        return seen

    def readable_by(self, reader: Reader) -> list[int]:
        """Values that ``reader`` can read without closing a cycle, x and states included."""
        what, i, _ = reader
        if what == "output":
            return self.values()
        later = {i}
        while True:
            more = {n for n, node in self.nodes.items() if later.intersection(node.inputs)} - later
            if not more:
                return [v for v in self.values() if v not in later]
            later |= more

    def build(self) -> Genome:
        """Order, number and validate.

        Raises:
            InvalidGenome: If the edit broke a rule of the search space, a cycle included.
        """
        number = {X: X} | {v: k + 1 for k, v in enumerate(self.states)}
        first = len(self.states) + 1
        ordered: list[Node] = []
        pending: set[int] = set()

        def place(value: int) -> None:
            if value in number:
                return
            if value in pending:
                raise InvalidGenome("the edit closed a cycle within one time step.")
            if value not in self.nodes:
                raise InvalidGenome(f"the edit left a reader of the removed value {value}.")
            pending.add(value)
            node = self.nodes[value]
            for source in node.inputs:
                place(source)
            number[value] = first + len(ordered)
            inputs = tuple(number[s] for s in node.inputs)
            ordered.append(Node(node.op, inputs, node.bias, node.bias_init))

        for value in self.nodes:
            place(value)
        for value in self.outputs:
            place(value)
        return Genome(len(self.states), tuple(ordered), tuple(number[v] for v in self.outputs))


def _sources(op: str, inputs: list[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(inputs)) if op == "linear" else tuple(inputs)
