"""AlterReplicaLogDirs: a node has one log directory, where each replica already is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.alter_replica_log_dirs.v2.request import AlterReplicaLogDirsRequest


async def handle(ctx: RequestContext, request: AlterReplicaLogDirsRequest) -> Message:
    """Answer each replica with its own result."""
    return {
        "results": [
            {
                "topic_name": topic.name,
                "partitions": [
                    {
                        "partition_index": index,
                        "error_code": _move(ctx, wanted.path, topic.name, index),
                    }
                    for index in topic.partitions
                ],
            }
            for wanted in request.dirs
            for topic in wanted.topics
        ]
    }


def _move(ctx: RequestContext, path: str, topic: str, index: int) -> ErrorCode:
    if path != ctx.broker.settings.data_dir:
        return ErrorCode.log_dir_not_found
    try:
        ctx.broker.replicas.find(topic, index).check()
    except ApiError as error:
        return error.code
    return ErrorCode.none
