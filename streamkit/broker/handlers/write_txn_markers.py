"""WriteTxnMarkers: a coordinator, or an operator who ends a hanging transaction, writes markers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.coordinators.runtime import TransactionEnd
from streamkit.common.model import TopicPartition
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.write_txn_markers.v2.request import WritableTxnMarker, WriteTxnMarkersRequest


async def handle(ctx: RequestContext, request: WriteTxnMarkersRequest) -> Message:
    """Answer each partition of each producer."""
    return {"markers": [await _write(ctx, marker) for marker in request.markers]}


async def _write(ctx: RequestContext, marker: WritableTxnMarker) -> dict[str, object]:
    end = TransactionEnd(
        marker.producer_id,
        marker.producer_epoch,
        marker.transaction_result,
        marker.coordinator_epoch,
        marker.transaction_version,
    )
    partitions = [
        TopicPartition(topic.name, index)
        for topic in marker.topics
        for index in topic.partition_indexes
    ]
    errors = await ctx.broker.markers.write(end, partitions)
    topics = [
        {
            "name": topic.name,
            "partitions": [
                {"partition_index": index, "error_code": errors[TopicPartition(topic.name, index)]}
                for index in topic.partition_indexes
            ],
        }
        for topic in marker.topics
    ]
    return {"producer_id": marker.producer_id, "topics": topics}
