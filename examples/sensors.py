"""Sensors: the mean of each minute, told once, when the minute has closed.

A reading that cannot be read, or cannot be true, goes to `readings.dlq` with headers that say why.

    streamkit run examples/sensors.py
"""

from __future__ import annotations

from dataclasses import dataclass

import streamkit as sk

ABSOLUTE_ZERO = -273.15
DEAD = sk.dead_letter("readings.dlq")


@dataclass(frozen=True, slots=True)
class Reading:
    """One temperature; the record's key is the sensor."""

    celsius: float


@dataclass(frozen=True, slots=True)
class Sum:
    """What a mean is made of."""

    celsius: float = 0.0
    readings: int = 0


app = sk.App("sensors", on_deserialization_error=DEAD)

readings = app.topic("readings", key=str, value=Reading)
means = app.topic("means", key=str, value=float)


def checked(reading: Reading) -> Reading:
    """The reading, if it can be true."""
    if reading.celsius < ABSOLUTE_ZERO:
        raise ValueError(f"{reading.celsius} is below absolute zero")
    return reading


def add(_sensor: str, reading: Reading, so_far: Sum) -> Sum:
    """The sum with one more reading."""
    return Sum(so_far.celsius + reading.celsius, so_far.readings + 1)


def mean(window: sk.Windowed[str], total: Sum) -> tuple[str, float]:
    """The sensor and the minute, and their mean."""
    return f"{window.key}@{window.start}", total.celsius / total.readings


(
    app.stream(readings)
    .process(checked, on_error=DEAD)
    .group_by_key()
    .windowed_by(sk.tumbling("1m", grace="10s"))
    .aggregate(Sum(), add, name="sums")
    .suppress("window_closes", name="closed")
    .to_stream()
    .map(mean, key=str, value=float)
    .to(means)
)

if __name__ == "__main__":
    app.main()
