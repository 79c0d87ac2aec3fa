"""AlterPartitionReassignments: on one node every valid assignment is the one that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.kraft.controller.topics import check_assignment
from streamkit.broker.kraft.image import MetadataImage
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.alter_partition_reassignments.v1.request import (
        AlterPartitionReassignmentsRequest,
        ReassignablePartition,
    )

Values = dict[str, object]


async def handle(ctx: RequestContext, request: AlterPartitionReassignmentsRequest) -> Message:
    """Answer each partition with its own result."""
    image = ctx.broker.metadata.image
    return {
        "allow_replication_factor_change": request.allow_replication_factor_change,
        "responses": [
            {
                "name": topic.name,
                "partitions": [_result(image, topic.name, each) for each in topic.partitions],
            }
            for topic in request.topics
        ],
    }


def _result(image: MetadataImage, name: str, asked: ReassignablePartition) -> Values:
    code, message = ErrorCode.none, None
    try:
        _check(image, name, asked)
    except ApiError as error:
        code, message = error.code, error.message or None
    return {"partition_index": asked.partition_index, "error_code": code, "error_message": message}


def _check(image: MetadataImage, name: str, asked: ReassignablePartition) -> None:
    """Raise ApiError unless the partition already is where it is wanted."""
    index = asked.partition_index
    topic = image.topics.get(name)
    partition = None if topic is None else topic.partitions.get(index)
    if partition is None:
        raise ApiError(
            ErrorCode.unknown_topic_or_partition, f"there is no partition {name}-{index}"
        )
    if asked.replicas is None:
        raise ApiError(ErrorCode.no_reassignment_in_progress)
    replicas = tuple(asked.replicas)
    check_assignment(image, replicas, len(replicas), index)
    if set(replicas) != set(partition.replicas):
        raise ApiError(
            ErrorCode.invalid_replica_assignment, "this cluster has no other broker to move to"
        )
