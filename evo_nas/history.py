"""What every strategy knows: everyone asked, every fitness told, and which cells are new."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evo_nas.config_tables import RungsConfig
from evo_nas.events import Asked, Told
from evo_nas.individual import Individual
from evo_nas.past import Past, standing
from evo_nas.rungs import Arrivals, hurdles
from evo_nas.streams import Stream, generator, training_seed
from genomes.canonical import canonical
from genomes.cost import hidden_size_for, recurrent_parameters
from genomes.genome import Genome
from genomes.published import published
from genomes.space import SearchSpace, random_genome

RANDOM_DRAWS = 1000
"""How many random genomes are drawn before the search space counts as exhausted."""


class Exhausted(RuntimeError):
    """No genome that is new and small enough could be drawn."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A genome before the duplicate and size rules have seen it."""

    genome: Genome
    mutation: dict[str, Any]
    parent: Individual | None = None


Propose = Callable[[np.random.Generator], Proposal]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a candidate has to keep to, and how its seed comes about.

    Attributes:
        space: Where random genomes and mutations stay.
        seed: The run's seed.
        hidden_size: Hidden size of the search.
        num_layers: Recurrent layers.
        steps: Optimiser steps of an evaluation.
        parameter_limit: Most recurrent parameters, in those of ``lstm``.
        equal_parameters: Whether the hidden size is solved for each candidate.
        identity_limit: How often one digest is trained again at most.
        duplicate_draws: Draws before a random genome takes the place of a known child.
        rungs: Where trainings are measured on their way, and who goes on.
    """

    space: SearchSpace
    seed: int
    hidden_size: int
    num_layers: int
    steps: int
    parameter_limit: float
    equal_parameters: bool
    identity_limit: int
    duplicate_draws: int
    rungs: RungsConfig

    @property
    def lstm_parameters(self) -> int:
        """Recurrent parameters of ``lstm`` at the search's hidden size."""
        return recurrent_parameters(canonical(published("lstm")), self.hidden_size, self.num_layers)

    def size_of(self, genome: Genome) -> tuple[int, int] | None:
        """Hidden size and recurrent parameters of a genome, or None if it is too large."""
        cell = canonical(genome)
        hidden = self.hidden_size
        if self.equal_parameters:
            try:
                hidden = hidden_size_for(cell, self.lstm_parameters, self.num_layers)
            except ValueError:
                return None  # a cell without matrices has no size of that many parameters
        parameters = recurrent_parameters(cell, hidden, self.num_layers)
        if not self.equal_parameters and parameters > self.parameter_limit * self.lstm_parameters:
            return None
        return hidden, parameters


