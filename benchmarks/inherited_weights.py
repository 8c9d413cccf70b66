"""Weights that a child takes over from its parent: those of the edges that both cells have.

A mutation changes a node or two; the matrices of all other edges fit the child as they are. Taking
them over was proposed by Real et al. 2017 ("Large-scale evolution of image classifiers", the
section on weight inheritance) and, so that the child computes what the parent did, by Chen et al.
2016 ("Net2Net"). No search of this project does it: `benchmarks/inheritance.py` measures whether it
pays.

Which edge of the child is which of the parent is read from the canonical forms of both, for these
are what is trained. Colour refinement (Weisfeiler and Leman 1968) runs over both at once, an
earlier state reading the value that became it: the more of its levels give two edges the same
colours, the larger the neighbourhood in which they cannot be told apart. Among equals counts how
similar the neighbourhoods are beyond it (similarity flooding, Melnik et al. 2002), then the order
of the nodes.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from genomes.canonical import canonical
from genomes.genome import Genome, Node
from genomes.ops import OPS
from workers.model import SequenceModel

FLOODINGS = 6
"""Steps of the flooding: how far away a difference may lie that decides between equals."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Edge = tuple[int, int]
"""A value with weights, a linear or scale, and which of its sources."""


@dataclass(frozen=True, slots=True)
class Shared:
    """A weight that child and parent have in common.

    Attributes:
        child: Its name in the child's canonical form, as in ``RecurrentLayer.named_weights``.
        parent: Its name in the parent's.
        sign: -1 where the two forms write one gate the two ways round, else 1.
    """

    child: str
    parent: str
    sign: int


def shared_weights(child: Genome, parent: Genome) -> tuple[Shared, ...]:
    """The weights of the child that are some weight of the parent; none of either comes twice.

    Roles and, at one hidden size, shapes are equal. A linear shares matrices with one linear only.
    Its bias is shared with them if both start at the same value; a bias that starts elsewhere is
    what the child was born for. A pure function of the two cells, not of how they are written.
    """
    mine, theirs = _Graph(canonical(child)), _Graph(canonical(parent))
    likeness = _Likeness(_agreement(mine, theirs), _flooded(mine, theirs))
    edges, owners = _matched(mine, theirs, likeness)
    signs = {a: -1 if _turned(mine, theirs, likeness, a, b) else 1 for a, b in owners.items()}
    shared = [Shared(mine.name(a), theirs.name(b), signs[a[0]]) for a, b in sorted(edges.items())]
    for a, b in sorted(owners.items()):
        if mine.biases.get(a) is not None and mine.biases[a] == theirs.biases.get(b):
            shared.append(Shared(mine.bias_name(a), theirs.bias_name(b), signs[a]))
    return tuple(shared)


@torch.no_grad()
def inherit(child: SequenceModel, parent: SequenceModel, ends: bool = False) -> tuple[Shared, ...]:
    """Copy what two cells share from a trained parent into an untrained child, in place.

    Args:
        child: Its recurrent layers get the parent's weights, layer by layer.
        parent: Is read only.
        ends: Whether front end and head are copied as well.

    Returns:
        What was copied in each layer.

    Raises:
        ValueError: If the models differ in hidden size, number of layers, front end or head.
    """
    layers = child.recurrent.recurrent_layers(), parent.recurrent.recurrent_layers()
    forms = [[(layer.input_size, layer.hidden_size) for layer in stack] for stack in layers]
    if forms[0] != forms[1]:
        raise ValueError(
            f"the child's layers have the sizes {forms[0]}, the parent's {forms[1]}: weights are "
            "inherited between models of one hidden size and number of layers."
        )
    if ends:
        for name in ("front_end", "head"):
            _copy_all(name, getattr(child, name), getattr(parent, name))
    shared = shared_weights(layers[0][0].genome, layers[1][0].genome)
    for mine, theirs in zip(*layers, strict=True):
        own, other = mine.named_weights(), theirs.named_weights()
        for weight in shared:
            own[weight.child].copy_(weight.sign * other[weight.parent])
    return shared


