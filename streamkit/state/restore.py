"""Where restoring a store begins, and whether what is on disk may be used at all.

The stored offset counts only for the changelog it came from: another topic id (a topic deleted
and made again, another cluster) or an offset outside the log means that the state is wiped.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from streamkit.state.formats import StoredOffset


@dataclass(frozen=True, slots=True)
class ChangelogBounds:
    """A changelog partition as it is when its task starts: [start, end)."""

    topic_id: UUID
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """Read the changelog from `position` up to `end`; first delete the store if `wipe` says why."""

    position: int
    end: int
    wipe: str | None = None


def plan_restore(stored: StoredOffset | None, bounds: ChangelogBounds) -> RestorePlan:
    """Decide from what the store says of itself and what the changelog is."""
    if stored is None:
        return RestorePlan(bounds.start, bounds.end)
    if stored.topic_id != bounds.topic_id:
        why = f"it belongs to topic id {stored.topic_id}, the changelog has {bounds.topic_id}"
        return RestorePlan(bounds.start, bounds.end, why)
    if not bounds.start <= stored.offset <= bounds.end:
        why = f"its offset {stored.offset} lies outside the log, {bounds.start} to {bounds.end}"
        return RestorePlan(bounds.start, bounds.end, why)
    return RestorePlan(stored.offset, bounds.end)
