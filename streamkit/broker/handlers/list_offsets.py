"""ListOffsets: where a partition begins and ends, and the offset at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.log.log import Isolation
from streamkit.broker.partitions import Partition
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.list_offsets.v11.request import ListOffsetsPartition, ListOffsetsRequest

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL = -4
LATEST_TIERED = -5
EARLIEST_PENDING_UPLOAD = -6

FIRST_VERSION = {
    MAX_TIMESTAMP: 7,
    EARLIEST_LOCAL: 8,
    LATEST_TIERED: 9,
    EARLIEST_PENDING_UPLOAD: 11,
}
"""The version from which a special timestamp is known."""

CONSUMER = -1
READ_COMMITTED = 1
NOTHING = (-1, -1, -1)

Found = tuple[int, int, int]
"""Timestamp, offset and leader epoch."""


async def handle(ctx: RequestContext, request: ListOffsetsRequest) -> Message:
    """Look each partition up."""
    isolation = _isolation(request)
    asked = [
        (topic.name, each.partition_index) for topic in request.topics for each in topic.partitions
    ]
    twice = (
        {key for key in asked if asked.count(key) > 1} if len(set(asked)) < len(asked) else set()
    )
    return {
        "topics": [
            {
                "name": topic.name,
                "partitions": [
                    _answer(
                        ctx,
                        topic.name,
                        each,
                        isolation,
                        (topic.name, each.partition_index) in twice,
                    )
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


def _answer(
    ctx: RequestContext,
    topic: str,
    asked: ListOffsetsPartition,
    isolation: Isolation,
    is_twice: bool,
) -> dict[str, object]:
    try:
        if is_twice:
            raise ApiError(ErrorCode.invalid_request, "the partition is asked for twice")
        partition = ctx.broker.replicas.find(topic, asked.partition_index)
        partition.check(asked.current_leader_epoch)
        timestamp, offset, epoch = _look_up(ctx, partition, asked.timestamp, isolation)
    except ApiError as error:
        return {"partition_index": asked.partition_index, "error_code": error.code}
    return {
        "partition_index": asked.partition_index,
        "timestamp": timestamp,
        "offset": offset,
        "leader_epoch": epoch,
    }


def _look_up(
    ctx: RequestContext, partition: Partition, timestamp: int, isolation: Isolation
) -> Found:
    log = partition.log
    if timestamp < 0 and (
        timestamp < EARLIEST_PENDING_UPLOAD or ctx.api_version < FIRST_VERSION.get(timestamp, 0)
    ):
        raise ApiError(
            ErrorCode.unsupported_version,
            f"timestamp {timestamp} is unknown in version {ctx.api_version}",
        )
    if timestamp == LATEST:
        return (-1, _limit(partition, isolation), partition.leadership.epoch)
    if timestamp in (EARLIEST, EARLIEST_LOCAL):
        return (-1, log.log_start_offset, log.epoch_at(log.log_start_offset))
    if timestamp in (LATEST_TIERED, EARLIEST_PENDING_UPLOAD):
        return NOTHING
    if timestamp == MAX_TIMESTAMP:
        found = log.find_max_timestamp()
    else:
        found = log.find_timestamp(timestamp)
    if found is None or found.offset >= _limit(partition, isolation):
        return NOTHING
    return (found.timestamp, found.offset, found.leader_epoch)


def _limit(partition: Partition, isolation: Isolation) -> int:
    if isolation is Isolation.LOG_END:
        return partition.log.log_end_offset
    if isolation is Isolation.LAST_STABLE:
        return partition.log.last_stable_offset
    return partition.log.high_watermark
