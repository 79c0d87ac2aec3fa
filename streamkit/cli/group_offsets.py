"""A group's offsets beside the ends of its logs, and where a reset would put them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from streamkit.client.admin import Admin
from streamkit.client.offsets import CommittedOffset, Membership
from streamkit.common.errors import UsageError
from streamkit.common.model import TopicPartition

_AGO = re.compile(r"(\d{1,18})(s|m|h|d)")
_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
EPOCH_YEAR = 1970


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition; `committed` is None where the group committed nothing."""

    partition: TopicPartition
    committed: int | None
    start: int
    end: int

    @property
    def lag(self) -> int:
        """Records, markers included, between what is committed and the end."""
        return max(self.end - (self.start if self.committed is None else self.committed), 0)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a reset goes: to an end of the log, an offset, a time, or so far from here."""

    kind: str
    number: int = 0


def parse_position(text: str, now_ms: int) -> Position:
    """`earliest`, `latest`, `current`, an offset, `+N`, `-N`, `2h` (ago) or a time in ISO 8601.

    A time before 1970 is the earliest: timestamps below 0 mean something else to a broker. Raises
    UsageError for anything else.
    """
    if text in ("earliest", "latest", "current"):
        return Position(text)
    if re.fullmatch(r"[+-]\d{1,18}", text):
        return Position("shift", int(text))
    if re.fullmatch(r"\d{1,18}", text):
        return Position("offset", int(text))
    if ago := _AGO.fullmatch(text):
        return _time(now_ms - int(ago[1]) * _UNITS_MS[ago[2]])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--to {text!r}: give earliest, latest, current, an offset, +N or -N, "
            "how long ago (90s, 15m, 2h, 7d) or a time like 2026-05-01T12:00:00"
        ) from None
    if moment.year < EPOCH_YEAR:
        return Position("earliest")
    try:
        return _time(int(moment.timestamp() * 1000))
    except (OverflowError, ValueError):
        raise UsageError(f"--to {text!r}: no clock goes so far") from None


def _time(time_ms: int) -> Position:
    return Position("time", time_ms) if time_ms >= 0 else Position("earliest")


async def lags(
    admin: Admin,
    group_id: str,
    topics: Iterable[str] | None = None,
    also: Iterable[TopicPartition] = (),
) -> list[PartitionLag]:
    """All partitions of these topics, or all that are committed and `also` these, in order."""
    committed = await admin.offsets.fetch(Membership(group_id))
    wanted: Iterable[TopicPartition] = (
        {*committed, *also} if topics is None else await partitions_of(admin, topics)
    )
    known = set(await admin.list_topics(internal=True))
    wanted = sorted((tp for tp in wanted if tp.topic in known), key=_order)
    starts = await admin.offsets.start_offsets(wanted)
    ends = await admin.offsets.end_offsets(wanted)
    return [
        PartitionLag(tp, committed[tp].offset if tp in committed else None, starts[tp], ends[tp])
        for tp in wanted
    ]


async def partitions_of(admin: Admin, topics: Iterable[str]) -> list[TopicPartition]:
    """The partitions of those topics that exist."""
    known = set(await admin.list_topics(internal=True))
    found = await admin.describe_topics([name for name in topics if name in known])
    return [
        TopicPartition(name, partition)
        for name, view in found.items()
        for partition in range(len(view.partitions))
    ]


async def new_offsets(
    admin: Admin, current: Iterable[PartitionLag], position: Position
) -> dict[TopicPartition, int]:
    """Where each partition would be; never outside of its log."""
    now = list(current)
    if position.kind == "time":
        return await _at_time(admin, now, position.number)
    wanted = {each.partition: _wanted(each, position) for each in now}
    return {each.partition: min(max(wanted[each.partition], each.start), each.end) for each in now}


def _wanted(each: PartitionLag, position: Position) -> int:
    here = each.start if each.committed is None else each.committed
    match position.kind:
        case "earliest":
            return each.start
        case "latest":
            return each.end
        case "offset":
            return position.number
        case "shift":
            return here + position.number
    assert position.kind == "current", f"no such position: {position}"
    return each.end if each.committed is None else each.committed


async def commit(admin: Admin, group_id: str, offsets: Mapping[TopicPartition, int]) -> None:
    """Commit for a group without members."""
    rows = {tp: CommittedOffset(offset) for tp, offset in offsets.items()}
    await admin.offsets.commit(Membership(group_id), rows)


async def _at_time(
    admin: Admin, now: Iterable[PartitionLag], time_ms: int
) -> dict[TopicPartition, int]:
    ends = {each.partition: each.end for each in now}
    listed = await admin.offsets.list_offsets(dict.fromkeys(ends, time_ms))
    return {tp: ends[tp] if found.offset < 0 else found.offset for tp, found in listed.items()}


def _order(tp: TopicPartition) -> tuple[str, int]:
    return tp.topic, tp.partition
