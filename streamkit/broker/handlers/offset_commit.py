"""OffsetCommit: hand positions to the group coordinator. Version 10 names topics by id."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from streamkit.broker.context import RequestContext
from streamkit.broker.coordinators.group.requests import CommitRequest, OffsetToCommit
from streamkit.common.model import TopicPartition
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message, response_type
from streamkit.protocol.versions import fill

TOPIC_IDS_SINCE = 10
INSTANCE_SINCE = 7

Errors = Mapping[TopicPartition, ErrorCode]


async def handle(ctx: RequestContext, request: Message) -> Message:
    """Commit what can be committed; each partition gets its own error."""
    errors: dict[TopicPartition, ErrorCode] = {}
    commit = _commit_request(ctx, request)
    try:
        errors.update(await ctx.broker.groups.commit_offsets(commit))
        ctx.broker.metrics.count_offset_commits(errors.values())
    except ApiError as error:
        errors = dict.fromkeys(commit.offsets, error.code)
    return _response(ctx, request, errors)


def _commit_request(ctx: RequestContext, request: Message) -> CommitRequest:
    offsets: dict[TopicPartition, OffsetToCommit] = {}
    topic_ids: dict[str, UUID] = {}
    topics = ctx.broker.metadata.image.topics
    for topic in request.topics:
        name = _name_of(ctx, topic)
        if name is None or name not in topics:
            continue
        topic_ids[name] = topics[name].id
        for each in topic.partitions:
            if each.partition_index in topics[name].partitions:
                offsets[TopicPartition(name, each.partition_index)] = OffsetToCommit(
                    each.committed_offset,
                    getattr(each, "committed_leader_epoch", -1),
                    each.committed_metadata,
                )
    return CommitRequest(
        request.group_id,
        offsets,
        request.member_id,
        request.generation_id_or_member_epoch,
        request.group_instance_id if ctx.api_version >= INSTANCE_SINCE else None,
        topic_ids,
        ctx.api_version,
    )


def _name_of(ctx: RequestContext, topic: Message) -> str | None:
    if ctx.api_version < TOPIC_IDS_SINCE:
        return str(topic.name)
    found = ctx.broker.metadata.image.topics_by_id.get(topic.topic_id)
    return None if found is None else found.name


def _response(ctx: RequestContext, request: Message, errors: Errors) -> Message:
    version = ctx.api_version
    field = "topic_id" if version >= TOPIC_IDS_SINCE else "name"
    topics = []
    for topic in request.topics:
        name = _name_of(ctx, topic)
        # Not known to the image: never handed on, so not in `errors` either.
        unknown = (
            ErrorCode.unknown_topic_id if name is None else ErrorCode.unknown_topic_or_partition
        )
        topics.append(
            {
                field: getattr(topic, field),
                "partitions": [
                    {
                        "partition_index": each.partition_index,
                        "error_code": errors.get(
                            TopicPartition(name or "", each.partition_index), unknown
                        ),
                    }
                    for each in topic.partitions
                ],
            }
        )
    return fill(response_type(ApiKey.OFFSET_COMMIT, version), {"topics": topics})