def _copy_all(name: str, child: torch.nn.Module, parent: torch.nn.Module) -> None:
    shapes = [{key: tuple(w.shape) for key, w in m.state_dict().items()} for m in (child, parent)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"the {name} of the child has the weights {shapes[0]}, the parent's {shapes[1]}: "
            "give both models the same task and hidden size."
        )
    child.load_state_dict(parent.state_dict())


class _Graph:
    """The values of a canonical form with what each reads and who reads it, states linked across
    time.

    Attributes:
        names: What a value is at first sight; ``details`` what it is besides.
        sources: For each value pairs (place, value read); places that may swap are equal.
        readers: For each value pairs (place, reader).
        edges: All edges with weights.
        biases: Initial value of the bias of each linear that has one.
        gates: For each linear under an activation that gates a blend, the first such blend.
    """

    def __init__(self, cell: Genome) -> None:
        self.first = cell.first_node
        self.names = ["x", *(f"h{min(k, 1)}" for k in range(cell.states))]
        self.sources: list[list[tuple[str, int]]] = [[]]
        self.sources += [[("before", output)] for output in cell.outputs]
        self.edges: list[Edge] = []
        self.biases: dict[int, float] = {}
        self.gates: dict[int, int] = {}
        for value, node in enumerate(cell.nodes, self.first):
            self.names.append(node.op)
            places = ["" if OPS[node.op].commutative else str(k) for k in range(len(node.inputs))]
            linear = _gating_linear(cell, node)
            if linear is not None:
                # The canonical form may have turned it: blend(s(L), a, b) = blend(s(-L), b, a).
                places[1:] = ["", ""]
                self.gates.setdefault(linear, value)
            self.sources.append(list(zip(places, node.inputs, strict=True)))
            if OPS[node.op].has_weights:
                self.edges += [(value, slot) for slot in range(len(node.inputs))]
            if node.bias:
                self.biases[value] = node.bias_init
        self.details: list[Hashable] = [
            (self.biases.get(value), value == cell.outputs[0]) for value in range(len(self.names))
        ]
        self.readers: list[list[tuple[str, int]]] = [[] for _ in self.names]
        for value, sources in enumerate(self.sources):
            for place, source in sources:
                self.readers[source].append((place, value))

    def refined(self, colours: Sequence[int], value: int) -> Hashable:
        """What a value and its neighbours look like."""
        sides = (self.sources[value], self.readers[value])
        seen = [tuple(sorted((place, colours[v]) for place, v in side)) for side in sides]
        return (colours[value], self.details[value], *seen)

    def links(self, place: str) -> Floats:
        """(V, V): how often a value (row) reads another (column) in this place."""
        matrix = np.zeros((len(self.names), len(self.names)))
        for value, sources in enumerate(self.sources):
            for found, source in sources:
                matrix[value, source] += found == place
        return matrix

    def source(self, edge: Edge) -> int:
        """The value that an edge reads."""
        return self.sources[edge[0]][edge[1]][1]

    def name(self, edge: Edge) -> str:
        """The weight of an edge."""
        kind = "scale" if self.names[edge[0]] == "scale" else f"weight_{edge[1]}"
        return f"node{edge[0] - self.first}_{kind}"

    def bias_name(self, value: int) -> str:
        """The bias of a linear."""
        return f"node{value - self.first}_bias"


def _gating_linear(cell: Genome, node: Node) -> int | None:
    """The linear under the activation that gates a blend, if that is what the node is.

    Only a sigmoid can have been turned; but a child whose gate became something else has to find
    the weights that a turned one of its parent has.
    """
    gate = cell.node_of(node.inputs[0]) if node.op == "blend" else None
    if gate is None or OPS[gate.op].kind != "activation":
        return None
    linear = cell.node_of(gate.inputs[0])
    return gate.inputs[0] if linear is not None and linear.op == "linear" else None


