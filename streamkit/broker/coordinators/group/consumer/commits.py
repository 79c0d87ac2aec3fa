"""Who of a consumer group may commit and fetch offsets.

A commit with an older epoch is taken for partitions that were given at that epoch or before, so
that one that crosses a rebalance is not lost (KIP-1251).
"""

from __future__ import annotations

from streamkit.broker.coordinators.group.consumer.heartbeat import member_or_raise
from streamkit.broker.coordinators.group.consumer.model import ConsumerGroup, Member
from streamkit.broker.coordinators.group.requests import NO_EPOCH, CommitRequest, FetchRequest
from streamkit.protocol.errors import ApiError, ErrorCode

MEMBER_EPOCHS_SINCE = 9
"""OffsetCommit before this version knows no member epochs."""


def check_commit(group: ConsumerGroup, request: CommitRequest) -> None:
    """Raises ApiError when the member may not commit."""
    if request.member_epoch <= NO_EPOCH and not group.members:
        return
    member = member_or_raise(group, request.member_id)
    is_too_old = request.api_version < MEMBER_EPOCHS_SINCE and not request.is_transactional
    if is_too_old and not member.is_classic:
        raise ApiError(
            ErrorCode.unsupported_version,
            f"OffsetCommit version {MEMBER_EPOCHS_SINCE} or above must be used by members using "
            "the consumer group protocol",
        )
    if request.member_epoch > member.epoch:
        raise _stale(member, f"Epoch {request.member_epoch} is newer than {member.epoch}.")
    if request.member_epoch < member.epoch:
        _check_given(member, request)


def _check_given(member: Member, request: CommitRequest) -> None:
    for partition in request.offsets:
        topic_id = request.topic_ids.get(partition.topic)
        epoch = None if topic_id is None else member.given_at((topic_id, partition.partition))
        if epoch is None:
            raise _stale(member, f"{partition} is not assigned to the member.")
        if request.member_epoch < epoch:
            raise _stale(
                member,
                f"Epoch {request.member_epoch} is older than {epoch}, when {partition} was given.",
            )


def check_fetch(group: ConsumerGroup, request: FetchRequest) -> None:
    """Raises ApiError when a member is named that may not fetch."""
    if request.member_id is None and request.member_epoch <= NO_EPOCH:
        return
    member = member_or_raise(group, request.member_id or "")
    if request.member_epoch != member.epoch:
        raise _stale(member, f"The epoch is {member.epoch}, not {request.member_epoch}.")


def _stale(member: Member, why: str) -> ApiError:
    """Each protocol has its own word for it."""
    code = ErrorCode.illegal_generation if member.is_classic else ErrorCode.stale_member_epoch
    return ApiError(code, f"{member.member_id}: {why}")
