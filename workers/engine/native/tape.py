"""A program as the numbers that the native engine reads: slots, and instructions over them.

A slot is the place of one value. *Static* slots hold what depends on x alone (slot 0 is x itself),
*step* slots what is computed at each time step (the first are the earlier states). A linear that
one activation alone reads is one instruction with it. ``source/tape.h`` reads what is written here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

from genomes.genome import X
from genomes.ops import OPS
from genomes.program import Program, needed_values, sole_activation

OPCODES: Mapping[str, int] = MappingProxyType(
    {"linear": 0, "scale": 1, "add": 2, "mul": 3, "sub": 4, "mean": 5, "blend": 6}
)
"""Codes of the operations that are no activation, as ``enum Op`` in ``source/tape.h`` has them."""
ACTIVATE, LOAD, MASK = 7, 8, 9
ACTIVATIONS: Mapping[str, int] = MappingProxyType(
    {
        "tanh": 1,
        "sigmoid": 2,
        "relu": 3,
        "leaky_relu": 4,
        "softsign": 5,
        "one_minus": 6,
        "identity": 7,
    }
)
"""As ``enum Activation`` in ``source/activations.h`` has them; 0 is none."""


@dataclass(frozen=True, slots=True)
class Tape:
    """What the native engine runs, independent of sizes.

    Attributes:
        code: The numbers ``Cell`` in ``source/tape.h`` takes.
        matrices: Names of the weight matrices, in the order the code numbers them.
        vectors: Names of the bias and scale vectors, likewise.
    """

    code: tuple[int, ...]
    matrices: tuple[str, ...]
    vectors: tuple[str, ...]


@lru_cache(maxsize=1024)
def tape(program: Program, masked: bool = False) -> Tape:
    """The tape of a program.

    Args:
        program: The lowered cell.
        masked: Whether linears read the earlier states times a mask (recurrent dropout).
    """
    return _Writer(program, masked).write()


@dataclass
class _Writer:
    program: Program
    masked: bool
    static_code: list[list[int]] = field(default_factory=list)
    step_code: list[list[int]] = field(default_factory=list)
    static_slot: dict[int, int] = field(default_factory=lambda: {X: 0})
    is_sum: list[int] = field(default_factory=lambda: [0])
    step_slot: dict[int, int] = field(default_factory=dict)
    masked_slot: dict[int, int] = field(default_factory=dict)
    step_slots: int = 0
    matrices: list[str] = field(default_factory=list)
    vectors: list[str] = field(default_factory=list)

    def write(self) -> Tape:
        genome = self.program.genome
        first = genome.first_node
        self.static_values = {X} | {first + i for i in self.program.static}
        needed = needed_values(genome)
        # An activation over a linear that nobody needs must not be run for it.
        self.over = {
            i: activation
            for i in (*self.program.static, *self.program.stepped)
            if genome.nodes[i].op == "linear"
            and (activation := sole_activation(genome, i)) is not None
            and first + activation in needed
        }
        fused = set(self.over.values())
        for state in range(genome.states):
            self.step_slot[state + 1] = self.new_step_slot()
        for i in self.program.static:
            if i not in fused:
                self.write_static(i)
        for i in self.program.stepped:
            if i not in fused:
                self.write_step(i)
        outputs = self.outputs()
        header = [
            genome.states,
            len(self.is_sum),
            self.step_slots,
            len(self.matrices),
            len(self.vectors),
            len(self.static_code),
            len(self.step_code),
        ]
        body = [n for line in (*self.static_code, *self.step_code) for n in line]
        return Tape(
            code=(*header, *self.is_sum, *outputs, *body),
            matrices=tuple(self.matrices),
            vectors=tuple(self.vectors),
        )

    def write_static(self, i: int) -> None:
        node = self.program.genome.nodes[i]
        if node.op == "linear":
            sources = [(self.static_slot[v], self.matrix(i, j)) for j, v in enumerate(node.inputs)]
            line = self.linear(i, self.new_static_slot(self.target(i)), sources, self.bias(i))
        else:
            sources = [(self.static_slot[v], -1) for v in node.inputs]
            line = self.other(i, self.new_static_slot(self.target(i)), sources)
        self.static_code.append(line)

    def write_step(self, i: int) -> None:
        node = self.program.genome.nodes[i]
        if node.op != "linear":
            sources = [(self.read(v), -1) for v in node.inputs]
            self.step_code.append(self.other(i, self.new_step_slot(self.target(i)), sources))
            return
        static, stepped = [], []
        for j, v in enumerate(node.inputs):
            if v in self.static_values:
                static.append((self.static_slot[v], self.matrix(i, j)))
            else:
                source = self.read_masked(v) if self.masked else self.read(v)
                stepped.append((source, self.matrix(i, j)))
        start, bias = -1, self.bias(i)
        if static:
            start = self.new_static_slot(None)
            self.static_code.append(self.code("linear", start, sources=static, vector=bias))
            bias = -1
        target = self.new_step_slot(self.target(i))
        self.step_code.append(self.linear(i, target, stepped, bias, start))

    def target(self, i: int) -> int:
        """The value an instruction computes: of a linear under an activation, that one's."""
        return self.program.genome.first_node + self.over.get(i, i)

    def linear(
        self, i: int, target: int, sources: list[tuple[int, int]], bias: int, start: int = -1
    ) -> list[int]:
        nodes = self.program.genome.nodes
        activation = ACTIVATIONS[nodes[self.over[i]].op] if i in self.over else 0
        return self.code("linear", target, activation, start, bias, sources)

    def other(self, i: int, target: int, sources: list[tuple[int, int]]) -> list[int]:
        op = self.program.genome.nodes[i].op
        if OPS[op].kind == "activation":
            return self.code(ACTIVATE, target, ACTIVATIONS[op], sources=sources)
        vector = self.vector(f"node{i}_scale") if op == "scale" else -1
        return self.code(op, target, vector=vector, sources=sources)

    def code(
        self,
        op: str | int,
        target: int,
        activation: int = 0,
        start: int = -1,
        vector: int = -1,
        sources: list[tuple[int, int]] | None = None,
    ) -> list[int]:
        number = op if isinstance(op, int) else OPCODES[op]
        given = sources or []
        matrices = [m for _, m in given] if number == OPCODES["linear"] else []
        slots = [s for s, _ in given]
        return [number, target, activation, start, vector, len(given), *slots, *matrices]

    def read(self, value: int) -> int:
        """The step slot of a value; a static one is loaded first."""
        if value not in self.step_slot:
            slot = self.new_step_slot(value)
            static = [(self.static_slot[value], -1)]
            self.step_code.append(self.code(LOAD, slot, sources=static))
        return self.step_slot[value]

    def read_masked(self, value: int) -> int:
        """The same, but an earlier state times its mask."""
        if value > self.program.genome.states:
            return self.read(value)
        if value not in self.masked_slot:
            self.masked_slot[value] = self.new_step_slot()
            self.step_code.append(
                self.code(
                    MASK,
                    self.masked_slot[value],
                    vector=value - 1,
                    sources=[(self.step_slot[value], -1)],
                )
            )
        return self.masked_slot[value]

    def outputs(self) -> list[int]:
        """A slot of its own for each new state: what is no node's own value is copied."""
        genome = self.program.genome
        taken: list[int] = []
        for value in genome.outputs:
            slot = self.read(value)
            own = value >= genome.first_node and value not in self.static_values
            if not own or slot in taken:
                copied, slot = slot, self.new_step_slot()
                identity = ACTIVATIONS["identity"]
                self.step_code.append(self.code(ACTIVATE, slot, identity, sources=[(copied, -1)]))
            taken.append(slot)
        return taken

    def new_step_slot(self, value: int | None = None) -> int:
        if value is not None:
            self.step_slot[value] = self.step_slots
        self.step_slots += 1
        return self.step_slots - 1

    def new_static_slot(self, value: int | None) -> int:
        """A slot of a value or, for None, of what a linear starts from."""
        if value is not None:
            self.static_slot[value] = len(self.is_sum)
        self.is_sum.append(int(value is None))
        return len(self.is_sum) - 1

    def matrix(self, i: int, j: int) -> int:
        self.matrices.append(f"node{i}_weight_{j}")
        return len(self.matrices) - 1

    def vector(self, name: str) -> int:
        self.vectors.append(name)
        return len(self.vectors) - 1

    def bias(self, i: int) -> int:
        return self.vector(f"node{i}_bias") if self.program.genome.nodes[i].bias else -1
