"""What a learned predictor sees of a cell: its canonical graph as numbers.

Two kinds. *Labels* count what the neighbourhood of each value looks like, by colour refinement
(Weisfeiler and Leman 1968) as a graph kernel (Shervashidze et al. 2011); predicting architectures
by it follows Ru et al. 2021 ("Interpretable neural architecture search via Bayesian optimisation
with Weisfeiler-Lehman kernels"). An earlier state reads the value that became it one step before,
so the graph is that of the recurrence, not of one step. *Numbers* are what a person would count:
states, matrices, gates, and how little lies between a state and its next value.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from genomes.canonical import canonical
from genomes.genome import Genome, Node, X
from genomes.ops import ACTIVATIONS, COMBINATIONS, OPS

Vector = npt.NDArray[np.float64]

BUCKETS = 1024
"""Labels of one block are hashed into so many counters (Weinberger et al. 2009)."""
LEVELS = 2
"""How many steps away from a value, to what it reads and to what reads it, its label sees."""
BLOCKS = 1 + LEVELS
FAR = 9
"""A distance in nodes that counts as "nowhere near"."""


@lru_cache(maxsize=16384)
def labels(genome: Genome) -> Vector:
    """Counts of neighbourhoods in the canonical form.

    Returns:
        (BLOCKS * BUCKETS,) square roots of shares, scaled so that the dot product of two vectors
        is 1 for cells that refinement cannot tell apart, and 0 for cells that share no label.
    """
    graph = _Recurrence(canonical(genome))
    blocks = [graph.start()]
    for _ in range(LEVELS):
        blocks.append(graph.refined(blocks[-1]))
    vector = np.zeros((BLOCKS, BUCKETS))
    for block, found in zip(vector, blocks, strict=True):
        for label, count in Counter(found).items():
            block[label % BUCKETS] += count
    vector = np.sqrt(vector / vector.sum(axis=1, keepdims=True) / BLOCKS)
    flat: Vector = vector.ravel()
    flat.setflags(write=False)
    return flat


def similarity(a: Genome, b: Genome) -> float:
    """Between 0 and 1: the dot product of the `labels` of two cells."""
    return float(labels(a) @ labels(b))


class _Recurrence:
    """Values of a genome with what each reads and who reads it, states linked across time."""

    def __init__(self, genome: Genome) -> None:
        first = genome.first_node
        self.names = ["x", *(f"h{min(k, 1)}" for k in range(genome.states))]
        self.sources: list[list[tuple[str, int]]] = [[]]
        self.sources += [[("before", output)] for output in genome.outputs]
        for node in genome.nodes:
            self.names.append(f"{node.op} {node.bias_init:g}")
            ordered = not OPS[node.op].commutative
            self.sources.append(
                [(str(place) if ordered else "", v) for place, v in enumerate(node.inputs)]
            )
        self.names[genome.outputs[0]] += " emitted"
        self.readers: list[list[tuple[str, int]]] = [[] for _ in range(first + len(genome.nodes))]
        for value, sources in enumerate(self.sources):
            for place, source in sources:
                self.readers[source].append((place, value))

    def start(self) -> list[int]:
        return [_hash(name) for name in self.names]

    def refined(self, colours: list[int]) -> list[int]:
        def seen(links: Iterable[tuple[str, int]]) -> str:
            return ",".join(sorted(f"{place}:{colours[v]}" for place, v in links))

        return [
            _hash(f"{colour}({seen(self.sources[v])})<{seen(self.readers[v])}>")
            for v, colour in enumerate(colours)
        ]


def _hash(text: str) -> int:
    """The same in every process, unlike Python's own."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


@lru_cache(maxsize=16384)
def numbers(genome: Genome) -> Vector:
    """Counts and distances of the canonical form, each finite and of the order of 1 to 10."""
    cell = canonical(genome)
    counts = Counter(node.op for node in cell.nodes)
    linears = [node for node in cell.nodes if node.op == "linear"]
    states = range(1, cell.states + 1)
    reads_x = [X in node.inputs for node in linears]
    reads_state = [any(v in states for v in node.inputs) for node in linears]
    both = sum(a and b for a, b in zip(reads_x, reads_state, strict=True))
    emitted = cell.node_of(cell.outputs[0])
    found: list[float] = [
        cell.states,
        len(cell.nodes),
        len(linears),
        sum(len(node.inputs) for node in linears),
        *(counts[name] for name in (*ACTIVATIONS, *COMBINATIONS, "scale")),
        sum(_is_gate(cell, node) for node in cell.nodes),
        both,
        sum(reads_x) - both,
        sum(reads_state) - both,
        *(emitted is not None and emitted.op == name for name in (*ACTIVATIONS, *COMBINATIONS)),
        emitted is not None and emitted.op == "linear",
        sum(v < cell.first_node for v in cell.outputs),
    ]
    for matters in (_is_linear, _is_activation, _is_either, lambda node: True):
        away = [_distances(cell, (state,), matters) for state in states]
        found += [
            min(away[k][cell.outputs[k]] for k in range(cell.states)),  # a state to itself
            away[0][cell.outputs[0]],
            min(distances[cell.outputs[0]] for distances in away),
            _distances(cell, (X,), matters)[cell.outputs[0]],
        ]
    vector = np.array(found, dtype=np.float64)
    vector.setflags(write=False)
    return vector


def _distances(cell: Genome, start: tuple[int, ...], matters: Callable[[Node], bool]) -> list[int]:
    """For each value, the fewest nodes that matter on a way from ``start`` within one step."""
    away = [0 if value in start else FAR for value in range(cell.first_node)]
    for node in cell.nodes:
        away.append(min(FAR, min(away[v] for v in node.inputs) + matters(node)))
    return away


def _is_linear(node: Node) -> bool:
    return node.op == "linear"


def _is_activation(node: Node) -> bool:
    return node.op in ACTIVATIONS


def _is_either(node: Node) -> bool:
    return _is_linear(node) or _is_activation(node)


def _is_gate(cell: Genome, node: Node) -> bool:
    """Whether a product or blend takes a sigmoid."""
    read = [cell.node_of(v) for v in node.inputs]
    gates = any(source is not None and source.op == "sigmoid" for source in read)
    return gates and node.op in ("mul", "blend")
