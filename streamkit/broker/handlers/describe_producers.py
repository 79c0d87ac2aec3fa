"""DescribeProducers: who has written to a partition lately, and whose transaction is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.log.producer_state import Producer
from streamkit.protocol.errors import ApiError
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.describe_producers.v0.request import DescribeProducersRequest


async def handle(ctx: RequestContext, request: DescribeProducersRequest) -> Message:
    """Answer each partition that this node leads."""
    return {
        "topics": [
            {
                "name": topic.name,
                "partitions": [
                    _describe(ctx, topic.name, index) for index in topic.partition_indexes
                ],
            }
            for topic in request.topics
        ]
    }


def _describe(ctx: RequestContext, topic: str, index: int) -> dict[str, object]:
    try:
        partition = ctx.broker.replicas.find(topic, index)
        partition.check()
    except ApiError as error:
        return {
            "partition_index": index,
            "error_code": error.code,
            "error_message": error.message or None,
            "active_producers": [],
        }
    producers = sorted(partition.log.producers.producers.items())
    return {
        "partition_index": index,
        "active_producers": [_producer(number, each) for number, each in producers],
    }


def _producer(producer_id: int, producer: Producer) -> dict[str, object]:
    return {
        "producer_id": producer_id,
        "producer_epoch": producer.epoch,
        "last_sequence": producer.last_sequence,
        "last_timestamp": producer.timestamp,
        "coordinator_epoch": producer.coordinator_epoch,
        "current_txn_start_offset": producer.transaction_start,
    }
