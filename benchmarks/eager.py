"""What a user would write by hand: a Python loop over time, one torch call for each node.

``EagerModel`` writes that loop for a genome and runs it, so nothing is interpreted at run time
and the loop is the same that a person would type::

    def loop(self, x, v1):
        w0_0, w0_1, b0 = self.node0_weight_0, self.node0_weight_1, self.node0_bias
        outputs = []
        for v0 in x.unbind(0):
            v2 = F.linear(v0, w0_0, b0) + F.linear(v1, w0_1)
            v3 = torch.tanh(v2)
            v1 = v3
            outputs.append(v1)
        return torch.stack(outputs), (v1,)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from genomes.genome import Genome, Node
from workers.tasks.base import Batch

States = tuple[Tensor, ...]

_CALLS = {
    "tanh": "torch.tanh({})",
    "sigmoid": "torch.sigmoid({})",
    "relu": "torch.relu({})",
    "leaky_relu": "F.leaky_relu({}, 0.01)",
    "softsign": "F.softsign({})",
    "one_minus": "1 - {}",
    "identity": "{}",
    "sub": "{} - {}",
    "blend": "{0} * {1} + (1 - {0}) * {2}",
}


class EagerModel(nn.Module):
    """Embedding, a genome's cell with one parameter for each matrix and vector, linear head.

    Args:
        genome: The cell, run as written.
        symbols: Size of the vocabulary.
        hidden_size: Width of the embedding and of the states.
        weights: Values by name: ``embedding.weight``, ``head.weight``, ``head.bias``, and those
            of the cell as ``RecurrentLayer.named_weights`` calls them. They give the type, too.
    """

    def __init__(
        self, genome: Genome, symbols: int, hidden_size: int, weights: Mapping[str, Tensor]
    ) -> None:
        super().__init__()
        self.states = genome.states
        self.embedding = nn.Embedding(symbols, hidden_size)
        for name, value in weights.items():
            if name.startswith("node"):
                self.register_parameter(name, nn.Parameter(torch.empty_like(value)))
        self.head = nn.Linear(hidden_size, symbols)
        self.to(next(iter(weights.values())).dtype)
        self.load_state_dict(dict(weights))
        self.loop = _compiled(loop_source(genome))

    def forward(self, batch: Batch, states: States | None = None) -> tuple[Tensor, States]:
        """Logits (T, B, symbols), and the states (B, hidden) after the last step."""
        if states is None:
            weight = self.embedding.weight
            zeros = weight.new_zeros(batch.inputs.shape[1], weight.shape[1])
            states = (zeros,) * self.states
        return self.predict(batch.inputs, states)

    def predict(self, inputs: Tensor, states: States) -> tuple[Tensor, States]:
        """The same of bare tensors, which is what ``torch.compile`` takes."""
        outputs, states = self.loop(self, self.embedding(inputs), *states)
        return self.head(outputs), states

    def gradients(self) -> dict[str, Tensor]:
        """The last backward pass's gradients by the names of ``weights``."""
        return {name: p.grad for name, p in self.named_parameters() if p.grad is not None}


def loop_source(genome: Genome) -> str:
    """The loop over time as Python text; value k of the genome is the variable vk."""
    fetched, steps = [], []
    for i, node in enumerate(genome.nodes):
        for j in range(len(node.inputs) if node.op == "linear" else 0):
            fetched.append(f"    w{i}_{j} = self.node{i}_weight_{j}")
        if node.bias:
            fetched.append(f"    b{i} = self.node{i}_bias")
        if node.op == "scale":
            fetched.append(f"    p{i} = self.node{i}_scale")
        steps.append(f"        v{genome.first_node + i} = {_expression(i, node)}")
    states = ", ".join(f"v{k}" for k in range(1, genome.first_node))
    new = ", ".join(f"v{v}" for v in genome.outputs)
    return "\n".join(
        [
            f"def loop(self, x, {states}):",
            *fetched,
            "    outputs = []",
            "    for v0 in x.unbind(0):",
            *steps,
            f"        {states} = {new}",
            "        outputs.append(v1)",
            f"    return torch.stack(outputs), ({states},)",
        ]
    )


def _expression(i: int, node: Node) -> str:
    values = [f"v{v}" for v in node.inputs]
    if node.op == "linear":
        biases = [f", b{i}" if node.bias else "", *[""] * (len(values) - 1)]
        return " + ".join(
            f"F.linear({v}, w{i}_{j}{bias})"
            for j, (v, bias) in enumerate(zip(values, biases, strict=True))
        )
    if node.op == "scale":
        return f"p{i} * {values[0]}"
    if node.op in ("add", "mul"):
        return (" + " if node.op == "add" else " * ").join(values)
    if node.op == "mean":  # as the authors of DARTS write it
        return f"torch.stack([{', '.join(values)}]).mean(0)"
    return _CALLS[node.op].format(*values)


def _compiled(source: str) -> Callable[..., tuple[Tensor, States]]:
    scope: dict[str, Any] = {"torch": torch, "F": functional}
    exec(compile(source, "<eager loop>", "exec"), scope)
    loop: Callable[..., tuple[Tensor, States]] = scope["loop"]
    return loop
