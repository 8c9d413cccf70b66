"""A deterministic history: the same for any number of workers, in any order of results."""

from __future__ import annotations

import random
import tempfile
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo_nas.config import to_dict
from evo_nas.config_tables import BudgetConfig, EvolutionConfig, RungsConfig, SearchConfig
from evo_nas.events import Event, Told
from evo_nas.interrupt import Interrupt
from evo_nas.loop import Budget, Clock, Loop
from evo_nas.order import FixedLag, Unrepeatable
from evo_nas.past import COLUMNS, past_of
from evo_nas.record import create_run, open_run, read_events
from evo_nas.record.header import HEADER
from evo_nas.record.sealed import sealed, unsealed
from evo_nas.strategies import make_strategy
from tests.free_pool import FreePool, failing
from tests.rung_results import climbed
from tests.test_record import header
from tests.tiny import arguments, evo_nas
from workers.messages import failed

CONFIG = SearchConfig(
    evolution=EvolutionConfig(population=6, sample_size=3, deterministic=True, lag=5),
    budget=BudgetConfig(evaluations=40),
)


def without_clock(events: list[Event]) -> list[Event]:
    """Events without what the clock and the place decide."""
    return [
        replace(event, seconds=0.0, finished=0.0, elapsed=0.0, worker="")
        if isinstance(event, Told)
        else event
        for event in events
    ]


def session(
    run: Path,
    pool: FreePool,
    evaluations: int,
    stop_after: int | None = None,
    rungs: RungsConfig = CONFIG.rungs,
) -> None:
    """Begin a run or go on with it; with ``stop_after``, die after so many segments."""
    config = replace(CONFIG, rungs=rungs)
    if not (run / HEADER).exists():
        create_run(run, replace(header(), config=to_dict(config), engine="free"), 4).close()
    with open_run(run, COLUMNS, 4) as record:
        strategy = make_strategy(config)
        lag = CONFIG.evolution.lag
        past, rest = past_of(run, record.header, record.reading, strategy.memory, lag)
        strategy.restore(past)
        loop = Loop(
            strategy=strategy,
            pool=pool,
            saver=record if stop_after is None else Dying(record, stop_after),
            order=FixedLag(lag, "free", attempts=3),
            training=CONFIG.training,
            budget=Budget(evaluations),
            waiting=deque(past.waiting),
            clock=Clock(),
            interrupt=Interrupt(),
            grace_seconds=1,
        )
        loop.catch_up(rest)
        loop.run()


class Died(Exception):
    pass


class Dying:
    def __init__(self, record: Any, segments: int) -> None:
        self.record, self.left = record, segments

    def append(self, events: Any) -> None:
        if self.left == 0:
            raise Died
        self.left -= 1
        self.record.append(events)


def history(folder: Path, pool: FreePool, evaluations: int = 40, name: str = "run") -> list[Event]:
    session(folder / name, pool, evaluations)
    return without_clock(read_events(folder / name)[0])


def test_candidate_b_is_asked_for_when_births_up_to_b_minus_the_lag_are_told(
    tmp_path: Path,
) -> None:
    told = asked = 0
    for event in history(tmp_path, FreePool(5)):
        if isinstance(event, Told):
            assert event.birth == told
            told += 1
        else:
            assert event.birth == asked
            assert told == max(0, asked - CONFIG.evolution.lag + 1)
            asked += 1
    assert told == asked == 40