@dataclass(frozen=True, slots=True)
class _Likeness:
    """How alike the V values of a child and the W of a parent are.

    Attributes:
        levels: (V, W) on how many levels of refinement they have the same colour.
        similarity: (V, W) of what lies around them, 0 to 1.
    """

    levels: Ints
    similarity: Floats

    def of_values(self, a: int, b: int) -> tuple[int, float]:
        """Levels, and similarity: rounded, so that what is equal by symmetry is equal."""
        return int(self.levels[a, b]), round(float(self.similarity[a, b]), 9)

    def of_edges(self, a: tuple[int, int], b: tuple[int, int]) -> tuple[int, float]:
        """The same of two pairs (reader, source), both ends together; 0 levels if either has 0."""
        (levels, similarity), (more, other) = map(self.of_values, a, b)
        return (levels + more if levels and more else 0), round(similarity * other, 9)


def _agreement(mine: _Graph, theirs: _Graph) -> Ints:
    """``_Likeness.levels``: refinement of both graphs together until nothing is split further."""
    graphs = (mine, theirs)
    known: dict[Hashable, int] = {}
    colours = [[known.setdefault(name, len(known)) for name in g.names] for g in graphs]
    levels = np.zeros((len(mine.names), len(theirs.names)), dtype=np.int64)
    while True:
        levels += np.equal.outer(*map(np.array, colours))
        before, known = len(known), {}
        colours = [
            [known.setdefault(g.refined(own, v), len(known)) for v in range(len(own))]
            for g, own in zip(graphs, colours, strict=True)
        ]
        if len(known) == before:
            return levels


def _flooded(mine: _Graph, theirs: _Graph) -> Floats:
    """``_Likeness.similarity``: values of one name are as similar as those that they read and
    those that read them, in the same places, are together."""
    same: Floats = np.equal.outer(np.array(mine.names), np.array(theirs.names)).astype(np.float64)
    places = sorted({place for graph in (mine, theirs) for s in graph.sources for place, _ in s})
    links = [(mine.links(place), theirs.links(place)) for place in places]
    similarity = same.copy()
    for _ in range(FLOODINGS):
        grown = similarity.copy()
        for a, b in links:
            grown += same * (a @ similarity @ b.T + a.T @ similarity @ b)
        grown /= grown.max()
        similarity = grown
    return similarity


def _matched(
    mine: _Graph, theirs: _Graph, likeness: _Likeness
) -> tuple[dict[Edge, Edge], dict[int, int]]:
    """Edges of the child with those of the parent, and likewise the values that they belong to:
    the most alike first, as long as neither is taken."""
    candidates = []
    for a in mine.edges:
        for b in theirs.edges:
            ends = (a[0], mine.source(a)), (b[0], theirs.source(b))
            levels, similarity = likeness.of_edges(*ends)
            if levels:
                candidates.append((-levels, -similarity, a, b))
    edges: dict[Edge, Edge] = {}
    owners: dict[int, int] = {}
    for _, _, a, b in sorted(candidates):
        new = a[0] not in owners and b[0] not in owners.values()
        if (new or owners.get(a[0]) == b[0]) and a not in edges and b not in edges.values():
            edges[a], owners[a[0]] = b, b[0]
    return edges, owners


def _turned(mine: _Graph, theirs: _Graph, likeness: _Likeness, a: int, b: int) -> bool:
    """Whether two linears gate blends of the same two values, but in the other order."""
    if a not in mine.gates or b not in theirs.gates:
        return False
    (_, one), (_, other) = mine.sources[mine.gates[a]][1:]
    ends = [value for _, value in theirs.sources[theirs.gates[b]][1:]]

    def fit(order: Sequence[int]) -> tuple[int, float]:
        pairs = [likeness.of_values(v, w) for v, w in zip((one, other), order, strict=True)]
        return sum(levels for levels, _ in pairs), round(sum(s for _, s in pairs), 9)

    return fit(ends[::-1]) > fit(ends)
