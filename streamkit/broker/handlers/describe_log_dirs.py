"""DescribeLogDirs: how much each partition takes in the log directory, and how much is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.partitions import Partition
from streamkit.common.errors import StorageError
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.describe_log_dirs.v5.request import (
        DescribableLogDirTopic,
        DescribeLogDirsRequest,
    )

Values = dict[str, object]


async def handle(ctx: RequestContext, request: DescribeLogDirsRequest) -> Message:
    """Describe the one directory there is."""
    path = ctx.broker.settings.data_dir
    try:
        total, usable = ctx.broker.seams.disk.usage(path)
    except StorageError:
        return {"results": [{"error_code": ErrorCode.kafka_storage_error, "log_dir": path}]}
    topics: dict[str, list[Values]] = {}
    for partition in sorted(ctx.broker.replicas, key=str):
        if _is_asked(request.topics, partition):
            topics.setdefault(partition.topic, []).append(_size(partition))
    result = {
        "log_dir": path,
        "topics": [{"name": name, "partitions": sizes} for name, sizes in topics.items()],
        "total_bytes": total,
        "usable_bytes": usable,
    }
    return {"results": [result]}


def _is_asked(topics: Sequence[DescribableLogDirTopic] | None, partition: Partition) -> bool:
    return topics is None or any(
        each.topic == partition.topic and partition.index in each.partitions for each in topics
    )


def _size(partition: Partition) -> Values:
    return {
        "partition_index": partition.index,
        "partition_size": partition.log.size,
        "offset_lag": 0,
        "is_future_key": False,
    }
