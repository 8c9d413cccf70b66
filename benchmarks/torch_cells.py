"""``nn.GRU`` and ``nn.LSTM`` with the weights of a genome that computes the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genomes.genome import Genome, Node
from workers.tasks.base import Batch

MODULES: Mapping[str, type[nn.GRU] | type[nn.LSTM]] = {
    "gru_reset_after": nn.GRU,
    "lstm": nn.LSTM,
}
"""Published cells by the module that computes them."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of a parameter of the module that are one weight of the genome.

    Attributes:
        parameter: For example ``weight_ih_l0``.
        gate: Which of the parameter's blocks of ``hidden_size`` rows.
        weight: Name in the genome, for example ``node2_weight_0``.
        sign: -1 where the genome's gate opens the other way: sigmoid(-a) = 1 - sigmoid(a).
    """

    parameter: str
    gate: int
    weight: str
    sign: int = 1


class TorchCellModel(nn.Module):
    """Embedding, the module, linear head.

    The module has two bias vectors for each gate; where the genome has one, the second starts
    at zero. Both then learn, so only what comes before the first optimiser step can agree.

    Args:
        name: A published cell of ``MODULES``.
        genome: Its canonical form.
        symbols: Size of the vocabulary.
        hidden_size: Width of the embedding and of the states.
        weights: As for :class:`eager.EagerModel`.
    """

    def __init__(
        self,
        name: str,
        genome: Genome,
        symbols: int,
        hidden_size: int,
        weights: Mapping[str, Tensor],
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, hidden_size)
        self.recurrent = MODULES[name](hidden_size, hidden_size)
        self.head = nn.Linear(hidden_size, symbols)
        self.to(next(iter(weights.values())).dtype)
        self.blocks = _gru(genome) if MODULES[name] is nn.GRU else _lstm(genome)
        with torch.no_grad():
            self.embedding.weight.copy_(weights["embedding.weight"])
            self.head.weight.copy_(weights["head.weight"])
            self.head.bias.copy_(weights["head.bias"])
            for parameter in self.recurrent.parameters():
                parameter.zero_()
            for block in self.blocks:
                whole = getattr(self.recurrent, block.parameter)
                self._rows(whole, block).copy_(block.sign * weights[block.weight])

    def forward(
        self, batch: Batch, state: Tensor | tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
        """Logits (T, B, symbols), and the module's state after the last step."""
        outputs, state = self.recurrent(self.embedding(batch.inputs), state)
        assert state is not None
        return self.head(outputs), state

    def gradients(self) -> dict[str, Tensor]:
        """The last backward pass's gradients, by the genome's names."""
        named = {"embedding": self.embedding.weight, "head": self.head.weight}
        result = {f"{name}.weight": weight.grad for name, weight in named.items()}
        result["head.bias"] = self.head.bias.grad
        for block in self.blocks:
            whole = getattr(self.recurrent, block.parameter).grad
            result[block.weight] = block.sign * self._rows(whole, block)
        return {name: gradient for name, gradient in result.items() if gradient is not None}

    def _rows(self, whole: Tensor, block: Block) -> Tensor:
        hidden = self.recurrent.hidden_size
        return whole[block.gate * hidden : (block.gate + 1) * hidden]


def _gru(genome: Genome) -> list[Block]:
    blend = _node(genome, genome.outputs[0], "blend")
    gate, kept, new = blend.inputs
    keeps = kept == 1  # whether a gate near 1 keeps h, as the module's does
    if not keeps:
        kept, new = new, kept
    total = _node(genome, _node(genome, new, "tanh").inputs[0], "add")
    product = next(v for v in total.inputs if _op(genome, v) == "mul")
    projected = next(v for v in total.inputs if v != product)
    factors = _node(genome, product, "mul").inputs
    reset = next(v for v in factors if _op(genome, v) == "sigmoid")
    (inner,) = (v for v in factors if v != reset)
    return [
        *_linear(genome, _node(genome, reset, "sigmoid").inputs[0], 0),
        *_linear(genome, _node(genome, gate, "sigmoid").inputs[0], 1, 1 if keeps else -1),
        *_linear(genome, projected, 2),
        *_linear(genome, inner, 2),
    ]


def _lstm(genome: Genome) -> list[Block]:
    emitted, memory = genome.outputs
    factors = _node(genome, emitted, "mul").inputs
    output = next(v for v in factors if _op(genome, v) == "sigmoid")
    forget = written = let_in = -1
    for term in _node(genome, memory, "add").inputs:
        a, b = _node(genome, term, "mul").inputs
        if 2 in (a, b):
            forget = b if a == 2 else a
        else:
            written, let_in = (a, b) if _op(genome, a) == "tanh" else (b, a)
    gates = [(let_in, "sigmoid"), (forget, "sigmoid"), (written, "tanh"), (output, "sigmoid")]
    return [
        block
        for gate, (value, activation) in enumerate(gates)
        for block in _linear(genome, _node(genome, value, activation).inputs[0], gate)
    ]


def _linear(genome: Genome, value: int, gate: int, sign: int = 1) -> list[Block]:
    """A linear's weights: x goes to the input side of the module, h to the hidden side."""
    node, i = _node(genome, value, "linear"), value - genome.first_node
    sides = {0: "ih", 1: "hh"}
    blocks = [
        Block(f"weight_{sides[v]}_l0", gate, f"node{i}_weight_{j}", sign)
        for j, v in enumerate(node.inputs)
    ]
    side = sides[0] if 0 in node.inputs else sides[1]
    return [*blocks, Block(f"bias_{side}_l0", gate, f"node{i}_bias", sign)]


def _op(genome: Genome, value: int) -> str:
    node = genome.node_of(value)
    return "" if node is None else node.op


def _node(genome: Genome, value: int, op: str) -> Node:
    node = genome.node_of(value)
    if node is None or node.op != op:
        raise ValueError(f"value {value} is not the {op} that the module has there.")
    return node
