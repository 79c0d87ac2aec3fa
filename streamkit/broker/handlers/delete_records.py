"""DeleteRecords: move the log start offset up; Streams purges its repartition topics so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.partitions import INTERNAL_TOPICS
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.delete_records.v2.request import DeleteRecordsPartition, DeleteRecordsRequest

HIGH_WATERMARK = -1


async def handle(ctx: RequestContext, request: DeleteRecordsRequest) -> Message:
    """Delete up to the offsets given."""
    return {
        "topics": [
            {
                "name": topic.name,
                "partitions": [_delete(ctx, topic.name, each) for each in topic.partitions],
            }
            for topic in request.topics
        ]
    }


def _delete(ctx: RequestContext, topic: str, asked: DeleteRecordsPartition) -> dict[str, object]:
    try:
        low_watermark = _delete_or_raise(ctx, topic, asked)
        code = ErrorCode.none
    except ApiError as error:
        low_watermark, code = -1, error.code
    return {
        "partition_index": asked.partition_index,
        "low_watermark": low_watermark,
        "error_code": code,
    }


def _delete_or_raise(ctx: RequestContext, topic: str, asked: DeleteRecordsPartition) -> int:
    if topic in INTERNAL_TOPICS:
        raise ApiError(ErrorCode.invalid_topic_exception, f"{topic} is internal")
    partition = ctx.broker.replicas.find(topic, asked.partition_index)
    partition.check()
    log = partition.log
    if log.settings.is_compacted and not log.settings.is_deleted:
        raise ApiError(ErrorCode.policy_violation, f"{topic} is compacted, not deleted")
    offset = log.high_watermark if asked.offset == HIGH_WATERMARK else asked.offset
    if not 0 <= offset <= log.high_watermark:
        raise ApiError(
            ErrorCode.offset_out_of_range,
            f"offset {offset} is not between 0 and the high watermark {log.high_watermark}",
        )
    partition.guard(lambda: log.advance_log_start(offset))
    partition.check()
    return log.log_start_offset
