"""Metadata: brokers, topics and who leads their partitions; makes topics where that is allowed.

A topic that is made by the way is answered LEADER_NOT_AVAILABLE once, as Kafka does, unless it
is there by the time of the answer: with the controller in the same process it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from streamkit.broker.context import RequestContext
from streamkit.broker.kraft.image import MetadataImage, PartitionImage, TopicImage
from streamkit.broker.metadata import OFFSETS_TOPIC, TRANSACTIONS_TOPIC
from streamkit.broker.partitions import INTERNAL_TOPICS
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.metadata.v13.request import MetadataRequest

IDS_SINCE = 12
ALL_TOPICS_IS_NULL_SINCE = 1
AUTO_CREATE_FLAG_SINCE = 4

Values = dict[str, object]


async def handle(ctx: RequestContext, request: MetadataRequest) -> Message:
    """Describe the topics asked for, or all."""
    wants_all = request.topics is None or (
        not request.topics and ctx.api_version < ALL_TOPICS_IS_NULL_SINCE
    )
    if wants_all:
        image = ctx.broker.metadata.image
        topics = [_topic(ctx, topic) for _, topic in sorted(image.topics.items())]
    else:
        topics = await _asked(ctx, request)
    return _response(ctx, topics)


async def _asked(ctx: RequestContext, request: MetadataRequest) -> list[Values]:
    asked = request.topics or ()
    ids = [each.topic_id for each in asked if each.topic_id is not None]
    if (ids and ctx.api_version < IDS_SINCE) or any(
        each.name is None and each.topic_id is None for each in asked
    ):
        return [_missing(ErrorCode.invalid_request, each.name, each.topic_id) for each in asked]
    if ids:
        by_id = ctx.broker.metadata.image.topics_by_id
        return [
            _topic(ctx, by_id[topic_id])
            if topic_id in by_id
            else _missing(ErrorCode.unknown_topic_id, None, topic_id)
            for topic_id in ids
        ]
    names = [str(each.name) for each in asked]
    refused = await _maybe_create(ctx, request, names)
    found = ctx.broker.metadata.image.topics
    return [
        _topic(ctx, found[name])
        if name in found
        else _missing(refused.get(name, ErrorCode.unknown_topic_or_partition), name, None)
        for name in names
    ]


async def _maybe_create(
    ctx: RequestContext, request: MetadataRequest, names: list[str]
) -> dict[str, ErrorCode]:
    """Make the topics that are missing, if the broker and the client agree; why some were not."""
    allowed = ctx.broker.settings.auto_create_topics_enable and (
        request.allow_auto_topic_creation or ctx.api_version < AUTO_CREATE_FLAG_SINCE
    )
    refused: dict[str, ErrorCode] = {}
    if not allowed:
        return refused
    for name in names:
        # The state of coordinators that are not served yet must not begin with a wrong shape.
        is_unserved = name in INTERNAL_TOPICS and name not in (OFFSETS_TOPIC, TRANSACTIONS_TOPIC)
        if name in ctx.broker.metadata.image.topics or is_unserved:
            continue
        try:
            await ctx.broker.metadata.create_missing_topic(name)
        except ApiError as error:
            refused[name] = error.code
    return refused


def _response(ctx: RequestContext, topics: list[Values]) -> Message:
    metadata = ctx.broker.metadata
    brokers = metadata.brokers()
    return {
        "brokers": [
            {"node_id": each.id, "host": each.host, "port": each.port, "rack": each.rack}
            for each in brokers
        ],
        "cluster_id": ctx.broker.cluster_id,
        "controller_id": brokers[0].id if brokers else -1,
        "topics": topics,
    }


def _topic(ctx: RequestContext, topic: TopicImage) -> Values:
    image = ctx.broker.metadata.image
    return {
        "error_code": ErrorCode.none,
        "name": topic.name,
        "topic_id": topic.id,
        "is_internal": topic.name in INTERNAL_TOPICS,
        "partitions": [
            partition_values(image, index, partition)
            for index, partition in topic.partitions.items()
        ],
    }


def partition_values(image: MetadataImage, index: int, partition: PartitionImage) -> Values:
    """One partition as Metadata and DescribeTopicPartitions show it."""
    alive = {broker.id for broker in image.brokers.values() if not broker.fenced}
    has_leader = partition.leader in alive
    return {
        "error_code": ErrorCode.none if has_leader else ErrorCode.leader_not_available,
        "partition_index": index,
        "leader_id": partition.leader if has_leader else -1,
        "leader_epoch": partition.leader_epoch,
        "replica_nodes": partition.replicas,
        "isr_nodes": partition.isr,
        "offline_replicas": tuple(each for each in partition.replicas if each not in alive),
    }


def _missing(error: ErrorCode, name: str | None, topic_id: UUID | None) -> Values:
    return {
        "error_code": error,
        "name": name,
        "topic_id": topic_id,
        "is_internal": name in INTERNAL_TOPICS,
        "partitions": (),
    }
