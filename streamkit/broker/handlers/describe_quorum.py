"""DescribeQuorum (KIP-595, KIP-836, KIP-853): who votes on the metadata, and how far they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.kraft.metadata_log import METADATA_TOPIC
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.describe_quorum.v2.request import DescribeQuorumRequest

Values = dict[str, object]


async def handle(ctx: RequestContext, request: DescribeQuorumRequest) -> Message:
    """Describe the metadata partition; any other is unknown here."""
    return {
        "topics": [
            {
                "topic_name": topic.topic_name,
                "partitions": [
                    _partition(ctx)
                    if (topic.topic_name, each.partition_index) == (METADATA_TOPIC, 0)
                    else {
                        "partition_index": each.partition_index,
                        "error_code": ErrorCode.unknown_topic_or_partition,
                    }
                    for each in topic.partitions
                ],
            }
            for topic in request.topics
        ],
        "nodes": [
            {
                "node_id": voter.key.id,
                "listeners": [
                    {"name": at.name, "host": at.host, "port": at.port} for at in voter.endpoints
                ],
            }
            for voter in ctx.broker.metadata.quorum_state().voters
        ],
    }


def _partition(ctx: RequestContext) -> Values:
    state = ctx.broker.metadata.quorum_state()
    now_ms = ctx.broker.seams.clock.now_ms()
    return {
        "partition_index": 0,
        "leader_id": state.leader_id,
        "leader_epoch": state.leader_epoch,
        "high_watermark": state.high_watermark,
        # The voters other than the leader come with the brokers' replication.
        "current_voters": [
            {
                "replica_id": voter.key.id,
                "replica_directory_id": voter.key.directory_id,
                "log_end_offset": state.log_end_offset,
                "last_fetch_timestamp": now_ms,
                "last_caught_up_timestamp": now_ms,
            }
            for voter in state.voters
        ],
    }