@settings(max_examples=12, deadline=None)
@given(capacity=st.integers(1, 5), seed=st.integers(0, 2**32), deaths=st.lists(st.integers(0, 6)))
def test_neither_the_number_of_workers_nor_their_speed_nor_deaths_change_the_history(
    capacity: int, seed: int, deaths: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        expected = history(Path(folder), FreePool(1), name="one")
        for segments in deaths:
            try:
                session(Path(folder) / "run", FreePool(capacity, random.Random(seed)), 40, segments)
            except Died:
                seed += 1
        found = history(Path(folder), FreePool(capacity, random.Random(seed)))
        assert repr(found) == repr(expected)


@settings(max_examples=4, deadline=None)
@given(capacity=st.integers(1, 5), seed=st.integers(0, 2**32), deaths=st.lists(st.integers(0, 6)))
def test_nor_do_they_change_it_where_trainings_are_stopped_at_hurdles(
    capacity: int, seed: int, deaths: list[int]
) -> None:
    rungs = RungsConfig(fractions=(0.1, 0.3), least=2)
    with tempfile.TemporaryDirectory() as folder:
        one, run = Path(folder) / "one", Path(folder) / "run"
        session(one, FreePool(1, score=climbed), 40, rungs=rungs)
        expected = without_clock(read_events(one)[0])
        stops = [e for e in expected if isinstance(e, Told) and e.status == "stopped"]
        assert {event.steps for event in stops} == {40, 120}
        for segments in [*deaths, None]:
            pool = FreePool(capacity, random.Random(seed), score=climbed)
            try:
                session(run, pool, 40, segments, rungs=rungs)
            except Died:
                seed += 1
        assert repr(without_clock(read_events(run)[0])) == repr(expected)


def test_a_raised_budget_asks_for_the_candidates_it_would_have_asked_for_from_the_start(
    tmp_path: Path,
) -> None:
    whole = history(tmp_path, FreePool(3), 40, name="whole")
    for evaluations in (2, 9, 10, 12, 25):
        history(tmp_path, FreePool(3), evaluations)
    raised = history(tmp_path, FreePool(2), 40)

    def by_birth(events: list[Event]) -> list[Event]:
        return sorted(events, key=lambda event: (isinstance(event, Told), event.birth))

    assert by_birth(raised) == by_birth(whole)


@pytest.mark.parametrize("kind", ["timed_out", "worker_lost", "out_of_memory"])
def test_a_failure_that_may_be_the_machines_is_tried_again_and_not_recorded(
    tmp_path: Path, kind: Any
) -> None:
    expected = history(tmp_path, FreePool(3), name="undisturbed")
    found = history(tmp_path, FreePool(3, score=failing(kind, birth=7, times=2)))
    assert found == expected


def test_what_fails_each_time_stops_the_run_which_can_be_resumed(tmp_path: Path) -> None:
    expected = history(tmp_path, FreePool(3), name="undisturbed")
    with pytest.raises(Unrepeatable) as caught:
        session(tmp_path / "run", FreePool(3, score=failing("timed_out", birth=7, times=3)), 40)
    assert "birth 7 ended 3 times as timed_out, the last time: it took too long" in str(
        caught.value
    )
    assert "resume with more time (--evaluation-seconds" in str(caught.value)
    events = without_clock(read_events(tmp_path / "run")[0])
    assert events == expected[: len(events)]
    assert max(event.birth for event in events if isinstance(event, Told)) == 6
    assert history(tmp_path, FreePool(3)) == expected


def test_a_result_of_another_engine_stops_the_run(tmp_path: Path) -> None:
    def score(request: Any) -> Any:
        engine = "free fused" if request.birth < 9 else "native/avx2 fused"
        return failed(request, "diverged", "nan", engine=engine, worker="worker-3@else")

    with pytest.raises(Unrepeatable, match="birth 9 was trained by native/avx2 on worker-3@else"):
        session(tmp_path / "run", FreePool(1, score=score), 40)
    told = [e.birth for e in read_events(tmp_path / "run")[0] if isinstance(e, Told)]
    assert told == list(range(9))


def searched(folder: Path, workers: int, *more: str, run: str | None = None) -> list[Event]:
    run = run or f"run{workers}"
    words = arguments(folder, "--evaluations", "24", "--deterministic", "--seeds", "1", run=run)
    words[words.index("--workers") + 1] = str(workers)
    done = evo_nas(*words, "--top", "1", *more, cwd=folder)
    assert done.returncode == 0, done.stderr
    events = read_events(folder / run)[0]
    return without_clock(events + read_events(folder / run / "comparisons" / "001")[0])


@pytest.mark.parametrize(
    "rungs",
    [
        pytest.param(("--rungs", "0.25,0.5"), id="rungs", marks=pytest.mark.slow),
        pytest.param((), id="whole", marks=pytest.mark.slow),
    ],
)
def test_no_worker_and_two_workers_write_the_same_record(
    tmp_path: Path, rungs: tuple[str, ...]
) -> None:
    expected = searched(tmp_path, 0, *rungs)
    assert repr(searched(tmp_path, 2, *rungs)) == repr(expected)
    for workers, cohort in ((0, "5"), (2, "3")):
        run = f"cohorts{workers}"
        found = searched(tmp_path, workers, *rungs, "--cohort", cohort, run=run)
        assert repr(found) == repr(expected)
    stops = sum(isinstance(event, Told) and event.status == "stopped" for event in expected)
    assert (stops > 4) == bool(rungs)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_zero_one_two_and_four_workers_of_random_speed_write_the_same_record(
    tmp_path: Path,
) -> None:
    task = ("--task", "tests.delayed_task:delayed")
    expected = searched(tmp_path, 0, *task)
    assert len(expected) == 2 * 24 + 2 * 3
    for round_ in range(3):
        for workers in (1, 2, 4):
            found = searched(tmp_path, workers, *task, run=f"run{round_}-{workers}")
            assert repr(found) == repr(expected)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--hours", "1"), "a deterministic run has no budget in hours"),
        (("--evaluations", "9", "--lag", "3", "--workers", "4"), "4 workers are more than"),
    ],
)
def test_what_would_make_a_history_depend_on_the_machine_is_refused(
    tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    refused = evo_nas(*arguments(tmp_path, "--deterministic"), *flags)
    assert refused.returncode == 1
    assert message in refused.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_deterministic_run_is_not_resumed_with_another_engine(tmp_path: Path) -> None:
    searched(tmp_path, 0, run="run")
    path = tmp_path / "run" / HEADER
    document = unsealed(path.read_bytes())
    path.write_bytes(sealed(document | {"engine": "native/sve"}))
    refused = evo_nas("resume", str(tmp_path / "run"), "--evaluations", "30")
    assert refused.returncode == 1
    assert "is deterministic and was trained by native/sve, but here it would be" in refused.stderr
    assert "their last bits differ" in refused.stderr
