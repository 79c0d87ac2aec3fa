"""ListGroups: the groups of all types, by state and type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from streamkit.broker.coordinators.group.state import GroupShard

CLASSIC = "classic"
CONSUMER = "consumer"
STREAMS = "streams"
EMPTY = "Empty"


class ListedGroup(NamedTuple):
    """One group, by the message's field names."""

    group_id: str
    protocol_type: str
    group_state: str
    group_type: str


def list_groups(
    shard: GroupShard, states: Sequence[str] = (), types: Sequence[str] = ()
) -> list[ListedGroup]:
    """The groups in one of the states and of one of the types; in any when none is named."""
    wanted_states = {each.lower() for each in states}
    wanted_types = {each.lower() for each in types}
    return [
        group
        for group in _all(shard)
        if (not wanted_states or group.group_state.lower() in wanted_states)
        and (not wanted_types or group.group_type.lower() in wanted_types)
    ]


def _all(shard: GroupShard) -> Iterator[ListedGroup]:
    for group_id, classic in shard.classic.items():
        yield ListedGroup(group_id, classic.protocol_type or "", classic.state.value, CLASSIC)
    for group_id, consumer in shard.consumer.items():
        yield ListedGroup(group_id, "consumer", consumer.state.value, CONSUMER)
    for group_id, streams in shard.streams.items():
        yield ListedGroup(group_id, "streams", streams.state.value, STREAMS)
    for group_id in shard.offsets.by_group:
        if not shard.is_typed(group_id):
            # A simple group: it has offsets and nothing else.
            yield ListedGroup(group_id, "", EMPTY, CLASSIC)
