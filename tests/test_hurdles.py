"""Hurdles in a training: measured on the way without a trace, and an end where one is missed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from genomes import published
from tests.misbehaving import good
from tests.tiny import tiny_text
from workers.evaluator import checked
from workers.messages import Progress, Request, Result, Training, failed
from workers.tasks import load_task
from workers.tasks.base import Batch, Task
from workers.training import evaluate

SMALL = Training(hidden_size=8, steps=60, batch_size=4, learning_rate=1e-2)
DROPPING = replace(SMALL, num_layers=2, dropout=0.3, input_dropout=0.2, recurrent_dropout=0.2)
PASSED = ((1, None), (7, None), (9, -1e9), (30, None), (47, None))


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return load_task("text", str(tiny_text(tmp_path_factory.mktemp("data"))), {"length": 16})


def request(training: Training = SMALL, *hurdles: tuple[int, float | None]) -> Request:
    return Request(0, published("gru").to_json(), 1, training, hurdles=hurdles)


@pytest.mark.parametrize("training", [SMALL, DROPPING], ids=["plain", "dropout"])
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_hurdles_that_are_passed_change_no_bit(task: Task, engine: str, training: Training) -> None:
    training = replace(training, engine=engine)
    plain = evaluate(request(training), task)
    measured = evaluate(request(training, *PASSED), task)
    assert ("fused" in plain.engine) == (engine == "native")
    assert [step for step, _ in measured.rungs] == [1, 7, 9, 30, 47]
    assert len({metric for _, metric in measured.rungs}) == 5
    assert replace(measured, seconds=0.0, rungs=()) == replace(plain, seconds=0.0)
    assert (plain.steps, plain.rungs, plain.stopped) == (60, (), False)


def test_signs_of_life_at_every_chance_change_no_bit(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(replace(DROPPING, steps=340), (170, None), (203, None))
    quiet: list[Progress] = []
    plain = evaluate(asked, task, quiet.append)
    assert all(progress.on_curve for progress in quiet)
    monkeypatch.setattr("workers.training.SIGN_SECONDS", 0.0)
    seen: list[Progress] = []

    def look(progress: Progress) -> None:
        torch.rand(3)
        seen.append(progress)

    shown = evaluate(asked, task, look)
    assert replace(shown, seconds=0.0) == replace(plain, seconds=0.0)
    assert [progress for progress in seen if progress.on_curve] == quiet
    signs = Counter(progress.step for progress in seen if not progress.on_curve)
    batches = len(list(task.scoring_batches("validation")))
    # Between the reports at steps 17, 34, ..., and for each batch at the hurdles and at the end.
    assert signs.pop(170) == batches
    assert signs.pop(203) == signs.pop(340) + 1 == batches + 1
    assert signs == dict.fromkeys([16 + 17 * report for report in range(20) if report != 11], 1)


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_a_rung_is_what_a_training_that_ends_there_would_have(task: Task, engine: str) -> None:
    training = replace(SMALL, engine=engine, schedule="constant")
    rungs = evaluate(request(training, (7, None), (30, None)), task).rungs
    for step, metric in rungs:
        assert evaluate(request(replace(training, steps=step)), task).metric == metric


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_a_missed_hurdle_ends_the_training_there_with_its_metric(task: Task, engine: str) -> None:
    training = replace(SMALL, engine=engine)
    whole = evaluate(request(training, (7, None), (31, None)), task)
    seen: list[Progress] = []
    result = evaluate(request(training, (7, -9.0), (31, 0.0), (50, None)), task, seen.append)
    assert result.stopped
    assert result.failure is None
    assert result.steps == 31
    assert result.rungs == whole.rungs
    assert result.metric == whole.rungs[-1][1]
    assert result.fitness == -result.metric
    # The reports are those of the whole training, and one of what came after the last.
    assert result.curve[:-1] == tuple(pair for pair in whole.curve if pair[0] < 31)
    assert result.curve[-1][0] == seen[-1].step == 31
    assert {progress.steps for progress in seen} == {60}


def test_where_a_report_is_due_at_the_hurdle_there_is_one_and_not_two(task: Task) -> None:
    result = evaluate(request(SMALL, (30, 0.0)), task)
    assert result.stopped
    assert [step for step, _ in result.curve] == list(range(3, 31, 3))


def test_as_good_as_the_hurdle_is_good_enough(task: Task) -> None:
    ((_, metric),) = evaluate(request(SMALL, (20, None)), task).rungs
    assert not evaluate(request(SMALL, (20, -metric)), task).stopped
    above = math.nextafter(-metric, 0.0)
    assert evaluate(request(SMALL, (20, above)), task).stopped


class Scoring:
    """A task with another score."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.passes = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._task, name)

    def scoring_batches(self, part: str) -> Iterator[Batch]:
        self.passes += 1
        return self._task.scoring_batches("validation")


