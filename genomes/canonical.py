"""The canonical form of a genome and its digest.

Two steps. *Reduction* rewrites the cell without changing what it computes: dead nodes and
states go, identities go, weight-free common subexpressions become one node, and a blend
whose gate may change its sign (see ``_free_gates``) forgets the order of its two values.
*Labelling* then numbers what is left so that the numbering depends on structure alone:
colour refinement (Weisfeiler and Leman 1968) splits the nodes by what they read and who
reads them; ties are broken by individualising one node and refining again, and the
smallest resulting genome is taken (McKay and Piperno 2014, without their pruning by
generators: a branch is skipped once one of its leaves repeats a known one, which for
interchangeable nodes leaves a quadratic number of leaves).
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import Any

from genomes.genome import Genome, Node, pruned
from genomes.genome_json import to_json
from genomes.ops import OPS


@lru_cache(maxsize=4096)
def canonical(genome: Genome) -> Genome:
    """The canonical form: equal for cells that differ only in names, order or dead weight."""
    reduced = _reduce(genome)
    free = _free_gates(reduced)
    others = range(1, reduced.states)
    candidates = (_label(_Graph(reduced, free, (0, *order))) for order in permutations(others))
    return min(candidates, key=_sort_key)


@lru_cache(maxsize=4096)
def digest(genome: Genome) -> str:
    """32 hex digits of the SHA-256 of the canonical form's JSON."""
    return hashlib.sha256(to_json(canonical(genome)).encode()).hexdigest()[:32]


def _sort_key(genome: Genome) -> tuple[Any, ...]:
    nodes = tuple((n.op, n.inputs, n.bias, n.bias_init) for n in genome.nodes)
    return (genome.states, nodes, genome.outputs)


def _reduce(genome: Genome) -> Genome:
    genome = pruned(genome)
    nodes: list[Node] = []
    first = genome.first_node
    known: dict[tuple[Any, ...], int] = {}
    new_value = {v: v for v in range(first)}
    for i, node in enumerate(genome.nodes):
        inputs = tuple(new_value[v] for v in node.inputs)
        op = OPS[node.op]
        if op.commutative:
            inputs = tuple(sorted(inputs))
        if node.op == "identity":
            new_value[first + i] = inputs[0]
            continue
        key = (node.op, inputs)
        if not op.has_weights and key in known:
            new_value[first + i] = known[key]
            continue
        new_value[first + i] = known[key] = first + len(nodes)
        # + 0.0 turns a bias_init of -0.0 into 0.0, which is the same start.
        nodes.append(Node(node.op, inputs, node.bias, node.bias_init + 0.0))
    outputs = tuple(new_value[v] for v in genome.outputs)
    return pruned(Genome(genome.states, tuple(nodes), outputs))


def _free_gates(genome: Genome) -> set[int]:
    """Indices of blends whose two values may swap places.

    blend(s(L), a, b) = blend(s(-L), b, a), and -L is the same linear with negated weights.
    So the order of a and b is free if s(L) is read by this blend's gate alone, L by s alone,
    and L starts symmetrically (bias_init 0).
    """
    reads = Counter(v for node in genome.nodes for v in node.inputs) + Counter(genome.outputs)
    free = set()
    for i, node in enumerate(genome.nodes):
        if node.op != "blend":
            continue
        gate = genome.node_of(node.inputs[0])
        if gate is None or gate.op != "sigmoid" or reads[node.inputs[0]] != 1:
            continue
        linear = genome.node_of(gate.inputs[0])
        if linear is None or linear.op != "linear" or reads[gate.inputs[0]] != 1:
            continue
        if linear.bias_init == 0:
            free.add(i)
    return free


Colour = dict[int, int]


