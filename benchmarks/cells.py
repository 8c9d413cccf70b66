"""The cells that ``benchmarks/engine.py`` times: published ones, and recipes of a benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from genomes.canonical import canonical
from genomes.equations import parse_equations
from genomes.genome import Genome
from genomes.published import published

RECIPES: Mapping[str, str] = MappingProxyType(
    {
        # class 1000071
        "nlp_7ee700e0": """
            v1 = sigmoid(linear(x, h))
            h' = sigmoid(linear(x, v1))
        """,
        # class 1000075
        "nlp_7b452283": """
            v1 = leaky_relu(linear(x, h))
            v2 = tanh(linear(x, v1))
            h' = linear(x, v2)
        """,
        # class 1006717
        "nlp_d721c7ed": """
            v1 = sigmoid(linear(x, c))
            h' = sigmoid(linear(h, v1))
            c' = linear(x, h')
        """,
        # class 1000624
        "nlp_1ad8cd90": """
            v1 = leaky_relu(linear(x, h))
            v2 = leaky_relu(linear(x, h))
            v3 = sigmoid(linear(v1, v2))
            h' = sigmoid(linear(v2, v3))
        """,
        # class 1012524
        "nlp_bb3366e9": """
            c' = sigmoid(linear(h, c))
            h' = tanh(linear(x, d))
            d' = leaky_relu(linear(c, c'))
        """,
        # class 1006023
        "nlp_0173d2ef": """
            v1 = linear(h, c)
            v2 = sigmoid(linear(h, c))
            v3 = sigmoid(linear(x, v2))
            c' = tanh(linear(x, tanh(v1)))
            h' = v1 + v3
        """,
        # class 1006437
        "nlp_09182ed5": """
            v1 = leaky_relu(linear(h, c))
            v2 = leaky_relu(linear(x, c))
            v3 = tanh(linear(c, v2))
            h' = tanh(linear(h, v1))
            c' = leaky_relu(linear(c, v3))
        """,
        # class 1006655
        "nlp_94389bc2": """
            v1 = leaky_relu(linear(x, c))
            v2 = sigmoid(linear(h, c))
            c' = leaky_relu(linear(v1, v2))
            v3 = sigmoid(linear(x, c, v2))
            h' = sigmoid(linear(v1, v3))
        """,
    }
)
"""Random cells of NAS-Bench-NLP (Klyuchnikov et al. 2020, arXiv 2006.07116; Apache License 2.0).

Of those trained on WikiText-2, the ones that are no published cell, sorted by nodes and states
and cut into eight equal parts: the first of each part, shuffled with seed 0, none of which
diverges. A name is the first digits of the digest; the comment gives the benchmark's class of
isomorphic recipes.
"""

MEANT = ("gru", "lstm", "darts_v1", *RECIPES)
"""The cells that the geometric means are over."""
OWN = """
    f = sigmoid(linear(x, h, bias_init=1))
    n = tanh(linear(x, f * h))
    h' = blend(f, h, n)
"""
"""The cell that the README writes."""
CELLS = ("gru", "gru_reset_after", *MEANT[1:], "readme")
"""All cells: ``gru_reset_after`` is only here because ``torch.nn.GRU`` computes it."""


def cell(name: str) -> Genome:
    """The canonical form of a cell, which is what a search trains.

    Raises:
        ValueError: If a recipe is not the cell that its name says.
    """
    if name == "readme":
        return canonical(parse_equations(OWN))
    if name not in RECIPES:
        return canonical(published(name))
    genome = canonical(parse_equations(RECIPES[name]))
    if not genome.digest.startswith(name.removeprefix("nlp_")):
        raise ValueError(f"the recipe {name} has the digest {genome.digest}. Rename one of them.")
    return genome
