"""The pool that evaluates in process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from misbehaving import asked

from workers.limits import Limits, PoolError
from workers.messages import Result
from workers.open_pool import open_pool

TASK: object = object()
EVALUATOR = "misbehaving:evaluator"


def settled(genome: str, limits: Limits | None = None) -> Result:
    pool = open_pool(0, TASK, limits or Limits(), evaluator=EVALUATOR)  # type: ignore[arg-type]
    pool.submit(asked(genome, birth=3))
    (result,) = pool.poll(0)
    assert pool.poll(0) == [] and pool.free() == 1 and pool.running() == []
    return result


def test_a_request_runs_when_polled_and_settles_once() -> None:
    result = settled("behaves")
    assert (result.birth, result.seed, result.fitness) == (3, 103, -2.5)
    assert result.worker == "in-process"


def test_a_taken_request_fills_the_pool_until_it_settles() -> None:
    pool = open_pool(0, TASK, Limits(), evaluator=EVALUATOR)  # type: ignore[arg-type]
    assert pool.capacity == pool.free() == 1
    pool.submit(asked("behaves", birth=8))
    assert pool.free() == 0
    assert [progress.birth for progress in pool.running()] == [8]
    with pytest.raises(RuntimeError, match="no slot is free: birth 8 has not settled"):
        pool.submit(asked("behaves", birth=9))
    pool.close()
    assert pool.poll(0) == []


@pytest.mark.parametrize(
    ("genome", "kind", "message"),
    [
        ("raises", "error", "ValueError: the candidate has no business here"),
        ("raises_the_unpicklable", "error", "Unpicklable: carries a lock"),
        ("allocates_too_much", "out_of_memory", "MemoryError"),
        ("gives_fitness:nan", "diverged", "the fitness is nan"),
        ("gives_fitness:inf", "diverged", "the fitness is inf"),
        ("gives_metric:-inf", "diverged", "the metric is -inf"),
        ("gives_metric:1e200", "diverged", "the metric is 1e+200"),
        ("gives_no_fitness", "error", "gave None as fitness, not a number"),
        ("gives_text_as_fitness", "error", "gave an object of type str as fitness"),
        ("gives_a_dictionary", "error", "gave an object of type dict, not a Result"),
        ("gives_nothing", "error", "ended without a result"),
        ("gives_another_birth", "error", "a result for birth 4 and seed 103, but was asked for"),
        ("gives_fitness_and_failure", "error", "a result has one or the other"),
        ("gives_an_unknown_failure", "error", "unknown failure 'bored'"),
        ("gives_an_unpicklable_curve", "error", "gave a broken result"),
    ],
)
def test_whatever_goes_wrong_becomes_a_failure_that_says_so(
    genome: str, kind: str, message: str
) -> None:
    result = settled(genome)
    assert result.failure is not None
    assert result.failure.kind == kind
    assert message in result.failure.message
    assert result.fitness is None and result.metric is None


def test_an_endless_message_is_cut_to_its_ends() -> None:
    result = settled("raises_without_end")
    assert result.failure is not None
    assert result.failure.message.startswith("ValueError: long long")
    assert len(result.failure.message) <= 2000


def test_an_error_shows_the_line_that_raised_it() -> None:
    result = settled("raises")
    assert result.failure is not None
    assert "misbehaving.py" in result.failure.message
    assert 'raise ValueError("the candidate' in result.failure.message


class Clock:
    """Stands for `time`: a quarter of an hour goes by whenever it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 900
        return self.now


def test_a_slow_evaluation_ends_at_its_next_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.local.time", Clock())
    result = settled("takes:3600", Limits(evaluation_seconds=3600))
    assert result.failure is not None
    assert result.failure.kind == "timed_out"
    assert result.failure.message == "the evaluation took longer than 3600 s."
    assert result.seconds == 4500
    assert len(result.curve) == 5, "what was reported is kept"


def test_ctrl_c_passes_and_leaves_the_request_to_the_next_poll(tmp_path: Path) -> None:
    pool = open_pool(0, TASK, Limits(), evaluator=EVALUATOR)  # type: ignore[arg-type]
    pool.submit(asked(f"is_interrupted_once:{tmp_path / 'marker'}"))
    with pytest.raises(KeyboardInterrupt):
        pool.poll(0)
    assert pool.free() == 0
    (result,) = pool.poll(0)
    assert result.fitness == -2.5


def test_torch_uses_one_thread_and_gets_its_own_number_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert settled("says_where_it_is").engine.endswith("threads=1")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_evaluating_in_process_imports_no_ray() -> None:
    script = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from workers.open_pool import open_pool; from workers.limits import Limits\n"
        "from misbehaving import asked\n"
        "pool = open_pool(0, None, Limits(), evaluator='misbehaving:evaluator')\n"
        "pool.submit(asked('behaves')); assert pool.poll(0)[0].fitness == -2.5\n"
        "print([name for name in ('ray', 'torch') if name in sys.modules])\n"
    )
    root = Path(__file__).parent.parent
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"


def test_an_address_without_workers_is_refused() -> None:
    with pytest.raises(PoolError, match="workers is 0, .* but the address is 'auto'"):
        open_pool(0, TASK, Limits(), address="auto")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("misbehaving", "write it as package.module:function"),
        ("misbehaving:nobody", "module 'misbehaving' has no function 'nobody'"),
    ],
)
def test_a_missing_evaluator_is_named(name: str, message: str) -> None:
    with pytest.raises(PoolError, match=message):
        open_pool(0, TASK, Limits(), evaluator=name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"evaluation_seconds": 0}, "evaluation_seconds is 0; it must be a number of seconds"),
        ({"stall_seconds": float("nan")}, "stall_seconds is nan"),
        ({"start_seconds": None}, "start_seconds is None"),
        ({"attempts": 0}, "attempts is 0; it must be a whole number from 1 up"),
    ],
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, float], message: str) -> None:
    with pytest.raises(PoolError, match=message):
        Limits(**limits)  # type: ignore[arg-type]