@dataclass(frozen=True)
class _Graph:
    """A reduced genome with its states in a given order, ready for labelling."""

    genome: Genome
    free: set[int]
    state_order: tuple[int, ...]

    def sources(self) -> list[list[tuple[int, int]]]:
        """For each node its (value, place) pairs; places that may swap share a number."""
        result = []
        for i, node in enumerate(self.genome.nodes):
            pairs = []
            for place, value in enumerate(node.inputs):
                if OPS[node.op].commutative:
                    place = 0
                elif i in self.free and place > 0:
                    place = 1
                pairs.append((value, place))
            result.append(pairs)
        return result

    def start(self) -> Colour:
        """Colours of the values before refinement: kind, depth, and which state they become."""
        genome = self.genome
        first = genome.first_node
        becomes = defaultdict(list)
        for new, old in enumerate(self.state_order):
            becomes[genome.outputs[old]].append(new)
        depth = dict.fromkeys(range(first), 0)
        keys: dict[int, tuple[Any, ...]] = {0: (0, "x", False, 0.0, tuple(becomes[0]))}
        for new, old in enumerate(self.state_order):
            keys[old + 1] = (0, f"h{new}", False, 0.0, tuple(becomes[old + 1]))
        for i, node in enumerate(genome.nodes):
            depth[first + i] = 1 + max(depth[v] for v in node.inputs)
            outs = tuple(becomes[first + i])
            keys[first + i] = (depth[first + i], node.op, node.bias, node.bias_init, outs)
        return _ranked(keys)


def _ranked(keys: dict[int, tuple[Any, ...]]) -> Colour:
    order = {key: rank for rank, key in enumerate(sorted(set(keys.values())))}
    return {value: order[key] for value, key in keys.items()}


def _refine(sources: list[list[tuple[int, int]]], first: int, colour: Colour) -> Colour:
    while True:
        readers: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for i, pairs in enumerate(sources):
            for value, place in pairs:
                readers[value].append((colour[first + i], place))
        keys: dict[int, tuple[Any, ...]] = {}
        for value, old in colour.items():
            reads = sources[value - first] if value >= first else []
            below = tuple(sorted((place, colour[v]) for v, place in reads))
            keys[value] = (old, below, tuple(sorted(readers[value])))
        finer = _ranked(keys)
        if len(set(finer.values())) == len(set(colour.values())):
            return finer
        colour = finer


def _label(graph: _Graph) -> Genome:
    sources = graph.sources()
    first = graph.genome.first_node

    def tied(colour: Colour) -> list[int]:
        cells = defaultdict(list)
        for value, rank in colour.items():
            cells[rank].append(value)
        return next((cells[rank] for rank in sorted(cells) if len(cells[rank]) > 1), [])

    def single_out(colour: Colour, value: int) -> Colour:
        split = {v: (2 * rank + (v != value),) for v, rank in colour.items()}
        return _refine(sources, first, _ranked(split))

    def first_leaf(colour: Colour) -> Genome:
        while cell := tied(colour):
            colour = single_out(colour, cell[0])
        return _numbered(graph, colour)

    def leaves(colour: Colour) -> set[Genome]:
        cell = tied(colour)
        if not cell:
            return {_numbered(graph, colour)}
        found: set[Genome] = set()
        for value in cell:
            branch = single_out(colour, value)
            if first_leaf(branch) not in found:
                found |= leaves(branch)
        return found

    return min(leaves(_refine(sources, first, graph.start())), key=_sort_key)


def _numbered(graph: _Graph, colour: Colour) -> Genome:
    """The genome with its nodes in the order of their colours (depth comes first in them)."""
    genome, first = graph.genome, graph.genome.first_node
    new_value = {0: 0} | {old + 1: new + 1 for new, old in enumerate(graph.state_order)}
    order = sorted(range(len(genome.nodes)), key=lambda i: colour[first + i])
    new_value |= {first + i: first + place for place, i in enumerate(order)}
    nodes = []
    for i in order:
        node = genome.nodes[i]
        inputs = tuple(new_value[v] for v in node.inputs)
        if OPS[node.op].commutative:
            inputs = tuple(sorted(inputs))
        elif i in graph.free:
            inputs = (inputs[0], *sorted(inputs[1:]))
        nodes.append(Node(node.op, inputs, node.bias, node.bias_init))
    outputs = tuple(new_value[genome.outputs[old]] for old in graph.state_order)
    return Genome(genome.states, tuple(nodes), outputs)
