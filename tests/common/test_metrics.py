"""Counters, gauges, distributions, and their text."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import pytest

from streamkit.common.metrics import (
    QUANTILES,
    RING_SIZE,
    Distribution,
    Family,
    Kind,
    Registry,
    Sample,
    expose,
)

LINE = re.compile(
    r"[a-zA-Z_:][a-zA-Z0-9_:]*"
    r'(\{[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\n"])*"(,[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\n"])*")*\})?'
    r" (NaN|[+-]Inf|-?\d+(\.\d+)?(e[+-]?\d+)?)"
)
"""A sample in the format's own grammar."""


def test_text_of_every_kind() -> None:
    registry = Registry()
    requests = registry.counters("requests_total", "Requests.", "request", "version")
    requests.of("Produce", "13").add(3)
    requests.of("Fetch", "18").value += 2
    registry.gauge("temperature", "Now.").set(-1.5)
    registry.gauge_of("size", "Read when asked.", lambda: 7)
    times = registry.distribution("time_ms", "How long.")
    times.observe(4.0)
    times.observe(2.5)
    assert registry.expose() == (
        "# HELP requests_total Requests.\n"
        "# TYPE requests_total counter\n"
        'requests_total{request="Produce",version="13"} 3\n'
        'requests_total{request="Fetch",version="18"} 2\n'
        "# HELP size Read when asked.\n"
        "# TYPE size gauge\n"
        "size 7\n"
        "# HELP temperature Now.\n"
        "# TYPE temperature gauge\n"
        "temperature -1.5\n"
        "# HELP time_ms How long.\n"
        "# TYPE time_ms summary\n"
        'time_ms{quantile="0.50"} 2.5\n'
        'time_ms{quantile="0.75"} 4\n'
        'time_ms{quantile="0.95"} 4\n'
        'time_ms{quantile="0.98"} 4\n'
        'time_ms{quantile="0.99"} 4\n'
        'time_ms{quantile="0.999"} 4\n'
        "time_ms_sum 6.5\n"
        "time_ms_count 2\n"
    )


def test_awkward_texts_and_numbers_keep_to_the_grammar() -> None:
    labels = (("topic", 'a"b\\c\nd'), ("group", "größe, {x}"))
    values = (math.nan, math.inf, -math.inf, 1e300, 2**60 + 1, 0.1, -0.0, True)
    samples = [Sample(labels, value) for value in values]
    lines = expose([Family("odd", Kind.GAUGE, "one\\two\nthree", samples)]).splitlines()
    assert lines[0] == "# HELP odd one\\\\two\\nthree"
    assert [line for line in lines[2:] if not LINE.fullmatch(line)] == []
    assert lines[2].startswith('odd{topic="a\\"b\\\\c\\nd",group="größe, {x}"} NaN')
    assert lines[6].endswith(" 1152921504606846977")


def test_families_without_samples_are_left_out() -> None:
    registry = Registry()
    registry.counters("unused_total", "Never of anything.", "topic")
    assert registry.expose() == ""


def test_forgotten_labels_are_shown_no_more() -> None:
    registry = Registry()
    ends = registry.gauges("log_end", "Offsets.", "topic")
    ends.of("kept").set(5)
    ends.of("deleted").set(6)
    ends.forget("deleted")
    ends.forget("never there")
    assert [sample.labels for sample in registry.collect()[0].samples] == [(("topic", "kept"),)]


def test_collectors_are_asked_at_each_scrape() -> None:
    offsets = [41]
    registry = Registry()
    registry.add_collector(
        lambda: [Family("offset", Kind.GAUGE, "The end.", [Sample((), offsets[0])])]
    )
    before = registry.expose()
    offsets[0] = 42
    assert before.endswith("offset 41\n")
    assert registry.expose().endswith("offset 42\n")


def test_a_name_belongs_to_one_metric() -> None:
    registry = Registry()
    registry.counter("twice_total", "First.")
    with pytest.raises(AssertionError, match="twice_total already"):
        registry.gauge("twice_total", "Second.")


def test_distribution_remembers_the_last_observations_only() -> None:
    distribution = Distribution()
    for value in range(RING_SIZE + 300):
        distribution.observe(float(value))
    recent = distribution.recent()
    assert (len(recent), recent[0], recent[-1]) == (RING_SIZE, 300.0, RING_SIZE + 299.0)
    assert distribution.count == RING_SIZE + 300
    assert distribution.sum == sum(range(RING_SIZE + 300))


@pytest.mark.parametrize("count", [1, 2, 3, 19, 20, 100, 999, 1000])
def test_quantile_is_the_smallest_value_that_enough_do_not_exceed(count: int) -> None:
    distribution = Distribution()
    for value in range(count, 0, -1):
        distribution.observe(value)
    for text, fraction in QUANTILES:
        assert distribution.quantile(fraction) == math.ceil(Fraction(text) * count)


def test_quantile_of_nothing_is_zero() -> None:
    assert Distribution().quantile(0.99) == 0.0
