"""Exponential back-off with jitter, as Kafka's clients do it (KIP-144, KIP-580); pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

JITTER: Final = 0.2
"""The share of a delay that chance may add or take."""

EXPONENT_MAX: Final = 30
"""Attempts beyond this one wait as long as it does."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double from `first_ms` up to `max_ms`."""

    first_ms: int
    max_ms: int

    def delay_ms(self, attempts: int, chance: float) -> float:
        """The wait after so many failed attempts; `chance` is drawn from [0, 1)."""
        if attempts <= 0:
            return 0.0
        exponent = min(attempts - 1, EXPONENT_MAX)
        delay = min(float(self.max_ms), float(self.first_ms) * 2.0**exponent)
        return delay * (1.0 - JITTER + 2.0 * JITTER * chance)
