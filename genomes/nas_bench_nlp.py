"""Recipes of NAS-Bench-NLP and genomes, both ways (Klyuchnikov et al. 2020, arXiv 2006.07116).

A recipe is an object ``node name -> {"op": ..., "input": [names]}`` in any order. Sources are
``x`` and ``h_prev_0, h_prev_1, ...``; the nodes called exactly ``h_new_<digits>`` are the
outputs, and ``h_new_0`` is what a layer emits. Every other name is an inner node, even
``h_new_1_part1``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from genomes.cost import parameter_count
from genomes.genome import MAX_NODES, MAX_STATES, Genome, InvalidGenome, Node, X
from genomes.ops import OPS

_OP_NAMES = {
    "linear": "linear",
    "activation_tanh": "tanh",
    "activation_sigm": "sigmoid",
    "activation_leaky_relu": "leaky_relu",
    "elementwise_prod": "mul",
    "elementwise_sum": "add",
    "blend": "blend",
}
_RECIPE_NAMES = {ours: theirs for theirs, ours in _OP_NAMES.items()}
_ARITY = {"linear": (2, 3), "mul": (2, 2), "add": (2, 2)}
"""How many sources the benchmark draws, where a genome's operation allows other numbers."""
_OUTPUT = re.compile(r"h_new_([0-9]{1,9})")
_STATE = re.compile(r"h_prev_([0-9]+)")

EMBEDDING = 400
LAYERS = ((EMBEDDING, 600), (600, 600), (600, EMBEDDING))
"""Input and hidden size of the benchmark's three layers; the decoder is tied to the embedding."""


def from_recipe(recipe: Mapping[str, Any]) -> Genome:
    """Read a recipe; its nodes come out in the order written, as far as their inputs allow.

    Args:
        recipe: What the benchmark's files call ``recepie``.

    Raises:
        InvalidGenome: For unknown operations, wrong numbers of inputs, missing nodes, cycles
            and outputs that are not ``h_new_0 .. h_new_{S-1}``, naming the node.
    """
    if not isinstance(recipe, Mapping) or len(recipe) > MAX_NODES:
        raise InvalidGenome(f"a recipe is an object with at most {MAX_NODES} nodes.")
    for name, entry in recipe.items():
        _check_entry(name, entry)
    outputs = _outputs(recipe)
    values = {"x": X} | {f"h_prev_{k}": k + 1 for k in range(len(outputs))}
    for name, entry in recipe.items():
        for source in entry["input"]:
            if source not in values and source not in recipe:
                raise InvalidGenome(_missing(name, source, len(outputs)))
    order = _order(recipe)
    values |= {name: len(outputs) + 1 + i for i, name in enumerate(order)}
    nodes = []
    for name in order:
        op = _OP_NAMES[recipe[name]["op"]]
        inputs = tuple(values[source] for source in recipe[name]["input"])
        nodes.append(Node(op, inputs, bias=op == "linear"))
    return Genome(len(outputs), tuple(nodes), tuple(values[name] for name in outputs))


def to_recipe(genome: Genome) -> dict[str, dict[str, Any]]:
    """Write a genome as a recipe; ``from_recipe`` of it has the same digest.

    Raises:
        ValueError: If the cell is outside the benchmark's space, naming the node and the reason.
    """
    names: dict[int, str] = {v: genome.value_name(v) for v in range(genome.first_node)}
    for i, node in enumerate(genome.nodes):
        reason = _outside(genome, node)
        if reason:
            raise ValueError(f"node {i} ({node.op}): {reason}. NAS-Bench-NLP has no such cell.")
        names[genome.first_node + i] = f"node_{i}"
    copies: list[tuple[str, Node]] = []
    for k, value in enumerate(genome.outputs):
        output = genome.node_of(value)
        if output is None:
            raise ValueError(
                f"output h_new_{k} is {names[value]} itself, "
                "but an output of NAS-Bench-NLP is a node."
            )
        if value not in genome.outputs[:k]:
            names[value] = f"h_new_{k}"
        elif not OPS[output.op].has_weights:
            copies.append((f"h_new_{k}", output))
        else:
            raise ValueError(
                f"node {value - genome.first_node} ({output.op}) becomes {names[value]} and "
                f"h_new_{k}, but a recipe has one node for each output and a copy would have "
                "weights of its own."
            )
    written = [(names[genome.first_node + i], node) for i, node in enumerate(genome.nodes)]
    return {
        name: {"op": _RECIPE_NAMES[node.op], "input": [names[v] for v in node.inputs]}
        for name, node in written + copies
    }