class Drawing(Scoring):
    def score(self, prediction: torch.Tensor, batch: Batch) -> tuple[float, int]:
        torch.rand(3)
        return self._task.score(prediction, batch)


class Late(Scoring):
    """No number from the second measurement on."""

    def score(self, prediction: torch.Tensor, batch: Batch) -> tuple[float, int]:
        total, count = self._task.score(prediction, batch)
        return (total if self.passes < 2 else math.nan), count


def test_a_score_that_draws_random_numbers_does_not_disturb_the_training(task: Task) -> None:
    plain = evaluate(request(DROPPING), Scoring(task))  # type: ignore[arg-type]
    measured = evaluate(request(DROPPING, *PASSED), Drawing(task))  # type: ignore[arg-type]
    assert measured.metric == plain.metric


def test_a_metric_at_a_rung_that_is_no_number_has_diverged(task: Task) -> None:
    result = evaluate(request(SMALL, (7, None), (31, None)), Late(task))  # type: ignore[arg-type]
    assert result.failure is not None
    assert result.failure.kind == "diverged"
    assert result.failure.message == "the validation cross-entropy is nan at step 31 of 60"
    assert (result.metric, result.fitness, result.stopped) == (None, None, False)
    assert result.steps == 31
    assert [step for step, _ in result.rungs] == [7]


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_a_failure_tells_the_steps_that_were_made(task: Task, engine: str) -> None:
    wild = replace(SMALL, engine=engine, learning_rate=1e38)
    result = evaluate(request(wild), task)
    assert result.failure is not None
    assert f"at step {result.steps + 1} of 60" in result.failure.message


@pytest.mark.parametrize(
    "hurdles", [((9, None), (7, None)), ((7, None), (7, 0.0)), ((0, None),), ((60, None),)]
)
def test_hurdles_that_do_not_ascend_within_the_budget_are_refused(
    task: Task, hurdles: tuple[tuple[int, float | None], ...]
) -> None:
    with pytest.raises(ValueError, match="must ascend and lie between 1 and 59, for the budget"):
        evaluate(request(SMALL, *hurdles), task)


ASKED = request(SMALL, (7, -3.0), (31, -2.0))
STOPPED = replace(
    good(ASKED), seed=1, steps=7, rungs=((7, 2.5),), metric=2.5, fitness=-2.5, stopped=True
)
WHOLE = replace(STOPPED, steps=60, rungs=((7, 2.9), (31, 1.9)), stopped=False)


@pytest.mark.parametrize(
    "result",
    [STOPPED, WHOLE, replace(WHOLE, steps=None), failed(ASKED, "diverged", "nan", steps=8)],
)
def test_a_result_that_fits_its_hurdles_is_taken(result: Result) -> None:
    taken = checked(ASKED, result, "w", 1.0)
    assert replace(taken, worker=result.worker) == result


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (replace(WHOLE, rungs=((7, 2.9),)), "says neither that it was stopped nor that it failed"),
        (replace(WHOLE, steps=59), "ended after 59 of 60 steps"),
        (replace(WHOLE, rungs=((8, 2.9),)), "but the hurdles stand at [7, 31]"),
        (replace(WHOLE, rungs=((7, math.nan),)), "gave the rungs ((7, nan),)"),
        (replace(STOPPED, steps=31), "it was stopped after 31 steps at metric 2.5, but"),
        (replace(STOPPED, metric=2.0), "a stopped result has the step and the metric of the last"),
        (replace(STOPPED, rungs=()), "but the rungs it came to are ()"),
        (replace(STOPPED, rungs=7), "gave a broken result"),
    ],
)
def test_a_result_that_contradicts_its_hurdles_is_an_error(result: Result, message: str) -> None:
    refused = checked(ASKED, result, "w", 1.0)
    assert refused.failure is not None
    assert refused.failure.kind == "error"
    assert message in refused.failure.message
    assert (refused.metric, refused.rungs, refused.stopped) == (None, (), False)
