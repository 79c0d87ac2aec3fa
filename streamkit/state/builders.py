"""Descriptions of stores: what a topology asks for and a task builds.

A builder is data. It names the store, its serdes and its options, and does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from streamkit.serdes import Serde
from streamkit.serdes.serde import for_keys


class StoreKind(Enum):
    """Which interface the store has."""

    KEY_VALUE = "key-value"
    TIMESTAMPED_KEY_VALUE = "timestamped-key-value"
    WINDOW = "window"
    SESSION = "session"
    JOIN_WINDOW = "join-window"
    UNMATCHED = "unmatched"
    SUPPRESS_BUFFER = "suppress-buffer"
    TIME_BUFFER = "time-buffer"
    VERSIONED = "versioned"
    HEADERS = "headers-key-value"

    @property
    def is_windowed(self) -> bool:
        """Whether its rows have a time by which they expire."""
        return self in {StoreKind.WINDOW, StoreKind.SESSION, StoreKind.JOIN_WINDOW}


@dataclass(frozen=True, slots=True)
class StoreBuilder:
    """One store of a sub-topology.

    `changelog_topic` overrides the generated `<application.id>-<name>-changelog` (a source topic
    that serves as changelog). `retention_ms` and `window_ms` are those of windowed stores; of
    versioned ones `retention_ms` is the history, and `segment_ms` what it is cut into.
    """

    name: str
    kind: StoreKind
    key_serde: Serde[Any]
    value_serde: Serde[Any]
    persistent: bool = True
    logging_enabled: bool = True
    caching_enabled: bool = False
    changelog_configs: Mapping[str, str] = field(default_factory=dict)
    changelog_topic: str | None = None
    retention_ms: int = 0
    window_ms: int = 0
    window_end: Callable[[int], int] | None = None
    """The end of a window by its start, where windows are not all of one size."""
    segment_ms: int = 0
    ttl_ms: int = 0
    """How long a row of a key-value store lives after its timestamp; 0 for ever."""
    entries_max: int = 0
    """How many rows a key-value store holds, the most recently used ones; 0 for any number."""
    interface: Callable[[Any], Any] | None = None
    """What processors see in its place: made of the store, for each task."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key_serde", for_keys(self.key_serde))


def segment_ms_of(history_ms: int) -> int:
    """How much time a segment of a history spans when nothing else is said, as in Kafka."""
    for most_ms, parts, least_ms in (
        (60_000, 3, 2_000),
        (300_000, 5, 20_000),
        (3_600_000, 12, 60_000),
    ):
        if history_ms <= most_ms:
            return max(history_ms // parts, least_ms)
    return max(history_ms // 24, 300_000)
