"""Ratios are taken within rounds, so that a slow stretch of the machine does not count."""

import numpy as np
import pytest

from bench.statistics import difference, median, quantile, ratio, turned


def test_the_ratio_is_reference_time_by_candidate_time() -> None:
    assert ratio([2.0, 2.0, 2.0], [1.0, 1.0, 1.0]) == (2.0, 2.0, 2.0)


def test_a_slow_stretch_of_the_machine_cancels() -> None:
    candidate = np.linspace(1, 2, 11)
    weather = np.array([1, 1, 1, 9, 9, 9, 9, 1, 1, 1, 1])
    found = ratio((1.5 * candidate * weather).tolist(), (candidate * weather).tolist())
    assert found.value == pytest.approx(1.5)
    assert found.low == pytest.approx(found.high)


def test_the_interval_holds_the_value_and_narrows_with_rounds() -> None:
    rng = np.random.default_rng(1)
    noisy = rng.lognormal(sigma=0.2, size=400)
    few, many = ratio(noisy[:8].tolist(), [0.5] * 8), ratio(noisy.tolist(), [0.5] * 400)
    for found in (few, many):
        assert found.low <= found.value <= found.high
    assert many.high - many.low < few.high - few.low
    assert many.low < 2 < many.high


def test_the_median_ignores_an_outlier() -> None:
    assert median([1.0, 1.1, 50.0]) == 1.1


def test_each_is_the_first_equally_often() -> None:
    assert [turned("abc", number) for number in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]


def test_one_round_has_no_interval() -> None:
    assert ratio([2.0], [1.0]) == (2.0, 2.0, 2.0)


def test_a_difference_is_taken_within_rounds() -> None:
    assert difference([1.5, 9.5, 1.5], [1.0, 9.0, 1.0]) == (0.5, 0.5, 0.5)


def test_a_quantile_lies_between_two_values_and_is_0_of_none() -> None:
    assert quantile([1, 3], 0.5) == 2
    assert quantile([], 0.5) == 0
