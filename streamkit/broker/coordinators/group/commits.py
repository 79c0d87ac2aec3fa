"""Who may commit and fetch offsets: the rules of each type of group.

A commit of a streams member with an older epoch is taken for the partitions whose active task it
was given at that epoch or before (KIP-1251), so that a commit that crosses a rebalance is not
lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.classic.model import ClassicGroup, ClassicState
from streamkit.broker.coordinators.group.consumer.commits import check_commit, check_fetch
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
    classic = shard.classic.get(request.group_id)
    consumer = shard.consumer.get(request.group_id)
    if group is not None:
        _check_streams_commit(group, request)
    elif consumer is not None:
        check_commit(consumer, request)
    elif classic is not None:
        _check_classic_commit(classic, request)
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
    consumer = shard.consumer.get(request.group_id)
    if consumer is not None:
        try:
            check_fetch(consumer, request)
        except ApiError as error:
            return FetchAnswer(request.group_id, error=error.code)
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
        expired = _expired(shard, group_id, now_ms, retention_ms)
        found += tombstones(group_id, expired)
        if len(expired) == len(shard.offsets.by_group[group_id]):
            found += _maybe_remove_group(shard, group_id)
    for group_id in sorted({*shard.streams, *shard.classic, *shard.consumer}):
        if not shard.offsets.has_group(group_id):
            found += _maybe_remove_group(shard, group_id)
    return Result(None, found)


def delete(shard: GroupShard, group_id: str) -> Result[GroupShard, ErrorCode]:
    """Remove a group with its offsets, unless it has members."""
    if not shard.has_group(group_id):
        return Result(ErrorCode.group_id_not_found)
    if shard.has_members(group_id):
        return Result(ErrorCode.non_empty_group)
    found = tombstones(group_id, sorted(shard.offsets.partitions(group_id)))
    found += shard.empty_tombstones(group_id)
    return Result(ErrorCode.none, found)


def delete_offsets(
    shard: GroupShard, group_id: str, partitions: Iterable[TopicPartition]
) -> Result[GroupShard, Committed]:
    """Remove offsets of topics to which nobody is subscribed. Raises ApiError for the group."""
    if not shard.has_group(group_id):
        raise ApiError(ErrorCode.group_id_not_found, f"Group {group_id} not found.")
    classic = shard.classic.get(group_id)
    if classic is not None and not classic.is_empty and not classic.is_consumers:
        raise ApiError(ErrorCode.non_empty_group, f"Group {group_id} has members.")
    errors: Committed = {}
    known = shard.offsets.partitions(group_id)
    gone = []
    for partition in partitions:
        if _is_subscribed(shard, group_id, partition.topic):
            errors[partition] = ErrorCode.group_subscribed_to_topic
            continue
        errors[partition] = ErrorCode.none
        if partition in known:
            gone.append(partition)
    return Result(errors, tombstones(group_id, gone))


def _expired(
    shard: GroupShard, group_id: str, now_ms: int, retention_ms: int
) -> list[TopicPartition]:
    """Offsets count from their commit, those of a classic group from when it became empty."""
    since_ms = None
    classic = shard.classic.get(group_id)
    if classic is not None and classic.protocol_type is not None:
        if classic.is_empty:
            since_ms = classic.state_timestamp_ms if classic.state_timestamp_ms >= 0 else None
        elif classic.subscribed_topics is None or classic.state is not ClassicState.STABLE:
            return []
    topics = {each.topic for each in shard.offsets.by_group[group_id]}
    kept = frozenset(each for each in topics if _is_subscribed(shard, group_id, each))
    return shard.offsets.expired(group_id, now_ms, retention_ms, kept, since_ms)


def _is_subscribed(shard: GroupShard, group_id: str, topic: str) -> bool:
    classic, streams = shard.classic.get(group_id), shard.streams.get(group_id)
    if classic is not None:
        return classic.is_subscribed(topic)
    if group_id in shard.consumer:
        return topic in shard.consumer[group_id].subscribed_topics
    if streams is None or not streams.members or streams.topology is None:
        return False
    return topic in streams.topology.source_topics


def _maybe_remove_group(shard: GroupShard, group_id: str) -> list[rec.Record]:
    return [] if shard.has_members(group_id) else shard.empty_tombstones(group_id)


def _check_classic_commit(group: ClassicGroup, request: CommitRequest) -> None:
    """Members commit with their generation; a group without members takes anyone's commit."""
    if request.member_epoch < 0 and group.is_empty:
        return
    if request.member_epoch < 0 and not request.member_id and request.instance_id is None:
        raise ApiError(ErrorCode.unknown_member_id, f"Group {group.group_id} has members.")
    group.member_or_raise(request.member_id, request.instance_id)
    if request.member_epoch != group.generation:
        raise ApiError(ErrorCode.illegal_generation, f"The generation is {group.generation}.")
    if group.state is ClassicState.COMPLETING and not request.is_transactional:
        raise ApiError(ErrorCode.rebalance_in_progress, "The group rebalances.")


def _check_simple_commit(shard: GroupShard, request: CommitRequest) -> None:
    """A group without members of its own: anyone may commit who claims no membership."""
    if is_without_membership(request):
        return
    if shard.offsets.has_group(request.group_id):
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
