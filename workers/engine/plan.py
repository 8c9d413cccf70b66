"""The order in which the engine ``torch`` runs a program: decided once per cell, sizes unknown.

A plan works on numbered registers: the values of the genome first, then partial sums of linears
that read several stepped values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from genomes.genome import X
from genomes.program import Group, Program, sole_activation


@dataclass(frozen=True, slots=True)
class Segment:
    """Neighbouring row blocks of a product that are treated alike.

    Attributes:
        activation: Applied to all of them at once; None leaves them as they are.
        targets: The register each block goes to.
    """

    activation: str | None
    targets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """Multiply a value with the matrices of all linears that read it.

    Attributes:
        group: Index into ``Program.groups``.
        source: Register of the value.
        opening: For each member, whether its static sum and bias are added here.
        segments: What becomes of the row blocks.
    """

    group: int
    source: int
    opening: tuple[bool, ...]
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Sum:
    """Add the partial products of a linear with several stepped sources."""

    target: int
    parts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Apply:
    """Compute a node that is not a linear from its sources."""

    target: int
    node: int
    op: str
    sources: tuple[int, ...]


Instruction = Product | Sum | Apply


@dataclass(frozen=True, slots=True)
class Plan:
    """What one time step does.

    Attributes:
        instructions: In order.
        registers: How many there are.
        static_reads: Static values that are read at every step other than through a linear.
    """

    instructions: tuple[Instruction, ...]
    registers: int
    static_reads: tuple[int, ...]


@lru_cache(maxsize=1024)
def plan(program: Program) -> Plan:
    """Plan one time step of a program."""
    return _Planner(program).plan()


@dataclass
class _Planner:
    program: Program
    instructions: list[Instruction] = field(default_factory=list)
    defined: set[int] = field(default_factory=set)
    opened: set[int] = field(default_factory=set)
    parts: dict[int, list[int]] = field(default_factory=dict)

    def plan(self) -> Plan:
        genome = self.program.genome
        first = genome.first_node
        self.static_values = {X} | {first + i for i in self.program.static}
        self.registers = first + len(genome.nodes)
        for state in range(1, first):
            self.define(state)
        for i in self.program.stepped:
            node = genome.nodes[i]
            if first + i in self.defined:
                continue
            if node.op != "linear":
                self.instructions.append(Apply(first + i, i, node.op, node.inputs))
            elif i in self.parts:
                self.instructions.append(Sum(first + i, tuple(self.parts[i])))
            else:
                continue  # the activation that alone reads this linear has its value already
            self.define(first + i)
        stepped_reads = {
            v
            for i in self.program.stepped
            if genome.nodes[i].op != "linear"
            for v in genome.nodes[i].inputs
        }
        reads = (stepped_reads | set(genome.outputs)) & self.static_values
        return Plan(tuple(self.instructions), self.registers, tuple(sorted(reads)))

    def define(self, value: int) -> None:
        """Note that a value exists, and make the products that read it."""
        self.defined.add(value)
        for index, group in enumerate(self.program.groups):
            if group.source == value:
                self.multiply(index, group)

    def multiply(self, index: int, group: Group) -> None:
        genome = self.program.genome
        opening = tuple(self.open(i) for i in group.members)
        segments: list[Segment] = []
        complete: list[int] = []
        for i in group.members:
            activation, target = None, self.registers
            if self.stepped_sources(i) == 1:
                over = sole_activation(genome, i)
                activation = genome.nodes[over].op if over is not None else None
                target = genome.first_node + (i if over is None else over)
                complete.append(target)
            else:
                self.parts.setdefault(i, []).append(target)
                self.registers += 1
            if segments and activation and segments[-1].activation == activation:
                segments[-1] = Segment(activation, (*segments[-1].targets, target))
            else:
                segments.append(Segment(activation, (target,)))
        self.instructions.append(Product(index, group.source, opening, tuple(segments)))
        for target in complete:
            self.define(target)

    def open(self, node: int) -> bool:
        new = node not in self.opened
        self.opened.add(node)
        return new

    def stepped_sources(self, node: int) -> int:
        inputs = self.program.genome.nodes[node].inputs
        return sum(v not in self.static_values for v in inputs)
