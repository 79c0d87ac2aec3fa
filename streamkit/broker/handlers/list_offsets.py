"""ListOffsets: where a partition begins and ends, and the offset at a time."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.log.log import Isolation
from streamkit.broker.log.timestamps import (
    EARLIEST_LOCAL,
    EARLIEST_PENDING_UPLOAD,
    LATEST,
    LATEST_TIERED,
    MAX_TIMESTAMP,
    TimestampOffset,
)
from streamkit.broker.partitions import Partition
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.list_offsets.v11.request import ListOffsetsPartition, ListOffsetsRequest

FIRST_VERSION = {
    MAX_TIMESTAMP: 7,
    EARLIEST_LOCAL: 8,
    LATEST_TIERED: 9,
    EARLIEST_PENDING_UPLOAD: 11,
}
"""The version from which a special timestamp is known."""

CONSUMER = -1
READ_COMMITTED = 1

Values = dict[str, object]


async def handle(ctx: RequestContext, request: ListOffsetsRequest) -> Message:
    """Look each partition up."""
    isolation = _isolation(request)
    counts = Counter(
        (topic.name, each.partition_index) for topic in request.topics for each in topic.partitions
    )
    return {
        "topics": [
            {
                "name": topic.name,
                "partitions": [
                    _refused(each, ErrorCode.invalid_request)
                    if counts[topic.name, each.partition_index] > 1
                    else await _answer(ctx, topic.name, each, isolation)
                    for each in topic.partitions
                ],
            }
            for topic in request.topics
        ]
    }


def _isolation(request: ListOffsetsRequest) -> Isolation:
    if request.replica_id != CONSUMER:
        return Isolation.LOG_END
    if request.isolation_level == READ_COMMITTED:
        return Isolation.LAST_STABLE
    return Isolation.HIGH_WATERMARK


async def _answer(
    ctx: RequestContext, topic: str, asked: ListOffsetsPartition, isolation: Isolation
) -> Values:
    try:
        partition = ctx.broker.replicas.find(topic, asked.partition_index)
        partition.check(asked.current_leader_epoch)
        found = await _look_up(ctx, partition, asked.timestamp, isolation)
    except ApiError as error:
        return _refused(asked, error.code)
    return {
        "partition_index": asked.partition_index,
        "timestamp": found.timestamp,
        "offset": found.offset,
        "leader_epoch": found.leader_epoch,
    }


def _refused(asked: ListOffsetsPartition, error: ErrorCode) -> Values:
    return {"partition_index": asked.partition_index, "error_code": error}


async def _look_up(
    ctx: RequestContext, partition: Partition, timestamp: int, isolation: Isolation
) -> TimestampOffset:
    if timestamp < EARLIEST_PENDING_UPLOAD or ctx.api_version < FIRST_VERSION.get(timestamp, 0):
        raise ApiError(
            ErrorCode.unsupported_version,
            f"timestamp {timestamp} is unknown in version {ctx.api_version}",
        )
    if timestamp == LATEST:
        return TimestampOffset(-1, partition.log.limit_of(isolation), partition.leadership.epoch)
    look_up = partition.log.offset_for_timestamp
    return await partition.look(
        lambda cached_only: look_up(timestamp, isolation, cached_only=cached_only)
    )
