"""What a cell costs: parameters, multiply-adds, and the hidden size for a parameter target."""

from __future__ import annotations

from collections.abc import Callable

from genomes.genome import Genome, X
from genomes.ops import OPS


def parameter_count(genome: Genome, input_size: int, hidden_size: int) -> int:
    """Trainable numbers of one layer of the genome as written (dead nodes included).

    A linear has a matrix of hidden x input numbers for a source x, hidden x hidden for any
    other, and hidden numbers for its bias; a scale has hidden numbers.
    """
    total = 0
    for node in genome.nodes:
        if node.op == "linear":
            total += hidden_size * int(node.bias)
            total += _matrix_numbers(node.inputs, input_size, hidden_size)
        elif node.op == "scale":
            total += hidden_size
    return total


def multiply_adds(genome: Genome, input_size: int, hidden_size: int) -> int:
    """Operations per time step and sequence: multiply-adds of the matrix products, and the
    element-wise operations as the table of operations counts them."""
    total = 0
    for node in genome.nodes:
        if node.op == "linear":
            total += _matrix_numbers(node.inputs, input_size, hidden_size)
        else:
            op = OPS[node.op]
            total += (op.cost + len(node.inputs) - op.min_inputs) * hidden_size
    return total


def _matrix_numbers(sources: tuple[int, ...], input_size: int, hidden_size: int) -> int:
    return sum(hidden_size * (input_size if v == X else hidden_size) for v in sources)


def recurrent_parameters(genome: Genome, hidden_size: int, num_layers: int = 1) -> int:
    """Trainable numbers of a stack of layers whose input is as wide as its states."""
    return num_layers * parameter_count(genome, hidden_size, hidden_size)


def recurrent_multiply_adds(genome: Genome, hidden_size: int, num_layers: int = 1) -> int:
    """Operations per time step and sequence of such a stack; see `multiply_adds`."""
    return num_layers * multiply_adds(genome, hidden_size, hidden_size)


def nearest_size(count: Callable[[int], int], target: int, largest: int = 65_536) -> int:
    """The size >= 1 whose ``count`` (growing with the size) comes nearest to ``target``.

    Raises:
        ValueError: If even ``largest`` stays below the target.
    """
    low, high = 1, 1
    while count(high) < target:
        low, high = high, high * 2
        if low > largest:
            raise ValueError(f"no hidden size up to {largest:,} reaches {target:,} parameters.")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < target else (low, middle)
    return min((low, high), key=lambda size: abs(count(size) - target))


def hidden_size_for(genome: Genome, target: int, num_layers: int = 1) -> int:
    """The hidden size (input as wide) whose recurrent parameters come nearest to ``target``.

    Raises:
        ValueError: If the cell has no parameters, or none of its sizes reaches the target.
    """
    return nearest_size(lambda size: recurrent_parameters(genome, size, num_layers), target)
