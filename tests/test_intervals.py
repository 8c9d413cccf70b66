"""Intervals of a mean: against printed tables, and against what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evo_nas.intervals import Interval, bootstrap_interval, t_interval, t_quantile

TABLE = {
    # degrees of freedom: quantiles of 0.90, 0.95, 0.975, 0.99, 0.995 as printed in every textbook
    1: (3.078, 6.314, 12.706, 31.821, 63.657),
    2: (1.886, 2.920, 4.303, 6.965, 9.925),
    3: (1.638, 2.353, 3.182, 4.541, 5.841),
    4: (1.533, 2.132, 2.776, 3.747, 4.604),
    5: (1.476, 2.015, 2.571, 3.365, 4.032),
    9: (1.383, 1.833, 2.262, 2.821, 3.250),
    19: (1.328, 1.729, 2.093, 2.539, 2.861),
    30: (1.310, 1.697, 2.042, 2.457, 2.750),
    120: (1.289, 1.658, 1.980, 2.358, 2.617),
}
PROBABILITIES = (0.90, 0.95, 0.975, 0.99, 0.995)


@pytest.mark.parametrize("freedom", TABLE)
def test_quantiles_of_students_t_are_those_of_the_printed_table(freedom: int) -> None:
    found = [round(t_quantile(p, freedom), 3) for p in PROBABILITIES]
    assert found == list(TABLE[freedom])


@pytest.mark.parametrize("probability", [0.5001, 0.6, 0.9, 0.975, 0.9999, 1 - 1e-9])
def test_quantiles_agree_with_the_closed_forms_of_one_and_two_degrees(probability: float) -> None:
    cauchy = math.tan(math.pi * (probability - 0.5))
    assert t_quantile(probability, 1) == pytest.approx(cauchy, rel=1e-6)
    a = 4 * probability * (1 - probability)
    two = 2 * (probability - 0.5) * math.sqrt(2 / a)
    assert t_quantile(probability, 2) == pytest.approx(two, rel=1e-6)


def test_quantiles_are_symmetric_and_end_in_the_normal_distribution() -> None:
    assert t_quantile(0.025, 4) == -t_quantile(0.975, 4)
    assert t_quantile(0.5, 4) == pytest.approx(0, abs=1e-9)
    assert t_quantile(0.975, 1e6) == pytest.approx(1.959966, abs=1e-5)


def test_an_interval_of_five_values_is_the_one_of_the_textbook() -> None:
    # mean 3, standard deviation sqrt(2.5), t(0.975, 4) = 2.776445
    found = t_interval([1, 2, 3, 4, 5])
    assert found.mean == 3
    assert found.half_width == pytest.approx(2.776445 * math.sqrt(2.5 / 5), rel=1e-6)
    assert (found.low, found.high) == pytest.approx((3 - 1.963243, 3 + 1.963243), abs=1e-5)
    assert (found.count, found.level) == (5, 0.95)


def test_equal_values_have_an_interval_without_width() -> None:
    assert t_interval([0.25, 0.25, 0.25]) == Interval(0.25, 0.25, 0.25, 3)


def test_nineteen_of_twenty_intervals_hold_the_true_mean() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(7.0, 2.0, (2000, 5))
    held = sum(i.low <= 7 <= i.high for i in (t_interval(row.tolist()) for row in samples))
    assert 0.94 < held / 2000 < 0.96


def test_an_interval_that_touches_zero_does_not_exclude_it() -> None:
    assert Interval(1, 0.5, 1.5, 5).excludes_zero
    assert Interval(-1, -1.5, -0.5, 5).excludes_zero
    assert not Interval(1, 0.0, 2.0, 5).excludes_zero
    assert not Interval(0, -1, 1, 5).excludes_zero


def test_a_bootstrap_of_many_values_agrees_with_students_interval() -> None:
    values = np.random.default_rng(1).normal(3, 1, 200).tolist()
    ours = bootstrap_interval(values, np.random.default_rng(2))
    expected = t_interval(values)
    assert ours.mean == expected.mean
    assert (ours.low, ours.high) == pytest.approx((expected.low, expected.high), abs=0.01)


def test_a_bootstrap_of_five_values_is_too_narrow_as_its_docstring_says() -> None:
    rng = np.random.default_rng(3)
    samples = rng.normal(0.0, 1.0, (1000, 5))
    intervals = [bootstrap_interval(row.tolist(), rng, draws=400) for row in samples]
    held = sum(i.low <= 0 <= i.high for i in intervals)
    assert 0.80 < held / 1000 < 0.86


def test_a_bootstrap_depends_on_its_generator_alone_and_stays_within_the_values() -> None:
    values = [1.0, 5.0, 2.0, 2.5]
    first, again = (bootstrap_interval(values, np.random.default_rng(4)) for _ in range(2))
    assert first == again
    assert 1 <= first.low < first.mean < first.high <= 5
    wider = bootstrap_interval(values, np.random.default_rng(4), level=0.99)
    assert wider.low <= first.low and first.high <= wider.high


@pytest.mark.parametrize(
    ("values", "level", "message"),
    [
        ([], 0.95, "wants two values or more, not 0"),
        ([1.0], 0.95, "one tells nothing of the spread. Use more seeds."),
        ([1.0, math.nan], 0.95, "wants finite values, not nan"),
        ([1.0, 2.0], 1.0, "lies between 0 and 1, as 0.95; not 1.0"),
    ],
)
def test_what_has_no_interval_is_refused(values: list[float], level: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        t_interval(values, level)
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(values, np.random.default_rng(0), level)


def test_quantiles_and_draws_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="a probability between 0 and 1, not of 1"):
        t_quantile(1, 4)
    with pytest.raises(ValueError, match="degrees of freedom above 0, not 0"):
        t_quantile(0.9, 0)
    with pytest.raises(ValueError, match="a bootstrap of 0 draws has no interval"):
        bootstrap_interval([1.0, 2.0], np.random.default_rng(0), draws=0)
