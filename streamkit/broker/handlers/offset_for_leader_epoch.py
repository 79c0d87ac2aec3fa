"""OffsetForLeaderEpoch: where an epoch ended here, so that a client sees a cut-off log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.offset_for_leader_epoch.v4.request import (
        OffsetForLeaderEpochRequest,
        OffsetForLeaderPartition,
    )


async def handle(ctx: RequestContext, request: OffsetForLeaderEpochRequest) -> Message:
    """Answer the largest epoch not above the asked one, and its end."""
    return {
        "topics": [
            {
                "topic": topic.topic,
                "partitions": [_end(ctx, topic.topic, each) for each in topic.partitions],
            }
            for topic in request.topics
        ]
    }


def _end(ctx: RequestContext, topic: str, asked: OffsetForLeaderPartition) -> dict[str, object]:
    try:
        partition = ctx.broker.replicas.find(topic, asked.partition)
        partition.check(asked.current_leader_epoch)
        epoch, end_offset = partition.end_of_epoch(asked.leader_epoch)
    except ApiError as error:
        return {"partition": asked.partition, "error_code": error.code}
    return {
        "partition": asked.partition,
        "error_code": ErrorCode.none,
        "leader_epoch": epoch,
        "end_offset": end_offset,
    }
