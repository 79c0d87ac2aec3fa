"""A number that a processor counts, for the metrics of its worker (Kafka's `StreamsMetrics`)."""

from __future__ import annotations


class Sensor:
    """Counts what happened and, where it is told, how long it took or how much it was."""

    __slots__ = ("count", "measured", "name", "total")

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0
        self.measured = 0
        self.total = 0.0

    def record(self, value: float | None = None) -> None:
        """It happened once; `value` is averaged: milliseconds, bytes, whatever the name says.

        >>> lookups = Sensor("lookups")
        >>> lookups.record(12.5)
        >>> lookups.count
        1
        """
        self.count += 1
        if value is not None:
            self.measured += 1
            self.total += value
