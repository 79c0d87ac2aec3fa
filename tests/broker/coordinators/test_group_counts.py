"""Rebalances are counted by new epochs and generations, deleted offsets by their tombstones."""

from __future__ import annotations

from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.counts import GroupCounts, offset_tombstones


def classic(generation: int, members: int) -> rec.Record:
    member = rec.ClassicMember(
        member_id="m-7", client_id="c", client_host="h", session_timeout=5, subscription=b"",
        assignment=b"a",
    )  # fmt: skip
    value = rec.GroupMetadataValue(
        protocol_type="consumer", generation=generation, protocol="range", leader="m-7",
        members=(member,) * members,
    )  # fmt: skip
    return rec.Record(rec.GroupMetadataKey(group="readers"), value)


def consumer(group_id: str, epoch: int) -> rec.Record:
    value = rec.ConsumerGroupMetadataValue(epoch=epoch)
    return rec.Record(rec.ConsumerGroupMetadataKey(group_id=group_id), value)


def test_a_generation_counts_once_and_with_members_only() -> None:
    counts = GroupCounts()
    for each in (classic(3, 2), classic(3, 2), classic(4, 2), classic(5, 0)):
        counts.note([each])
    assert counts.classic_rebalances == 2


def test_an_epoch_counts_once_for_each_group() -> None:
    counts = GroupCounts()
    counts.note([consumer("a", 5), consumer("b", 5), consumer("a", 6)])
    assert (counts.consumer_rebalances, counts.classic_rebalances) == (3, 0)
    streams = rec.StreamsGroupMetadataValue(epoch=9, metadata_hash=4)
    record = rec.Record(rec.StreamsGroupMetadataKey(group_id="s"), streams)
    counts.note([record, record])
    assert (counts.streams_rebalances, counts.consumer_rebalances) == (1, 3)


def test_a_group_that_is_deleted_and_made_again_counts_again() -> None:
    counts = GroupCounts()
    gone = rec.Record(rec.ConsumerGroupMetadataKey(group_id="a"), None)
    counts.note([consumer("a", 5), gone, consumer("a", 5)])
    assert counts.consumer_rebalances == 2


def test_offset_tombstones_are_counted_apart_from_others() -> None:
    key = rec.OffsetCommitKey(group="a", topic="orders", partition=3)
    kept = rec.OffsetCommitValue(offset=7, metadata="", commit_timestamp=8)
    gone = rec.Record(rec.GroupMetadataKey(group="a"), None)
    assert offset_tombstones([rec.Record(key, None), rec.Record(key, kept), gone]) == 1
