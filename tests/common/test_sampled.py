"""Rates, averages and maxima over windows, against Kafka's rules."""

from __future__ import annotations

import math

import pytest

from streamkit.common.sampled import Sampled

START = 1_000_000.0


def test_first_burst_is_spread_over_all_windows_but_one() -> None:
    sampled = Sampled(START)
    sampled.observe(600, START + 1)
    assert sampled.rate(START + 1) == pytest.approx(600 / 30.001)
    assert sampled.count_rate(START + 1) == pytest.approx(1 / 30.001)


def test_rate_counts_two_windows() -> None:
    sampled = Sampled(START)
    for second in range(60):
        sampled.observe(10, START + second * 1000)
    assert sampled.rate(START + 59_000) == pytest.approx(600 / 59)


def test_windows_that_are_too_old_do_not_count() -> None:
    sampled = Sampled(START)
    sampled.observe(1000, START)
    sampled.observe(4, START + 40_000)
    sampled.observe(2, START + 45_000)
    now = START + 61_000
    assert sampled.maximum(now) == 4
    assert sampled.minimum(now) == 2
    assert sampled.average(now) == 3
    assert sampled.rate(now) == pytest.approx(6 / 51)
    assert (sampled.total, sampled.total_count) == (1006, 3)


def test_nothing_lately_is_no_number_but_a_rate_of_zero() -> None:
    sampled = Sampled(START)
    sampled.observe(7, START)
    now = START + 600_000
    assert math.isnan(sampled.average(now))
    assert math.isnan(sampled.maximum(now))
    assert math.isnan(sampled.minimum(now))
    assert sampled.rate(now) == 0.0


def test_one_observation_may_stand_for_many() -> None:
    sampled = Sampled(START)
    sampled.observe(30.0, START, count=6)
    assert sampled.average(START) == 5
    assert sampled.total_count == 6


def test_a_single_window_has_a_bounded_rate() -> None:
    sampled = Sampled(START, windows=1, window_ms=2000)
    sampled.observe(8, START)
    assert sampled.rate(START) == 4
