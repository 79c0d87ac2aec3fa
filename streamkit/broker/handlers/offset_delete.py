"""OffsetDelete: forget offsets of topics that a group does not read any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.common.model import TopicPartition
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.offset_delete.v0.request import OffsetDeleteRequest


async def handle(ctx: RequestContext, request: OffsetDeleteRequest) -> Message:
    """Each partition has its own error."""
    topics = ctx.broker.metadata.image.topics
    asked = [
        TopicPartition(topic.name, each.partition_index)
        for topic in request.topics
        for each in topic.partitions
    ]
    known = [
        each
        for each in asked
        if each.topic in topics and each.partition in topics[each.topic].partitions
    ]
    errors = await ctx.broker.groups.delete_offsets(request.group_id, known)
    unknown = ErrorCode.unknown_topic_or_partition
    return {
        "topics": [
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
    }
