"""DescribeTopicPartitions (KIP-966): topics page by page, with their eligible leaders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.handlers.metadata import partition_values
from streamkit.broker.kraft.image import MetadataImage, TopicImage
from streamkit.broker.partitions import INTERNAL_TOPICS
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.describe_topic_partitions.v0.request import DescribeTopicPartitionsRequest

Values = dict[str, object]


async def handle(ctx: RequestContext, request: DescribeTopicPartitionsRequest) -> Message:
    """Describe from the cursor on, up to the limit of partitions."""
    image = ctx.broker.metadata.image
    names = sorted({str(each.name) for each in request.topics} or set(image.topics))
    start = 0
    if request.cursor is not None:
        start = request.cursor.partition_index
        if start < 0:
            raise ApiError(ErrorCode.invalid_request, "the cursor's partition is negative")
        names = [name for name in names if name >= request.cursor.topic_name]
        if not names or names[0] != request.cursor.topic_name:
            start = 0
    limit = ctx.broker.settings.max_request_partition_size_limit
    return _page(image, names, start, min(max(request.response_partition_limit, 1), limit))


def _page(image: MetadataImage, names: list[str], start: int, limit: int) -> Message:
    topics: list[Values] = []
    for name in names:
        topic = image.topics.get(name)
        if topic is None:
            topics.append({"error_code": ErrorCode.unknown_topic_or_partition, "name": name})
            continue
        indexes = [index for index in topic.partitions if index >= start]
        if limit == 0 or len(indexes) > limit:
            if limit:
                topics.append(_topic(image, topic, indexes[:limit]))
            at = indexes[limit] if indexes else 0
            return {
                "topics": topics,
                "next_cursor": {"topic_name": name, "partition_index": at},
            }
        topics.append(_topic(image, topic, indexes))
        limit -= len(indexes)
        start = 0
    return {"topics": topics}


def _topic(image: MetadataImage, topic: TopicImage, indexes: list[int]) -> Values:
    return {
        "name": topic.name,
        "topic_id": topic.id,
        "is_internal": topic.name in INTERNAL_TOPICS,
        "partitions": [
            {
                **partition_values(image, index, topic.partitions[index]),
                "eligible_leader_replicas": topic.partitions[index].elr,
                "last_known_elr": topic.partitions[index].last_known_elr,
            }
            for index in indexes
        ],
    }