def model_parameters(genome: Genome, vocabulary: int) -> int:
    """Parameters of the benchmark's whole language model: its column ``num_params``.

    Args:
        genome: Counted as written, dead nodes included.
        vocabulary: 33,278 for WikiText-2, 10,000 for Penn Treebank.
    """
    tied_embedding_and_bias = vocabulary * (EMBEDDING + 1)
    return tied_embedding_and_bias + sum(parameter_count(genome, i, h) for i, h in LAYERS)


def _check_entry(name: str, entry: Any) -> None:
    if name == "x" or _STATE.fullmatch(name):
        raise InvalidGenome(f"recipe node {name!r} has the name of an input. Rename the node.")
    if not isinstance(entry, Mapping) or set(entry) != {"op", "input"}:
        raise InvalidGenome(f"recipe node {name!r} is not an object with exactly 'op' and 'input'.")
    op, sources = entry["op"], entry["input"]
    if not isinstance(op, str) or op not in _OP_NAMES:
        raise InvalidGenome(
            f"recipe node {name!r} has the unknown op {op!r}. Known are: {', '.join(_OP_NAMES)}."
        )
    if not isinstance(sources, list | tuple) or not all(isinstance(s, str) for s in sources):
        raise InvalidGenome(f"recipe node {name!r} ({op}): 'input' is not a list of names.")
    row = OPS[_OP_NAMES[op]]
    if not row.min_inputs <= len(sources) <= row.max_inputs:
        span = sorted({row.min_inputs, row.max_inputs})
        raise InvalidGenome(
            f"recipe node {name!r} ({op}) reads {len(sources)} values, "
            f"but takes {' to '.join(map(str, span))}."
        )


def _outputs(recipe: Mapping[str, Any]) -> list[str]:
    """The output nodes' names, h_new_0 first."""
    found = {int(m[1]): name for name in recipe if (m := _OUTPUT.fullmatch(name))}
    names = [found[k] for k in sorted(found)]
    if names != [f"h_new_{k}" for k in range(len(names))] or not names:
        raise InvalidGenome(
            f"the recipe's outputs are {', '.join(names) or 'missing'}; "
            "a recipe has h_new_0, h_new_1, ... without a gap."
        )
    if len(names) > MAX_STATES:
        raise InvalidGenome(f"the recipe has {len(names)} outputs; a cell has 1 to {MAX_STATES}.")
    return names


def _missing(name: str, source: str, states: int) -> str:
    if _STATE.fullmatch(source):
        return (
            f"recipe node {name!r} reads {source}, but the recipe's last output is "
            f"h_new_{states - 1}. Add the output, or read another state."
        )
    return f"recipe node {name!r} reads {source!r}, which is neither a node nor an input."


def _order(recipe: Mapping[str, Any]) -> list[str]:
    """Node names so that every node stands after its inputs, otherwise as written."""
    inner = {n: [s for s in entry["input"] if s in recipe] for n, entry in recipe.items()}
    sorter = TopologicalSorter(inner)
    try:
        sorter.prepare()
    except CycleError as error:
        cycle = " -> ".join(reversed(error.args[1]))
        raise InvalidGenome(
            f"recipe nodes form a cycle: {cycle}. Within a step a node reads earlier nodes only; "
            "use h_prev_k for the step before."
        ) from None
    place = {name: i for i, name in enumerate(recipe)}
    ready = set(sorter.get_ready())
    order = []
    while ready:
        name = min(ready, key=place.__getitem__)
        ready.remove(name)
        order.append(name)
        sorter.done(name)
        ready |= set(sorter.get_ready())
    return order


def _outside(genome: Genome, node: Node) -> str | None:
    """Why the benchmark has no such node, or None if it has."""
    if node.op not in _RECIPE_NAMES:
        return f"the benchmark's operations are {', '.join(_OP_NAMES)}"
    low, high = _ARITY.get(node.op, (1, 3))
    if not low <= len(node.inputs) <= high:
        span = str(low) if low == high else f"{low} to {high}"
        return f"reads {len(node.inputs)} values, where the benchmark reads {span}"
    if node.op != "linear":
        if X in node.inputs:
            return "reads x directly, which the benchmark gives to linear only"
        return None
    if not node.bias:
        return "has no bias, which the benchmark's linear always has"
    if node.bias_init != 0:
        return f"its bias starts at {node.bias_init:g}, which the benchmark's never does"
    return None
