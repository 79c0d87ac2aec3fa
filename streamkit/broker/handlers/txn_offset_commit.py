"""TxnOffsetCommit: offsets that count when the transaction does (KIP-98, KIP-447)."""

from __future__ import annotations

from collections.abc import Mapping

from streamkit.broker.context import RequestContext
from streamkit.broker.coordinators.group.requests import CommitRequest, OffsetToCommit
from streamkit.broker.coordinators.runtime import WithinTransaction
from streamkit.broker.log.producer_state import Verification
from streamkit.broker.metadata import OFFSETS_TOPIC
from streamkit.broker.verification import FirstBatch, Verifying, commit_error
from streamkit.common.model import TopicPartition
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message, response_type
from streamkit.protocol.versions import fill

MEMBERS_SINCE = 3
ABORTABLE_SINCE = 4
LEADER_EPOCH_SINCE = 2
NO_SEQUENCE = -1

Errors = Mapping[TopicPartition, ErrorCode]


async def handle(ctx: RequestContext, request: Message) -> Message:
    """Commit what can be committed; each partition gets its own error."""
    commit = _commit_request(ctx, request)
    errors: dict[TopicPartition, ErrorCode] = {}
    try:
        if commit.offsets:
            guard = await _verify(ctx, request)
            within = WithinTransaction(request.producer_id, request.producer_epoch, guard)
            errors.update(await ctx.broker.groups.commit_in_transaction(commit, within))
    except ApiError as error:
        errors = dict.fromkeys(commit.offsets, error.code)
    return _response(ctx, request, errors)


async def _verify(ctx: RequestContext, request: Message) -> Verification | None:
    """Ask the transaction's coordinator whether the group's partition is part of it."""
    index = ctx.broker.groups.partition_for(request.group_id)
    partition = TopicPartition(OFFSETS_TOPIC, index)
    try:
        found = ctx.broker.replicas.find(*partition)
    except ApiError:
        raise ApiError(ErrorCode.not_coordinator, f"{partition} is not here") from None
    verifying = Verifying.of(ctx.api_version, abortable_since=ABORTABLE_SINCE)
    verdicts = await ctx.broker.verifier.verify(
        request.transactional_id,
        request.producer_id,
        request.producer_epoch,
        [FirstBatch(found, NO_SEQUENCE)],
        verifying,
    )
    verdict = verdicts[partition]
    if isinstance(verdict, ApiError):
        raise commit_error(verdict, verifying)
    return verdict.guard


def _commit_request(ctx: RequestContext, request: Message) -> CommitRequest:
    topics = ctx.broker.metadata.image.topics
    offsets = {
        TopicPartition(topic.name, each.partition_index): OffsetToCommit(
            each.committed_offset,
            each.committed_leader_epoch if ctx.api_version >= LEADER_EPOCH_SINCE else -1,
            each.committed_metadata,
        )
        for topic in request.topics
        if topic.name in topics
        for each in topic.partitions
        if each.partition_index in topics[topic.name].partitions
    }
    has_member = ctx.api_version >= MEMBERS_SINCE
    return CommitRequest(
        request.group_id,
        offsets,
        request.member_id if has_member else "",
        request.generation_id if has_member else -1,
        request.group_instance_id if has_member else None,
        is_transactional=True,
    )


def _response(ctx: RequestContext, request: Message, errors: Errors) -> Message:
    unknown = ErrorCode.unknown_topic_or_partition
    topics = [
        {
            "name": topic.name,
            "partitions": [
                {
                    "partition_index": each.partition_index,
                    "error_code": errors.get(
                        TopicPartition(topic.name, each.partition_index), unknown
                    ),
                }
                for each in topic.partitions
            ],
        }
        for topic in request.topics
    ]
    return fill(response_type(ApiKey.TXN_OFFSET_COMMIT, ctx.api_version), {"topics": topics})
