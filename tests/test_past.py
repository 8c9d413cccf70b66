"""A search goes on from the sum of its record exactly as if it had been replayed."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo_nas.config import to_dict
from evo_nas.config_tables import BudgetConfig, EvolutionConfig, RungsConfig, SearchConfig
from evo_nas.events import Asked, Event
from evo_nas.past import COLUMNS, Past, Totals, past_of
from evo_nas.record import RecordError, create_run, open_run, read_events
from evo_nas.strategies import Strategy, make_strategy
from tests.replaying import replayed
from tests.rung_results import outcome
from tests.test_evolution import told
from tests.test_record import asked, header
from tests.test_record import told as recorded_told

CONFIG = SearchConfig(
    evolution=EvolutionConfig(population=5, sample_size=3, identity_rate=0.4),
    budget=BudgetConfig(evaluations=200),
)


RUNGS = RungsConfig(fractions=(0.1, 0.3), keep=0.5, least=2)


def searched(strategy: Strategy, births: int, rng: random.Random) -> Iterator[list[Event]]:
    """Events of a search in which results come in any order and some candidates fail, and some are
    stopped if there are rungs."""
    higher_is_better = rng.random() < 0.5
    running: list[Asked] = []
    for _ in range(births):
        group: list[Event] = []
        while len(running) < 3:
            running.append(strategy.ask())
            strategy.note(running[-1])
            group.append(running[-1])
        for _ in range(rng.randint(0, 2)):
            candidate = running.pop(rng.randrange(len(running)))
            if candidate.hurdles:
                result = outcome(candidate, rng, higher_is_better)
            else:
                result = told(candidate, None if rng.random() < 0.2 else rng.uniform(-3, -1))
            strategy.tell(result)
            group.append(result)
        if group:
            yield group


def test_of_a_past_without_individuals_none_is_recent(tmp_path: Path) -> None:
    with create_run(tmp_path / "run", header()) as record:
        for birth in range(3):
            record.append([asked(birth), recorded_told(birth)])
    with open_run(tmp_path / "run", COLUMNS) as record:
        counts = [
            len(past_of(record.directory, record.header, record.reading, wanted)[0].recent)
            for wanted in (0, 1, 3, 5)
        ]
    assert counts == [0, 1, 3, 3]


def recorded(run: Path, groups: Iterator[list[Event]], every: int) -> None:
    with create_run(run, replace(header(), config=to_dict(CONFIG)), every) as record:
        for group in groups:
            record.append(group)


def state(strategy: Strategy) -> dict[str, object]:
    history = strategy.history
    population = getattr(strategy, "population", ())
    return {
        "births": history.births,
        "told": history.told,
        "duplicates": history.duplicates,
        "asked": dict(history.asked),
        "fitness": dict(history.fitness),
        "reached": history.reached,
        "arrivals": dict(history.arrivals.at),
        "running": {birth: one.asked for birth, one in history.running.items()},
        "population": [(one.asked, one.fitness.values) for one in population],
        "next": strategy.ask(),
    }


@pytest.mark.parametrize("kind", ["regularized", "random", "guided", "non_ageing", "nsga2"])
@settings(max_examples=15, deadline=None)
@given(
    rungs=st.sampled_from([RungsConfig(), RUNGS]),
    births=st.integers(1, 40),
    every=st.integers(1, 9),
    seed=st.integers(0, 2**32),
    later=st.integers(0, 9),
)
def test_the_sum_of_a_record_leaves_a_strategy_where_a_replay_does(
    kind: str, rungs: RungsConfig, births: int, every: int, seed: int, later: int
) -> None:
    if kind == "nsga2":
        rungs = RungsConfig()  # which it refuses
    config = replace(CONFIG, evolution=replace(CONFIG.evolution, strategy=kind), rungs=rungs)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        live = make_strategy(config)
        recorded(run, searched(live, births, random.Random(seed)), every)
        strategy = make_strategy(config)
        with open_run(run, COLUMNS) as record:
            past, rest = past_of(
                run, record.header, record.reading, strategy.memory, later, strategy.failures
            )
        strategy.restore(past)
        replayed(strategy, rest)
        slow = replayed(make_strategy(config), read_events(run)[0])
        assert state(strategy) == state(slow) == state(live)


@pytest.mark.parametrize("rungs", [RungsConfig(), RUNGS], ids=["whole", "rungs"])
def test_the_totals_are_those_of_every_result(tmp_path: Path, rungs: RungsConfig) -> None:
    run = tmp_path / "run"
    strategy = make_strategy(replace(CONFIG, rungs=rungs))
    recorded(run, searched(strategy, 40, random.Random(5)), 4)
    totals = Totals()
    for event in read_events(run)[0]:
        if not isinstance(event, Asked):
            totals.add(event)
    found = sum_of(run).totals
    assert found.seconds == pytest.approx(totals.seconds)
    assert replace(found, seconds=0.0) == replace(totals, seconds=0.0)
    assert found.told == totals.told > 10
    assert (found.statuses["stopped"] > 0) == bool(rungs.fractions)


def sum_of(run: Path) -> Past:
    with open_run(run, COLUMNS) as record:
        return past_of(run, record.header, record.reading, 5)[0]


def test_an_empty_record_has_an_empty_sum(tmp_path: Path) -> None:
    create_run(tmp_path / "run", header()).close()
    past = sum_of(tmp_path / "run")
    assert (past.births, past.waiting, past.recent, past.totals) == (0, (), (), Totals())


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([asked(0), asked(2)], "births are not in order"),
        ([asked(0), told(asked(0), 1.0), told(asked(0), 1.0)], "a birth was told twice"),
        ([asked(0), told(asked(7), 1.0)], "birth 7 was told but never asked"),
    ],
)
def test_a_record_that_contradicts_itself_is_not_gone_on_from(
    tmp_path: Path, events: list[Event], message: str
) -> None:
    recorded(tmp_path / "run", iter([events]), 9)
    with pytest.raises(RecordError, match=message):
        sum_of(tmp_path / "run")
