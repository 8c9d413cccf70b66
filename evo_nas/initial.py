"""Generation 0: published cells first, random genomes for the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evo_nas.config_tables import SearchConfig
from evo_nas.history import History, Proposal, Propose, Rules
from genomes.published import published, published_names

FIRST = ("gru", "lstm")
"""Always among the published cells of a start, however small the population is."""


def initial_proposals(config: SearchConfig, rules: Rules) -> tuple[Proposal, ...]:
    """The published cells that fit the space and the parameter limit, births 0, 1, ...

    They take half of the population at most, so that a small one holds random genomes too.
    """
    if not config.evolution.published:
        return ()
    names = [*FIRST, *(n for n in published_names() if n not in FIRST)]
    proposals: list[Proposal] = []
    seen: set[str] = set()
    for name in names:
        genome = published(name)
        fits = rules.space.refusal(genome) is None and rules.size_of(genome) is not None
        if fits and genome.digest not in seen:
            seen.add(genome.digest)
            proposals.append(Proposal(genome, {"operator": "published", "name": name}))
    return tuple(proposals[: max(1, config.evolution.population // 2)])


def propose_initial(history: History, initial: Sequence[Proposal]) -> Propose:
    """Proposals of generation 0 for the next birth: its published cell, or a random genome."""
    birth = history.births

    def propose(rng: np.random.Generator) -> Proposal:
        if birth < len(initial) and not history.is_duplicate(initial[birth]):
            return initial[birth]
        return history.at_random(rng)

    return propose
