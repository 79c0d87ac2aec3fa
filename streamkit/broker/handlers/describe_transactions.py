"""DescribeTransactions: the state of transactional ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.protocol.errors import ApiError
from streamkit.protocol.messages import Message
from streamkit.protocol.units import moment_of

if TYPE_CHECKING:
    from kio.schema.describe_transactions.v0.request import DescribeTransactionsRequest


async def handle(ctx: RequestContext, request: DescribeTransactionsRequest) -> Message:
    """Answer each id."""
    return {"transaction_states": [_describe(ctx, each) for each in request.transactional_ids]}


def _describe(ctx: RequestContext, transactional_id: str) -> dict[str, object]:
    try:
        found = ctx.broker.transactions.describe(transactional_id)
    except ApiError as error:
        return {
            "error_code": error.code,
            "transactional_id": transactional_id,
            "transaction_state": "",
            "transaction_timeout": 0,
            "transaction_start_time": moment_of(0),
            "producer_id": 0,
            "producer_epoch": 0,
            "topics": [],
        }
    topics: dict[str, list[int]] = {}
    for partition in sorted(found.partitions):
        topics.setdefault(partition.topic, []).append(partition.partition)
    return {
        "transactional_id": transactional_id,
        "transaction_state": found.state.value,
        "transaction_timeout": found.timeout_ms,
        "transaction_start_time": moment_of(found.started_ms),
        "producer_id": found.producer_id,
        "producer_epoch": found.producer_epoch,
        "topics": [{"topic": name, "partitions": ids} for name, ids in topics.items()],
    }