@dataclass
class History:
    """What was asked and told so far, as far as it matters; the strategies' common memory.

    Attributes:
        births: How many candidates were asked for.
        told: How many of them were told, failed ones included.
        running: Those asked for and not told, by birth.
        asked: How often each digest was asked for.
        reached: The furthest optimiser step at which each digest has a fitness.
        fitness: The fitness values of each digest there.
        arrivals: The fitness of everyone at each rung.
        duplicates: Draws avoided because the digest was known.
        draw: Draws a random genome; by default from the rules' space.
    """

    rules: Rules
    births: int = 0
    told: int = 0
    running: dict[int, Individual] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    reached: dict[str, int] = field(default_factory=dict)
    fitness: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    arrivals: Arrivals = field(default_factory=Arrivals)
    duplicates: int = 0
    draw: Callable[[np.random.Generator], Genome] | None = None

    def restore(self, past: Past) -> list[Individual]:
        """Know what a record says, instead of being told it event by event.

        Returns:
            The last individuals that have a fitness, the oldest first.
        """
        self.births, self.told = past.births, past.totals.told
        self.duplicates, self.asked = past.duplicates, past.asked
        self.reached, self.arrivals = past.reached, past.arrivals
        self.fitness = defaultdict(list, past.fitness)
        self.running = {asked.birth: Individual(asked) for asked in past.waiting}
        recent = [Individual(asked) for asked in past.recent]
        for individual in recent:
            individual.fitness.values = self.standing(individual.digest)
        return recent

    def candidate(self, propose: Propose) -> Asked:
        """Draw a candidate that keeps the duplicate and size rules.

        A proposal that breaks one is drawn again, ``duplicate_draws`` times at most; then
        random genomes are drawn instead.

        Raises:
            Exhausted: If no random genome is new either.
        """
        birth = self.births
        rng = generator(self.rules.seed, Stream.CANDIDATE, birth)
        avoided = 0
        for draw in range(1 + self.rules.duplicate_draws + RANDOM_DRAWS):
            proposal = propose(rng) if draw <= self.rules.duplicate_draws else self.at_random(rng)
            if self.is_duplicate(proposal):
                avoided += 1
                continue
            size = self.rules.size_of(proposal.genome)
            if size is not None:
                return self._asked(birth, proposal, size, avoided)
        raise Exhausted(
            f"no genome in {RANDOM_DRAWS} random draws was new and within the parameter limit. "
            "Widen the search space ([space]) or raise evolution.parameter_limit."
        )

    def at_random(self, rng: np.random.Generator) -> Proposal:
        """A proposal of generation 0."""
        genome = random_genome(self.rules.space, rng) if self.draw is None else self.draw(rng)
        return Proposal(genome, {"operator": "random"})

    def is_duplicate(self, proposal: Proposal) -> bool:
        """Whether the digest is known; the identity mutation may repeat it a few times."""
        times = self.asked[proposal.genome.digest]
        if proposal.mutation["operator"] == "identity":
            return times > self.rules.identity_limit
        return times > 0

    def _asked(self, birth: int, proposal: Proposal, size: tuple[int, int], avoided: int) -> Asked:
        parent = proposal.parent
        return Asked(
            birth=birth,
            parent=None if parent is None else parent.birth,
            generation=0 if parent is None else parent.generation + 1,
            mutation=proposal.mutation,
            genome=proposal.genome.to_json(),
            digest=proposal.genome.digest,
            seed=training_seed(self.rules.seed, Stream.TRAINING, birth),
            hidden_size=size[0],
            recurrent_parameters=size[1],
            duplicates=avoided,
            budget=self.rules.steps,
            hurdles=hurdles(self.rules.rungs, self.arrivals, self.rules.steps),
        )

    def note_asked(self, event: Asked) -> None:
        """Remember a candidate.

        Raises:
            ValueError: If it is not the next birth.
        """
        if event.birth != self.births:
            raise ValueError(f"birth {event.birth} was asked for, but the next is {self.births}.")
        self.running[event.birth] = Individual(event)
        self.births += 1
        self.asked[event.digest] += 1
        self.duplicates += event.duplicates

    def note_told(self, event: Told) -> Individual | None:
        """Remember an outcome; the individual if it has a fitness, else None.

        Raises:
            ValueError: If the birth was never asked, or is told twice.
        """
        individual = self.running.pop(event.birth, None)
        if individual is None:
            known = event.birth < self.births
            raise ValueError(
                f"birth {event.birth} was told {'twice' if known else 'but never asked'}."
            )
        self.told += 1
        if event.fitness is None:
            return None
        budget = individual.asked.budget
        self.arrivals.add(budget, event.rung_fitness)
        steps, digest = event.steps_of(budget), individual.digest
        if steps > self.reached.get(digest, -1):
            self.reached[digest], self.fitness[digest] = steps, []
        if steps == self.reached[digest]:
            self.fitness[digest].append(event.fitness)
        return individual

    def standing(self, digest: str) -> tuple[int, float]:
        """See `evo_nas.past.standing`."""
        return standing(self.reached, self.fitness, digest)

    def mean_fitness(self, digest: str) -> float:
        """The mean over the digest's evaluations that came furthest."""
        return self.standing(digest)[1]
