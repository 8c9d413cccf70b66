"""A cell as a stand-alone PyTorch file: `python_source`.

The file imports torch and nothing of ours. Its parameters carry the names of the weights of
`genomes.program` (``node{i}_weight_{j}``, ``node{i}_bias``, ``node{i}_scale``), so a trained
cell's weights load into it by name.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterator

from genomes.equations import equations
from genomes.genome import Genome, Node, X, reads_raw_x
from genomes.ops import LEAKY_RELU_SLOPE
from genomes.program import needed_values

_CALLS = {
    "tanh": "torch.tanh({})",
    "sigmoid": "torch.sigmoid({})",
    "relu": "torch.relu({})",
    "leaky_relu": f"functional.leaky_relu({{}}, {LEAKY_RELU_SLOPE})",
    "softsign": "functional.softsign({})",
    "one_minus": "1 - {}",
    "identity": "{}",
    "add": " + ",
    "mul": " * ",
    "sub": " - ",
}

_FILE = '''\
"""{title}

{note}h', c', d' are the new values of the states h, c, d; linear(a, b) = W a + U b + bias, with
weights of its own at each place; scale(a) = p * a with a learned vector p;
blend(z, a, b) = z * a + (1 - z) * b. The equations:

{equations}
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
{functional}

class {name}(nn.Module):
    """A recurrent layer of this cell.

    The states h, c, d (as many as there are) stand one after another in ``state``; state 0 is
    what the layer emits.

    Args:
        input_size: Width of x.
        hidden_size: Width of every state and of the output.
    """

    states = {states}

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
{equal_sizes}        self.input_size = input_size
        self.hidden_size = hidden_size
{declarations}        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Matrices of x: Glorot uniform. Other matrices: orthogonal. Biases: a constant.
        Learned vectors: uniform within 1 / sqrt(hidden_size)."""
{initialisation}
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """One time step: x (B, input), state (S, B, hidden) -> the new state (S, B, hidden)."""
{step}
    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (T, B, input), state (S, B, hidden) or None for zeros -> y (T, B, hidden), state."""
        if state is None:
            state = x.new_zeros(self.states, x.shape[1], self.hidden_size)
        emitted = []
        for x_t in x:
            state = self.step(x_t, state)
            emitted.append(state[0])
        if not emitted:
            return x.new_zeros(0, x.shape[1], self.hidden_size), state
        return torch.stack(emitted), state
'''


def python_source(genome: Genome, class_name: str = "Cell", *, note: str = "") -> str:
    """The text of a Python file with one ``nn.Module`` that runs the genome as written.

    It runs (T, B, input) -> (T, B, hidden) with a state (S, B, hidden). Nodes keep their
    numbers. Dead nodes are not computed but keep their weights, so that names match the
    layer's; give ``canonical(genome)`` for the cell that is trained.

    Args:
        class_name: Name of the class.
        note: Text for the top of the file, such as where the cell was found.

    Raises:
        ValueError: If ``class_name`` is no name that a Python class can have.
    """
    taken = keyword.iskeyword(class_name) or class_name in ("torch", "Tensor", "nn", "functional")
    if not class_name.isidentifier() or taken:
        raise ValueError(f"class_name is {class_name!r}; give a Python name, such as 'Cell'.")
    functional = any(node.op in ("leaky_relu", "softsign", "linear") for node in genome.nodes)
    return _FILE.format(
        title=f"A recurrent cell of {_count(genome.states, 'state')} in PyTorch, on its own.",
        note=f"{_in_docstring(note.strip())}\n\n" if note.strip() else "",
        equations="\n".join(f"    {line}" for line in equations(genome)),
        functional="from torch.nn import functional\n" if functional else "",
        name=class_name,
        states=genome.states,
        equal_sizes=_EQUAL_SIZES if reads_raw_x(genome) else "",
        declarations=_indented(_declarations(genome)),
        initialisation=_indented(_initialisation(genome)),
        step=_indented(_step(genome)),
    )


_EQUAL_SIZES = """\
        if input_size != hidden_size:
            raise ValueError(
                f"this cell uses x element by element, so input_size ({input_size}) "
                f"must be hidden_size ({hidden_size}). Project x to the hidden size first."
            )
"""


def _declarations(genome: Genome) -> Iterator[str]:
    for i, node in enumerate(genome.nodes):
        if node.op == "linear":
            for j, source in enumerate(node.inputs):
                width = "input_size" if source == X else "hidden_size"
                empty = f"torch.empty(hidden_size, {width})"
                yield f"self.node{i}_weight_{j} = nn.Parameter({empty})"
            if node.bias:
                yield f"self.node{i}_bias = nn.Parameter(torch.empty(hidden_size))"
        elif node.op == "scale":
            yield f"self.node{i}_scale = nn.Parameter(torch.empty(hidden_size))"


def _initialisation(genome: Genome) -> Iterator[str]:
    if any(node.op == "scale" for node in genome.nodes):
        yield "bound = self.hidden_size**-0.5"
    weighted = False
    for i, node in enumerate(genome.nodes):
        if node.op == "linear":
            weighted = True
            for j, source in enumerate(node.inputs):
                rule = "xavier_uniform_" if source == X else "orthogonal_"
                yield f"nn.init.{rule}(self.node{i}_weight_{j})"
            if node.bias:
                yield f"nn.init.constant_(self.node{i}_bias, {node.bias_init!r})"
        elif node.op == "scale":
            weighted = True
            yield f"nn.init.uniform_(self.node{i}_scale, -bound, bound)"
    if not weighted:
        yield "# This cell has no weights."


def _step(genome: Genome) -> Iterator[str]:
    names = ["x", *(f"h_prev_{k}" for k in range(genome.states))]
    names += [f"node{i}" for i in range(len(genome.nodes))]
    states = names[1 : genome.first_node]
    yield f"({states[0]},) = state" if len(states) == 1 else f"{', '.join(states)} = state"
    live = needed_values(genome)
    for i, node in enumerate(genome.nodes):
        if genome.first_node + i in live:
            yield from _lines(i, node, [names[v] for v in node.inputs])
    yield f"return torch.stack([{', '.join(names[v] for v in genome.outputs)}])"


def _lines(i: int, node: Node, sources: list[str]) -> Iterator[str]:
    if node.op != "linear":
        yield f"node{i} = {_expression(i, node, sources)}"
        return
    terms = [f"functional.linear({s}, self.node{i}_weight_{j})" for j, s in enumerate(sources)]
    if node.bias:
        terms.append(f"self.node{i}_bias")
    if len(terms) == 1:
        yield f"node{i} = {terms[0]}"
        return
    yield f"node{i} = ("
    for j, term in enumerate(terms):
        yield f"    {'+ ' if j else ''}{term}"
    yield ")"


def _expression(i: int, node: Node, sources: list[str]) -> str:
    match node.op:
        case "scale":
            return f"self.node{i}_scale * {sources[0]}"
        case "blend":
            z, a, b = sources
            return f"{z} * {a} + (1 - {z}) * {b}"
        case "mean":
            return f"({' + '.join(sources)}) / {len(sources)}"
        case "add" | "mul" | "sub":
            return _CALLS[node.op].join(sources)
        case op:
            return _CALLS[op].format(sources[0])


def _indented(lines: Iterator[str]) -> str:
    return "".join(f"        {line}\n" for line in lines)


def _in_docstring(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\0", "\\0")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("s" if number != 1 else "")
