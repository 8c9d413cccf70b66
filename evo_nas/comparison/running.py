"""Trains what a comparison needs, stage by stage, each through the loop and record of a search.

So each is recorded as it goes, goes on where it was killed, and is deterministic if its run is. The
header of a stage holds everybody who takes part in it: what goes on after a kill asks nobody again
who they were.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from evo_nas.births import Births
from evo_nas.comparison.control import control_births, searched_at_random
from evo_nas.comparison.entrants import Field, field_of
from evo_nas.comparison.folders import COMPARISONS, TUNINGS, folders_of, matching, next_folder
from evo_nas.comparison.plans import Planned, final_plan, tuning_plan
from evo_nas.comparison.reading import Comparison, read_comparison
from evo_nas.comparison.recorded import field_from
from evo_nas.comparison.terms import OWN, Terms, about, about_tuning
from evo_nas.comparison.tuning import chosen
from evo_nas.config_tables import SearchConfig
from evo_nas.events import Asked, Told
from evo_nas.history import History
from evo_nas.interrupt import Interrupt
from evo_nas.lineage import best_finished
from evo_nas.loop import Budget, Clock, Loop
from evo_nas.order import order_of
from evo_nas.past import COLUMNS, past_of
from evo_nas.record import Header, Record, RunPath, create_run, now, open_run, read_events
from evo_nas.strategies import rules_of
from evo_nas.terminal import put_error, warn
from workers.limits import Pool
from workers.messages import Part

if TYPE_CHECKING:
    from workers.tasks.base import Task

MakePlan = Callable[[SearchConfig, Terms, Sequence[Any]], list[Asked]]


def same_comparison(directory: RunPath, terms: Terms, births: Births) -> Comparison | None:
    """The newest comparison of these terms that is complete: making it again would repeat it."""
    for folder in matching(directory, about(terms, births.evaluated)):
        if (found := read_comparison(folder)).complete:
            return found
    return None


def unfinished(directory: RunPath, terms: Terms, births: Births) -> RunPath | None:
    """The last comparison of the run if it is of these terms: it is gone on with."""
    last = folders_of(directory)[-1:]
    same = matching(directory, about(terms, births.evaluated))
    return last[0] if last and last[0] in same else None


@dataclass(frozen=True, slots=True)
class Stages:
    """Of one comparison.

    Attributes:
        config: The run's, with the workers of now.
        directory: The run.
        header: Its header, with the engine that trains now.
        births: Everything it recorded.
        task: The data, front end, head and metric.
        pool: Trains and scores.
        interrupt: The user's wish to stop.
    """

    config: SearchConfig
    directory: RunPath
    header: Header
    births: Births
    task: Task
    pool: Pool
    interrupt: Interrupt

    def run(self, terms: Terms) -> Comparison | None:
        """Make a comparison, or go on with the same one that was interrupted.

        Returns:
            The table, as far as it got; None if the record holds no finished evaluation, or if
            the user stopped before the final trainings.

        Raises:
            SearchError: If a cell has no size that is wanted, or the random search does not fit.
        """
        folder = unfinished(self.directory, terms, self.births)
        if folder is None:
            field = self._tuned(terms) if terms.learning_rates else self._field(terms)
            if field is None:
                return None
            wanted = about(terms, self.births.evaluated)
            record = self._begun(COMPARISONS, wanted, field)
        else:
            record = open_run(folder, COLUMNS)
        self._train("comparison", record, terms, terms.part, final_plan)
        return read_comparison(record.directory)

    def _tuned(self, terms: Terms) -> Field | None:
        """Everybody with a learning rate; None if there is nobody, or if the user stopped."""
        wanted = about_tuning(terms, self.births.evaluated)
        same = matching(self.directory, wanted, TUNINGS)
        if same:
            record = open_run(same[0], COLUMNS)
        else:
            field = self._field(terms)
            if field is None:
                return None
            record = self._begun(TUNINGS, wanted, field)
        if not self._train("tuning", record, terms, "validation", tuning_plan):
            return None
        told = [event for event in read_events(record.directory)[0] if isinstance(event, Told)]
        field = field_from(record.header, record.directory)
        return chosen(self.config, terms, field, told, self.header.higher_is_better)

    def _field(self, terms: Terms) -> Field | None:
        """Everybody at their size; None if there is nobody, or if the user stopped."""
        evaluations = self.births.evaluated
        control, left_out = terms.control, terms.left_out
        if control == OWN and self.config.evolution.strategy == "random":
            control, left_out = None, "this run is one itself"
        others = None
        if control is not None and best_finished(self.births, 1):
            if control == OWN:
                searched_at_random(
                    self.config, self.directory, self.header, evaluations, self.pool, self.interrupt
                )
                if self.interrupt.requested:
                    return None
            others = control_births(self.config, self.directory, self.header, evaluations, control)
        return field_of(self.config, terms, self.births, self.task, others, left_out)

    def _begun(self, kind: str, wanted: dict[str, Any], field: Field) -> Record:
        names = [entrant.name for entrant in field.entrants]
        config = {**self.header.config, **wanted, "entrants": names, "field": field.plain()}
        header = replace(self.header, config=config, created=now())
        return create_run(next_folder(self.directory, kind), header)

    def _train(
        self, what: str, record: Record, terms: Terms, part: Part, make_plan: MakePlan
    ) -> bool:
        """Train what is left of a stage; whether all of it is done."""
        config = self.config
        with record:
            warn(record.warnings)
            field = field_from(record.header, record.directory)
            plan = make_plan(config, terms, field.entrants)
            strategy = Planned(plan, History(rules_of(config)))
            past, _ = past_of(record.directory, record.header, record.reading, strategy.memory)
            strategy.restore(past)

            def on_told(told: Sequence[Told]) -> None:
                done = strategy.history.told
                put_error(f"{what}: {done} of {len(plan)} trainings")

            Loop(
                strategy=strategy,
                pool=self.pool,
                saver=record,
                order=order_of(config, record.header.engine),
                training=config.training,
                part=part,
                budget=Budget(len(plan)),
                waiting=deque(past.waiting),
                clock=Clock(past.totals.elapsed),
                interrupt=self.interrupt,
                grace_seconds=config.workers.grace_seconds,
                on_told=on_told,
            ).run()
            return strategy.history.told == len(plan)
