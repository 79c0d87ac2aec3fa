"""Committing and fetching offsets: who may, what is answered, what expires."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from streamkit.broker.coordinators.group import commits
from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.coordinator import partition_for_group
from streamkit.broker.coordinators.group.requests import (
    CommitRequest,
    CommittedOffset,
    FetchRequest,
    OffsetToCommit,
)
from streamkit.broker.coordinators.group.state import GroupShard
from streamkit.broker.coordinators.group.streams.translate import (
    group_record,
    member_record,
    member_tombstones,
    topology_record,
)
from streamkit.common.model import TopicPartition
from streamkit.protocol.errors import ApiError, ErrorCode

TEXT_0 = TopicPartition("text", 0)
TEXT_1 = TopicPartition("text", 1)
NOW = 1_700_000_000_000
TOPIC_ID = UUID("ec209319-8c76-47d5-8dd7-3238e2678e23")
RETENTION_MS = 10_000


class Shard:
    """A shard that commits at once."""

    def __init__(self) -> None:
        self.state = GroupShard()
        self.offset = 40

    def replay(self, *records: rec.Record, producer_id: int = -1) -> None:
        for record in records:
            self.offset += 1
            self.state.replay(record, self.offset, producer_id)

    def commit(self, request: CommitRequest, now_ms: int = NOW) -> dict[TopicPartition, ErrorCode]:
        result = commits.commit(self.state, request, now_ms, 10)
        self.replay(*result.records)
        return result.response

    def refusal(self, request: CommitRequest) -> ErrorCode:
        with pytest.raises(ApiError) as refused:
            self.commit(request)
        return refused.value.code

    def fetch(self, request: FetchRequest) -> dict[TopicPartition, CommittedOffset]:
        return dict(commits.fetch(self.state, request).offsets)


def simple(group_id: str = "g-1", **changes: object) -> CommitRequest:
    request = CommitRequest(group_id, {TEXT_0: OffsetToCommit(77, 5, "m")})
    return replace(request, **changes)  # type: ignore[arg-type]


def streams_shard() -> Shard:
    """Member m-1 at epoch 6: task 0_0 given at epoch 4, 0_1 at 6, 0_2 to be given back."""
    shard = Shard()
    subtopology = rec.Subtopology(
        subtopology_id="0",
        source_topics=("text",),
        source_topic_regex=(),
        state_changelog_topics=(),
        repartition_sink_topics=(),
        repartition_source_topics=(),
        copartition_groups=(),
    )
    said = rec.StreamsGroupMemberMetadataValue(
        instance_id=None,
        rack_id=None,
        client_id="c-1",
        client_host="/h-1",
        rebalance_timeout_ms=300_000,
        topology_epoch=3,
        process_id="p-1",
        user_endpoint=None,
        client_tags=(),
    )
    topology = rec.StreamsGroupTopologyValue(epoch=3, subtopologies=(subtopology,))
    current = rec.StreamsGroupCurrentMemberAssignmentValue(
        member_epoch=6,
        previous_member_epoch=5,
        state=2,
        active_tasks=(
            rec.CurrentTaskIds(subtopology_id="0", partitions=(0, 1), assignment_epochs=(4, 6)),
        ),
        standby_tasks=(),
        warmup_tasks=(),
        active_tasks_pending_revocation=(
            rec.CurrentTaskIds(subtopology_id="0", partitions=(2,), assignment_epochs=(3,)),
        ),
        standby_tasks_pending_revocation=(),
        warmup_tasks_pending_revocation=(),
    )
    key = rec.StreamsGroupCurrentMemberAssignmentKey(group_id="g-1", member_id="m-1")
    shard.replay(
        group_record("g-1", 6, 99, 3, {}),
        topology_record("g-1", topology),
        member_record("g-1", "m-1", said),
        rec.Record(key, current),
    )
    return shard


def by_member(epoch: int, partition: int = 0, **changes: object) -> CommitRequest:
    offsets = {TopicPartition("text", partition): OffsetToCommit(77)}
    return simple(offsets=offsets, member_id="m-1", member_epoch=epoch, **changes)


def test_simple_commit_is_fetched_again() -> None:
    shard = Shard()
    assert shard.commit(simple()) == {TEXT_0: ErrorCode.none}
    answer = shard.fetch(FetchRequest("g-1", [TEXT_0, TEXT_1]))
    assert answer == {TEXT_0: CommittedOffset(77, 5, "m"), TEXT_1: CommittedOffset()}


def test_fetch_of_everything_names_every_partition_with_an_offset() -> None:
    shard = Shard()
    shard.commit(simple(offsets={TEXT_1: OffsetToCommit(8), TEXT_0: OffsetToCommit(9)}))
    assert list(shard.fetch(FetchRequest("g-1"))) == [TEXT_0, TEXT_1]
    assert shard.fetch(FetchRequest("g-other")) == {}


def test_too_long_metadata_is_an_error_of_its_partition() -> None:
    shard = Shard()
    offsets = {TEXT_0: OffsetToCommit(77, metadata="x" * 11), TEXT_1: OffsetToCommit(8)}
    errors = shard.commit(simple(offsets=offsets))
    assert errors == {TEXT_0: ErrorCode.offset_metadata_too_large, TEXT_1: ErrorCode.none}


def test_topic_id_is_kept_with_the_offset() -> None:
    result = commits.commit(GroupShard(), simple(topic_ids={"text": TOPIC_ID}), NOW, 10)
    value = result.records[0].value
    assert (value.topic_id, value.commit_timestamp) == (TOPIC_ID, NOW)


@pytest.mark.parametrize(
    ("api_version", "code"),
    [(9, ErrorCode.group_id_not_found), (8, ErrorCode.illegal_generation)],
)
def test_generation_of_an_absent_group_is_refused(api_version: int, code: ErrorCode) -> None:
    request = simple(member_id="m-1", member_epoch=5, api_version=api_version)
    assert Shard().refusal(request) is code


def test_generation_in_a_simple_group_is_refused() -> None:
    shard = Shard()
    shard.commit(simple())
    request = simple(member_id="m-1", member_epoch=5)
    assert shard.refusal(request) is ErrorCode.unknown_member_id


@pytest.mark.parametrize(
    ("epoch", "partition"),
    [(6, 0), (6, 1), (5, 0), (4, 0), (6, 3), (5, 2), (3, 2)],
)
def test_streams_commit_of_a_task_held_at_the_epoch_is_taken(epoch: int, partition: int) -> None:
    request = by_member(epoch, partition)
    assert streams_shard().commit(request) == dict.fromkeys(request.offsets, ErrorCode.none)


@pytest.mark.parametrize(("epoch", "partition"), [(7, 0), (5, 1), (3, 0), (-1, 0), (2, 2), (5, 3)])
def test_streams_commit_of_a_task_not_held_at_the_epoch_is_stale(
    epoch: int, partition: int
) -> None:
    refusal = streams_shard().refusal(by_member(epoch, partition))
    assert refusal is ErrorCode.stale_member_epoch


def test_streams_commit_of_others_is_refused() -> None:
    shard = streams_shard()
    assert shard.refusal(simple()) is ErrorCode.unknown_member_id
    stranger = by_member(6, api_version=9)
    assert shard.refusal(replace(stranger, member_id="m-2")) is ErrorCode.unknown_member_id
    assert shard.refusal(by_member(6, api_version=8)) is ErrorCode.unsupported_version


def test_simple_commit_to_an_empty_streams_group_is_taken() -> None:
    shard = streams_shard()
    shard.replay(*member_tombstones("g-1", "m-1"))
    assert shard.commit(simple()) == {TEXT_0: ErrorCode.none}


@pytest.mark.parametrize(
    ("member_id", "epoch", "error"),
    [
        (None, -1, ErrorCode.none),
        ("m-1", 6, ErrorCode.none),
        ("m-1", 5, ErrorCode.stale_member_epoch),
        ("m-1", 7, ErrorCode.stale_member_epoch),
        ("m-2", 6, ErrorCode.unknown_member_id),
    ],
)
def test_streams_fetch_checks_the_member(
    member_id: str | None, epoch: int, error: ErrorCode
) -> None:
    request = FetchRequest("g-1", [TEXT_0], member_id=member_id, member_epoch=epoch)
    assert commits.fetch(streams_shard().state, request).error is error


def pending(shard: Shard, partition: TopicPartition = TEXT_0) -> None:
    result = commits.commit(shard.state, simple(offsets={partition: OffsetToCommit(90)}), NOW, 10)
    shard.replay(*result.records, producer_id=9)


def test_offset_of_an_open_transaction_is_unstable() -> None:
    shard = Shard()
    shard.commit(simple())
    pending(shard)
    stable = FetchRequest("g-1", [TEXT_0, TEXT_1], require_stable=True)
    answer = shard.fetch(stable)
    assert answer[TEXT_0].error is ErrorCode.unstable_offset_commit
    assert answer[TEXT_1] == CommittedOffset()
    assert shard.fetch(FetchRequest("g-1", [TEXT_0]))[TEXT_0].offset == 77


@pytest.mark.parametrize(("is_commit", "offset"), [(True, 90), (False, 77)])
def test_marker_decides_the_offset(is_commit: bool, offset: int) -> None:
    shard = Shard()
    shard.commit(simple())
    pending(shard)
    shard.state.end_transaction(9, is_commit=is_commit)
    answer = shard.fetch(FetchRequest("g-1", [TEXT_0], require_stable=True))
    assert answer[TEXT_0].offset == offset


def test_plain_commit_after_a_pending_one_wins() -> None:
    shard = Shard()
    pending(shard)
    shard.commit(simple())
    shard.state.end_transaction(9, is_commit=True)
    assert shard.fetch(FetchRequest("g-1", [TEXT_0]))[TEXT_0].offset == 77


def expire(shard: Shard, after_ms: int) -> None:
    shard.replay(*commits.clean_up(shard.state, NOW + after_ms, RETENTION_MS).records)


def test_old_offsets_expire() -> None:
    shard = Shard()
    shard.commit(simple())
    shard.commit(simple(offsets={TEXT_1: OffsetToCommit(8)}), NOW + 5_000)
    expire(shard, RETENTION_MS)
    assert list(shard.fetch(FetchRequest("g-1"))) == [TEXT_1]


def test_offsets_of_source_topics_stay_while_members_are_there() -> None:
    shard = streams_shard()
    other = TopicPartition("other", 3)
    shard.commit(by_member(6))
    shard.commit(simple(offsets={other: OffsetToCommit(8)}, member_id="m-1", member_epoch=6))
    expire(shard, 10 * RETENTION_MS)
    assert list(shard.fetch(FetchRequest("g-1"))) == [TEXT_0]


def test_empty_group_without_offsets_is_removed() -> None:
    shard = streams_shard()
    shard.commit(by_member(6))
    shard.replay(*member_tombstones("g-1", "m-1"))
    expire(shard, 1)
    assert "g-1" in shard.state.streams
    expire(shard, 10 * RETENTION_MS)
    assert "g-1" not in shard.state.streams
    assert not shard.state.offsets.has_group("g-1")


def test_group_with_members_is_not_deleted() -> None:
    shard = streams_shard()
    assert commits.delete(shard.state, "g-1").response is ErrorCode.non_empty_group
    assert commits.delete(shard.state, "g-2").response is ErrorCode.group_id_not_found


def test_deleted_group_leaves_nothing() -> None:
    shard = streams_shard()
    shard.commit(by_member(6))
    shard.replay(*member_tombstones("g-1", "m-1"))
    result = commits.delete(shard.state, "g-1")
    shard.replay(*result.records)
    assert result.response is ErrorCode.none
    assert shard.state.streams == {}
    assert not shard.state.offsets.has_group("g-1")


def test_group_lives_where_java_puts_it() -> None:
    # "polygenelubricants" hashes to the smallest int, whose abs Kafka takes for 0.
    assert partition_for_group("polygenelubricants", 50) == 0
    assert partition_for_group("app", 4) == 1
    assert partition_for_group("", 50) == 0
    assert partition_for_group("grüße-🎉", 50) == 39


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        ({}, None),
        ({"member_id": "m-1", "member_epoch": 6}, None),
        ({"member_id": "m-1", "member_epoch": 4}, None),
        ({"member_id": "m-1", "member_epoch": 3}, ErrorCode.illegal_generation),
        ({"member_id": "m-1", "member_epoch": 7}, ErrorCode.illegal_generation),
        ({"member_id": "m-2", "member_epoch": 6}, ErrorCode.unknown_member_id),
    ],
)
def test_streams_member_is_fenced_in_transactions(
    member: dict[str, Any], expected: ErrorCode | None
) -> None:
    request = simple(is_transactional=True, api_version=3, **member)
    shard = streams_shard()
    if expected is None:
        assert shard.commit(request) == {TEXT_0: ErrorCode.none}
    else:
        assert shard.refusal(request) is expected


def test_group_that_is_not_there_has_no_generation_in_transactions() -> None:
    shard = Shard()
    member = simple(is_transactional=True, member_id="m-1", member_epoch=4)
    assert shard.refusal(member) is ErrorCode.illegal_generation
    assert shard.commit(simple(is_transactional=True)) == {TEXT_0: ErrorCode.none}


def test_group_lives_while_a_transaction_may_commit_its_offset() -> None:
    shard = Shard()
    committed = commits.commit(shard.state, simple(is_transactional=True), NOW, 10)
    shard.replay(*committed.records, producer_id=9)
    assert shard.state.offsets.has_group("g-1")
    assert not shard.state.offsets.has_group("g-2")
    shard.state.end_transaction(9, is_commit=False)
    assert not shard.state.offsets.has_group("g-1")


def test_offset_of_an_open_transaction_goes_with_its_group() -> None:
    shard = Shard()
    shard.commit(simple())
    pending(shard)
    pending(shard, TEXT_1)
    result = commits.delete(shard.state, "g-1")
    assert result.response is ErrorCode.none
    shard.replay(*result.records)
    shard.state.end_transaction(9, is_commit=True)
    assert not shard.state.offsets.has_group("g-1")


def test_offset_of_an_open_transaction_is_deleted() -> None:
    shard = Shard()
    pending(shard)
    result = commits.delete_offsets(shard.state, "g-1", [TEXT_0, TEXT_1])
    assert result.response == {TEXT_0: ErrorCode.none, TEXT_1: ErrorCode.none}
    assert len(result.records) == 1
    shard.replay(*result.records)
    shard.state.end_transaction(9, is_commit=True)
    assert shard.fetch(FetchRequest("g-1", [TEXT_0]))[TEXT_0] == CommittedOffset()


def test_offset_after_a_deletion_counts_again() -> None:
    shard = Shard()
    pending(shard)
    shard.replay(*commits.delete_offsets(shard.state, "g-1", [TEXT_0]).records)
    pending(shard)
    shard.state.end_transaction(9, is_commit=True)
    assert shard.fetch(FetchRequest("g-1", [TEXT_0]))[TEXT_0].offset == 90
