"""OffsetFetch: committed positions. One group before version 8, names before version 10."""

from __future__ import annotations

from collections.abc import Sequence

from streamkit.broker.context import RequestContext
from streamkit.broker.coordinators.group.requests import (
    CommittedOffset,
    FetchAnswer,
    FetchRequest,
)
from streamkit.common.model import TopicPartition
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message, response_type
from streamkit.protocol.versions import fill

TOPIC_IDS_SINCE = 10
MEMBERS_SINCE = 9
GROUPS_SINCE = 8
TOP_ERROR_SINCE = 2
LEADER_EPOCH_SINCE = 5

Values = dict[str, object]


async def handle(ctx: RequestContext, request: Message) -> Message:
    """Answer each group."""
    version = ctx.api_version
    entity = response_type(ApiKey.OFFSET_FETCH, version)
    if version < GROUPS_SINCE:
        return fill(entity, await _group(ctx, request, request))
    groups = [
        {"group_id": group.group_id, **await _group(ctx, request, group)}
        for group in request.groups
    ]
    return fill(entity, {"groups": groups})


async def _group(ctx: RequestContext, request: Message, group: Message) -> Values:
    version = ctx.api_version
    fetch = FetchRequest(
        group.group_id,
        _known_partitions(ctx, group),
        group.member_id if version >= MEMBERS_SINCE else None,
        group.member_epoch if version >= MEMBERS_SINCE else -1,
        getattr(request, "require_stable", False),
    )
    try:
        answer = await ctx.broker.groups.fetch_offsets(fetch)
    except ApiError as error:
        answer = FetchAnswer(fetch.group_id, error=error.code)
    values: Values = {"topics": _topics(ctx, group, answer)}
    if version >= TOP_ERROR_SINCE:
        values["error_code"] = answer.error
    return values


def _known_partitions(ctx: RequestContext, group: Message) -> Sequence[TopicPartition] | None:
    if group.topics is None:
        return None
    return [
        TopicPartition(name, index)
        for topic in group.topics
        if (name := _name_of(ctx, topic)) is not None
        for index in topic.partition_indexes
    ]


def _name_of(ctx: RequestContext, topic: Message) -> str | None:
    if ctx.api_version < TOPIC_IDS_SINCE:
        return str(topic.name)
    found = ctx.broker.metadata.image.topics_by_id.get(topic.topic_id)
    return None if found is None else found.name


def _topics(ctx: RequestContext, group: Message, answer: FetchAnswer) -> list[Values]:
    if answer.error is not ErrorCode.none and ctx.api_version >= TOP_ERROR_SINCE:
        return []
    if group.topics is None:
        return _all_topics(ctx, answer)
    field = "topic_id" if ctx.api_version >= TOPIC_IDS_SINCE else "name"
    return [
        {
            field: getattr(topic, field),
            "partitions": [
                _partition(ctx.api_version, index, _offset(answer, _name_of(ctx, topic), index))
                for index in topic.partition_indexes
            ],
        }
        for topic in group.topics
    ]


def _all_topics(ctx: RequestContext, answer: FetchAnswer) -> list[Values]:
    topics: dict[str, list[Values]] = {}
    for (name, index), offset in answer.offsets.items():
        topics.setdefault(name, []).append(_partition(ctx.api_version, index, offset))
    if ctx.api_version < TOPIC_IDS_SINCE:
        return [{"name": name, "partitions": found} for name, found in topics.items()]
    known = ctx.broker.metadata.image.topics
    return [
        {"topic_id": known[name].id, "partitions": found}
        for name, found in topics.items()
        if name in known
    ]


def _offset(answer: FetchAnswer, name: str | None, index: int) -> CommittedOffset:
    if name is None:
        return CommittedOffset(error=ErrorCode.unknown_topic_id)
    if answer.error is not ErrorCode.none:
        return CommittedOffset(error=answer.error)
    return answer.offsets.get(TopicPartition(name, index), CommittedOffset())


def _partition(version: int, index: int, committed: CommittedOffset) -> Values:
    values: Values = {
        "partition_index": index,
        "committed_offset": committed.offset,
        "metadata": committed.metadata,
        "error_code": committed.error,
    }
    if version >= LEADER_EPOCH_SINCE:
        values["committed_leader_epoch"] = committed.leader_epoch
    return values
