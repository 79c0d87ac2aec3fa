"""Who may commit and fetch offsets: the rules of each type of group.

A commit of a streams member with an older epoch is taken for the partitions whose active task it
was given at that epoch or before (KIP-1251), so that a commit that crosses a rebalance is not
lost.
"""

from __future__ import annotations

from collections.abc import Callable

from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.offsets import (
    commit_records,
    is_without_membership,
    tombstones,
)
from streamkit.broker.coordinators.group.requests import (
    NO_EPOCH,
    CommitRequest,
    FetchAnswer,
    FetchRequest,
)
from streamkit.broker.coordinators.group.state import GroupShard
from streamkit.broker.coordinators.group.streams import translate
from streamkit.broker.coordinators.group.streams.model import Member, StreamsGroup
from streamkit.broker.coordinators.runtime import Result
from streamkit.common.model import TopicPartition
from streamkit.protocol.errors import ApiError, ErrorCode

STREAMS_COMMIT_VERSION = 9
"""OffsetCommit before this version knows no member epochs."""

Committed = dict[TopicPartition, ErrorCode]


def commit(
    shard: GroupShard, request: CommitRequest, now_ms: int, metadata_bytes_max: int
) -> Result[GroupShard, Committed]:
    """Commit offsets. Raises ApiError when the member may not."""
    try:
        _check_commit(shard, request)
    except ApiError as error:
        if request.is_transactional:
            raise _for_transaction(error) from None
        raise
    records, errors = commit_records(request, now_ms, metadata_bytes_max)
    return Result(errors, records)


def _check_commit(shard: GroupShard, request: CommitRequest) -> None:
    if request.is_transactional and request.is_anonymous:
        return
    group = shard.streams.get(request.group_id)
    if group is not None:
        _check_streams_commit(group, request)
    else:
        _check_simple_commit(shard, request)


_FOR_TRANSACTIONS = {
    ErrorCode.stale_member_epoch: ErrorCode.illegal_generation,
    ErrorCode.group_id_not_found: ErrorCode.illegal_generation,
}


def _for_transaction(error: ApiError) -> ApiError:
    """Producers know the errors of classic groups only (KIP-447)."""
    return ApiError(_FOR_TRANSACTIONS.get(error.code, error.code), error.message)


def fetch(shard: GroupShard, request: FetchRequest) -> FetchAnswer:
    """Fetch offsets; a wrong member is an error of the group."""
    group = shard.streams.get(request.group_id)
    has_member = request.member_id is not None or request.member_epoch > NO_EPOCH
    if group is not None and has_member:
        member = group.members.get(request.member_id or "")
        if member is None:
            return FetchAnswer(request.group_id, error=ErrorCode.unknown_member_id)
        if member.epoch != request.member_epoch:
            return FetchAnswer(request.group_id, error=ErrorCode.stale_member_epoch)
    offsets = shard.offsets.fetch(
        request.group_id, request.partitions, require_stable=request.require_stable
    )
    return FetchAnswer(request.group_id, offsets)


def clean_up(shard: GroupShard, now_ms: int, retention_ms: int) -> Result[GroupShard, None]:
    """Expire offsets that nobody uses, and remove empty groups that have none left."""
    found: list[rec.Record] = []
    for group_id in sorted(shard.offsets.by_group):
        kept = _topics_in_use(shard, group_id)
        expired = shard.offsets.expired(group_id, now_ms, retention_ms, kept)
        found += tombstones(group_id, expired)
        if len(expired) == len(shard.offsets.by_group[group_id]):
            found += _maybe_remove_group(shard, group_id)
    for group_id in sorted(shard.streams):
        if not shard.offsets.has_group(group_id):
            found += _maybe_remove_group(shard, group_id)
    return Result(None, found)


def delete(shard: GroupShard, group_id: str) -> Result[GroupShard, ErrorCode]:
    """Remove a group with its offsets, unless it has members."""
    group = shard.streams.get(group_id)
    offsets = shard.offsets.by_group.get(group_id)
    if group is None and offsets is None and group_id not in shard.classic:
        return Result(ErrorCode.group_id_not_found)
    if (group is not None and group.members) or shard.is_taken(group_id):
        return Result(ErrorCode.non_empty_group)
    found = tombstones(group_id, sorted(offsets or ()))
    found += _maybe_remove_group(shard, group_id)
    found += shard.classic_tombstones(group_id)
    return Result(ErrorCode.none, found)


def _topics_in_use(shard: GroupShard, group_id: str) -> frozenset[str]:
    group = shard.streams.get(group_id)
    if group is None or not group.members or group.topology is None:
        return frozenset()
    return frozenset(group.topology.source_topics)


def _maybe_remove_group(shard: GroupShard, group_id: str) -> list[rec.Record]:
    group = shard.streams.get(group_id)
    if group is None or group.members:
        return []
    return translate.group_tombstones(group_id)


def _check_simple_commit(shard: GroupShard, request: CommitRequest) -> None:
    """A group without members of its own: anyone may commit who claims no membership."""
    classic = shard.classic.get(request.group_id)
    if classic is not None and classic.members:
        raise ApiError(ErrorCode.unknown_member_id, f"{request.member_id} is not a member")
    if is_without_membership(request):
        return
    if classic is not None or shard.offsets.has_group(request.group_id):
        raise ApiError(ErrorCode.unknown_member_id, f"{request.member_id} is not a member")
    is_new = request.api_version >= STREAMS_COMMIT_VERSION
    code = ErrorCode.group_id_not_found if is_new else ErrorCode.illegal_generation
    raise ApiError(code, f"Group {request.group_id} not found.")


def _check_streams_commit(group: StreamsGroup, request: CommitRequest) -> None:
    if request.api_version < STREAMS_COMMIT_VERSION and not request.is_transactional:
        raise ApiError(
            ErrorCode.unsupported_version,
            f"OffsetCommit version {STREAMS_COMMIT_VERSION} or above must be used by members "
            "using the streams group protocol",
        )
    if is_without_membership(request) and not group.members:
        return
    member = group.members.get(request.member_id)
    if member is None:
        message = f"Member {request.member_id} is not a member of group {group.group_id}."
        raise ApiError(ErrorCode.unknown_member_id, message)
    if request.member_epoch == member.epoch:
        return
    if request.member_epoch > member.epoch:
        raise _stale(request, f"is greater than the member's epoch {member.epoch}")
    given_at = _given_at(group, member)
    for partition in request.offsets:
        epoch = given_at(partition)
        if epoch is None:
            raise _stale(request, f"is old, and {partition} is not assigned to the member")
        if epoch > request.member_epoch:
            raise _stale(request, f"is older than {epoch}, when {partition} was assigned")


def _given_at(group: StreamsGroup, member: Member) -> Callable[[TopicPartition], int | None]:
    """The epoch at which a member was given the active task that reads a partition."""
    subtopologies = group.topology.subtopologies if group.topology is not None else ()
    readers = {topic: each.id for each in subtopologies for topic in each.input_topics}

    def given_at(partition: TopicPartition) -> int | None:
        task = (readers.get(partition.topic, ""), partition.partition)
        return member.assigned.active.get(task, member.revoking.active.get(task))

    return given_at


def _stale(request: CommitRequest, why: str) -> ApiError:
    return ApiError(
        ErrorCode.stale_member_epoch,
        f"Epoch {request.member_epoch} of member {request.member_id} {why}.",
    )
