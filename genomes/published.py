"""Published recurrent cells as rows of data, each with its source.

State 0 (``h``) is what a layer emits; ``c`` is the second state where the paper has a cell state.
Every linear has one bias unless its paper has none. ``blend(z, a, b) = z*a + (1-z)*b``, so the
notes say which value a gate near 1 keeps: papers differ in that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType

from genomes.equations import parse_equations
from genomes.genome import Genome


@dataclass(frozen=True, slots=True)
class PublishedCell:
    """One row.

    Attributes:
        name: What ``published`` takes.
        source: Authors, year and where it appeared.
        equations: The cell in the notation of ``genomes.equations``.
        note: Orientation of the gates and differences between versions; may be empty.
    """

    name: str
    source: str
    equations: str
    note: str = ""


def highway_equations(nodes: Sequence[tuple[str, int]], averaged: Sequence[int]) -> str:
    """Equations of a cell of the ENAS and DARTS spaces.

    s0 mixes h with tanh of x and h; node i (from 1) with parent j and activation f is
    s_i = s_j + sigmoid(k) * (f(v) - s_j), where k and v are linear in s_j without biases.

    Args:
        nodes: (activation, parent) of nodes 1, 2, ...
        averaged: The nodes whose mean is the new state.
    """
    lines = [
        "s0 = blend(sigmoid(linear(x, h, bias=False)), tanh(linear(x, h, bias=False)), h)",
        *(
            f"s{i} = blend(sigmoid(linear(s{j}, bias=False)), {f}(linear(s{j}, bias=False)), s{j})"
            for i, (f, j) in enumerate(nodes, 1)
        ),
    ]
    # A mean takes at most 8 values, which every published cell respects.
    lines.append(f"h' = mean({', '.join(f's{i}' for i in averaged)})")
    return "\n".join(lines)


_JOZEFOWICZ = "Jozefowicz, Zaremba, Sutskever 2015, ICML, 'An Empirical Exploration of RNNs'"
_LIU = "Liu, Simonyan, Yang 2019, ICLR, 'DARTS: Differentiable Architecture Search'"
_RAW_X = "reads x element by element: input and hidden size agree, or x is projected first"

PUBLISHED: tuple[PublishedCell, ...] = (
    PublishedCell(
        "rnn",
        "Elman 1990, Cognitive Science 14, 'Finding Structure in Time'",
        "h' = tanh(linear(x, h))",
        "equals torch.nn.RNN with b = b_ih + b_hh",
    ),
    PublishedCell(
        "gru",
        "Cho et al. 2014, EMNLP, 'Learning Phrase Representations using RNN Encoder-Decoder'",
        """
        r = sigmoid(linear(x, h))
        z = sigmoid(linear(x, h))
        n = tanh(linear(x, r * h))
        h' = blend(z, n, h)
        """,
        "reset before the product; z near 1 replaces h",
    ),
    PublishedCell(
        "gru_reset_after",
        "torch.nn.GRU and cuDNN, after Cho et al. 2014",
        """
        r = sigmoid(linear(x, h))
        z = sigmoid(linear(x, h))
        n = tanh(linear(x) + r * linear(h))
        h' = blend(z, h, n)
        """,
        "reset after the product, with a bias of its own inside it; z near 1 keeps h",
    ),
    PublishedCell(
        "lstm",
        "Hochreiter, Schmidhuber 1997, Neural Computation 9; forget gate: Gers et al. 2000",
        """
        i = sigmoid(linear(x, h))
        f = sigmoid(linear(x, h))
        g = tanh(linear(x, h))
        o = sigmoid(linear(x, h))
        c' = f * c + i * g
        h' = o * tanh(c')
        """,
        "equals torch.nn.LSTM with b = b_ih + b_hh",
    ),
    PublishedCell(
        "lstm_forget_bias",
        _JOZEFOWICZ,
        """
        i = sigmoid(linear(x, h))
        f = sigmoid(linear(x, h, bias_init=1))
        g = tanh(linear(x, h))
        o = sigmoid(linear(x, h))
        c' = f * c + i * g
        h' = o * tanh(c')
        """,
        "lstm whose forget gate starts open: its bias starts at 1",
    ),
    PublishedCell(
        "lstm_tanh_output",
        f"{_JOZEFOWICZ}; Klyuchnikov et al. 2020, 'NAS-Bench-NLP'",
        """
        i = sigmoid(linear(x, h))
        f = sigmoid(linear(x, h))
        g = tanh(linear(x, h))
        o = tanh(linear(x, h))
        c' = f * c + i * g
        h' = o * tanh(c')
        """,
        "lstm with tanh in the output gate",
    ),
    PublishedCell(
        "lstm_peephole",
        "Gers, Schmidhuber 2000, IJCNN, 'Recurrent Nets that Time and Count'",
        """
        i = sigmoid(linear(x, h) + scale(c))
        f = sigmoid(linear(x, h) + scale(c))
        g = tanh(linear(x, h))
        c' = f * c + i * g
        o = sigmoid(linear(x, h) + scale(c'))
        h' = o * tanh(c')
        """,
        "the output gate sees the new c",
    ),
    PublishedCell(
        "lstm_coupled",
        "Greff et al. 2015, 'LSTM: A Search Space Odyssey' (its CIFG)",
        """
        i = sigmoid(linear(x, h))
        g = tanh(linear(x, h))
        o = sigmoid(linear(x, h))
        c' = blend(i, g, c)
        h' = o * tanh(c')
        """,
        "i near 1 replaces c: the forget gate is 1 - i",
    ),
    PublishedCell(
        "mgu",
        "Zhou et al. 2016, 'Minimal Gated Unit for Recurrent Neural Networks'",
        """
        f = sigmoid(linear(x, h))
        n = tanh(linear(x, f * h))
        h' = blend(f, n, h)
        """,
        "f near 1 replaces h",
    ),
    PublishedCell(
        "janet",
        "van der Westhuizen, Lasenby 2018, 'The Unreasonable Effectiveness of the Forget Gate'",
        """
        a = linear(x, h)
        n = tanh(linear(x, h))
        h' = sigmoid(a) * h + sigmoid(1 - a) * n
        """,
        "a large keeps h; the paper's 1 - sigmoid(a - 1) equals sigmoid(1 - a); its c is h here",
    ),
    PublishedCell(
        "ugrnn",
        "Collins, Sohl-Dickstein, Sussillo 2017, ICLR, 'Capacity and Trainability in RNNs'",
        """
        g = sigmoid(linear(x, h))
        n = tanh(linear(x, h))
        h' = blend(g, h, n)
        """,
        "g near 1 keeps h",
    ),
    PublishedCell(
        "ran",
        "Lee, Levy, Zettlemoyer 2017, 'Recurrent Additive Networks'",
        """
        u = linear(x, bias=False)
        i = sigmoid(linear(x, h))
        f = sigmoid(linear(x, h))
        c' = i * u + f * c
        h' = tanh(c')
        """,
    ),
    PublishedCell(
        "minimal_rnn",
        "Chen 2017, 'MinimalRNN: Toward More Interpretable and Trainable RNNs'",
        """
        v = tanh(linear(x))
        u = sigmoid(linear(h, v))
        h' = blend(u, h, v)
        """,
        "u near 1 keeps h",
    ),
    PublishedCell(
        "li_gru",
        "Ravanelli et al. 2018, 'Light Gated Recurrent Units for Speech Recognition'",
        """
        z = sigmoid(linear(x, h))
        n = relu(linear(x, h))
        h' = blend(z, h, n)
        """,
        "z near 1 keeps h; without the paper's batch normalisation",
    ),
    PublishedCell(
        "sru",
        "Lei et al. 2018, EMNLP, 'Simple Recurrent Units for Highly Parallelizable Recurrence'",
        """
        u = linear(x, bias=False)
        f = sigmoid(linear(x) + scale(c))
        c' = blend(f, c, u)
        r = sigmoid(linear(x) + scale(c))
        h' = blend(r, c', x)
        """,
        f"f near 1 keeps c; both gates see the old c; {_RAW_X}",
    ),
    PublishedCell(
        "mut1",
        _JOZEFOWICZ,
        """
        z = sigmoid(linear(x))
        r = sigmoid(linear(x, h))
        n = tanh(linear(r * h) + tanh(x))
        h' = blend(z, n, h)
        """,
        f"z near 1 replaces h; {_RAW_X}",
    ),
    PublishedCell(
        "mut2",
        _JOZEFOWICZ,
        """
        z = sigmoid(linear(x, h))
        r = sigmoid(x + linear(h))
        n = tanh(linear(r * h, x))
        h' = blend(z, n, h)
        """,
        f"z near 1 replaces h; {_RAW_X}",
    ),
    PublishedCell(
        "mut3",
        _JOZEFOWICZ,
        """
        z = sigmoid(linear(x, tanh(h)))
        r = sigmoid(linear(x, h))
        n = tanh(linear(r * h, x))
        h' = blend(z, n, h)
        """,
        "z near 1 replaces h",
    ),
    PublishedCell(
        "nas_cell",
        "Zoph, Le 2017, ICLR, 'Neural Architecture Search with Reinforcement Learning'",
        """
        a0 = sigmoid(linear(x, h, bias=False))
        a1 = relu(linear(x, h, bias=False))
        a2 = sigmoid(linear(x, h, bias=False))
        a3 = relu(linear(x, bias=False) * linear(h, bias=False))
        a4 = tanh(linear(x, h, bias=False))
        a5 = sigmoid(linear(x, h, bias=False))
        a6 = tanh(linear(x, h, bias=False))
        a7 = sigmoid(linear(x, h, bias=False))
        b0 = tanh(a0 * a1)
        b1 = tanh(a2 + a3)
        b2 = tanh(a4 * a5)
        b3 = sigmoid(a6 + a7)
        c' = tanh(b0 + c) * b1
        h' = tanh(c' * tanh(b2 + b3))
        """,
        "no biases",
    ),
    PublishedCell(
        "enas",
        "Pham et al. 2018, ICML, 'Efficient Neural Architecture Search', figure 6",
        highway_equations(
            [
                ("tanh", 0),
                ("tanh", 1),
                ("relu", 1),
                ("tanh", 3),
                ("tanh", 3),
                ("relu", 3),
                ("relu", 4),
                ("relu", 7),
                ("relu", 8),
                ("relu", 8),
                ("relu", 8),
            ],
            averaged=[2, 5, 6, 9, 10, 11],
        ),
        "no biases; the mean is over the nodes that no other node reads",
    ),
    PublishedCell(
        "darts_v1",
        _LIU,
        highway_equations(
            [
                ("relu", 0),
                ("relu", 1),
                ("tanh", 2),
                ("relu", 3),
                ("relu", 4),
                ("identity", 1),
                ("relu", 5),
                ("relu", 1),
            ],
            averaged=range(1, 9),
        ),
        "no biases",
    ),
    PublishedCell(
        "darts_v2",
        _LIU,
        highway_equations(
            [
                ("sigmoid", 0),
                ("relu", 1),
                ("relu", 1),
                ("identity", 1),
                ("tanh", 2),
                ("sigmoid", 5),
                ("tanh", 3),
                ("relu", 5),
            ],
            averaged=range(1, 9),
        ),
        "no biases",
    ),
)

_BY_NAME: Mapping[str, PublishedCell] = MappingProxyType({row.name: row for row in PUBLISHED})


def published_names() -> tuple[str, ...]:
    """The names that ``published`` takes."""
    return tuple(_BY_NAME)


@lru_cache(maxsize=64)
def published(name: str) -> Genome:
    """A published cell by name.

    Raises:
        ValueError: If there is no such cell; the message suggests the nearest name.
    """
    row = _BY_NAME.get(name)
    if row is None:
        near = get_close_matches(name.lower(), _BY_NAME, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"no published cell is called {name!r}. {hint}Known are: {', '.join(_BY_NAME)}."
        )
    return parse_equations(row.equations)
