"""Guided evolution: several mutations per birth, and a learned predictor picks the one to evaluate.

Parents come from the ageing population (`evo_nas.strategies.regularized`); of several children and
some random genomes the one is asked for that promises most by mean and uncertainty of a Gaussian
process over the canonical graph. The predictor as a filter before evaluation follows White,
Neiswanger, Savani 2021 ("BANANAS"); its kernel, and the random genomes beside the children, Ru et
al. 2021. A share of births stays unguided, for a predictor knows only what was tried.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from deap import base

from evo_nas.config_tables import SearchConfig
from evo_nas.events import Told
from evo_nas.history import History, Proposal
from evo_nas.individual import Individual
from evo_nas.past import Past
from evo_nas.predictor import Earlier, Predictor, Similarities, fitted, normal_scores
from evo_nas.strategies.regularized import RegularizedEvolution

START = 20
"""Births of generation 0 (beside the published cells), if the population is larger: by then the
predictor has something to go by, and its children beat further random genomes."""
SCORED, FAILED = 800, 200
"""From how many of the last results, and failures, the predictor learns: a fit takes time that
grows with the cube of their number."""
DECIMALS = 9
"""To so many places promises are compared: the bits after them depend on the machine."""


class GuidedEvolution(RegularizedEvolution):
    """Ageing evolution whose children a predictor picks.

    Attributes:
        earlier: What other runs found (`evo_nas.warm_start`); with it, guidance begins at once.
    """

    def __init__(
        self,
        config: SearchConfig,
        history: History,
        toolbox: base.Toolbox | None = None,
        earlier: Earlier = (),
    ) -> None:
        super().__init__(config, history, toolbox)
        self.memory = max(self.size, SCORED)
        self.failures = FAILED
        published = len(self._initial)
        self.start = min(self.size, max(START, published + START // 2))
        if earlier:
            self.start = max(published, 2)
        self.earlier = earlier
        self._earlier_digests = [genome.digest for genome, _ in earlier]
        self._proposals = config.evolution.proposals
        self._newcomers = config.evolution.newcomers
        self._unguided = config.evolution.unguided
        self._optimism = config.evolution.optimism
        self._scored: deque[Individual] = deque(maxlen=self.memory)
        self._failed: deque[Individual] = deque(maxlen=FAILED)
        self._similarities = Similarities()
        self._predictor: Predictor | None = None

    def restore(self, past: Past) -> None:
        """See ``Strategy``."""
        self._scored.clear()
        self._scored.extend(self.history.restore(past))
        self.population.clear()
        self.population.extend(self._scored)
        self._failed.clear()
        self._failed.extend(Individual(asked) for asked in past.failed)
        self._predictor = None

    def tell(self, event: Told) -> None:
        """See ``RegularizedEvolution.tell``; the predictor learns of failures too."""
        told = self.history.running.get(event.birth)
        super().tell(event)
        if told is not None:
            (self._failed if event.fitness is None else self._scored).append(told)
        self._predictor = None

    def _child(self, rng: np.random.Generator) -> Proposal:
        """The most promising of several children and newcomers, or just a child if unguided."""
        if rng.random() < self._unguided:
            return super()._child(rng)
        drawn = [super(GuidedEvolution, self)._child(rng) for _ in range(self._proposals)]
        drawn += [self.history.at_random(rng) for _ in range(self._newcomers)]
        cells: dict[str, Proposal] = {}
        for proposal in drawn:
            if not self.history.is_duplicate(proposal):
                cells.setdefault(proposal.genome.digest, proposal)
        if not cells:
            return drawn[0]
        proposals = list(cells.values())
        mean, deviation = self._fitted().predict([proposal.genome for proposal in proposals])
        promise = np.round(mean + self._optimism * deviation, DECIMALS)
        return proposals[int(np.argmax(promise))]

    def _fitted(self) -> Predictor:
        """The predictor of everything told so far, fitted when it is wanted after a result."""
        if self._predictor is None:
            genomes = {one.digest: one.genome for one in (*self._failed, *self._scored)}
            standings = [
                self.history.standing(digest) if digest in self.history.reached else None
                for digest in genomes
            ]
            self._predictor = fitted(
                [*genomes.values(), *(genome for genome, _ in self.earlier)],
                [*normal_scores(standings).tolist(), *(score for _, score in self.earlier)],
                self._similarities,
                [*genomes, *self._earlier_digests],
            )
        return self._predictor
