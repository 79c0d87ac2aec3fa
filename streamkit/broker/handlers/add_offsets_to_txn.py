"""AddOffsetsToTxn: a transaction will commit offsets of a group.

Clients of transaction.version 2 leave it out: the group's coordinator adds the partition itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.coordinators.transaction.rules import AddRequest
from streamkit.broker.metadata import OFFSETS_TOPIC
from streamkit.common.model import TopicPartition
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.add_offsets_to_txn.v4.request import AddOffsetsToTxnRequest

FENCED_SINCE = 2


async def handle(ctx: RequestContext, request: AddOffsetsToTxnRequest) -> Message:
    """Add the group's partition of the offsets topic."""
    index = ctx.broker.groups.partition_for(request.group_id)
    added = AddRequest(
        request.transactional_id,
        request.producer_id,
        request.producer_epoch,
        frozenset({TopicPartition(OFFSETS_TOPIC, index)}),
    )
    code = ErrorCode.none
    try:
        await ctx.broker.transactions.add_partitions(added)
    except ApiError as error:
        code = error.code
    if code is ErrorCode.producer_fenced and ctx.api_version < FENCED_SINCE:
        code = ErrorCode.invalid_producer_epoch
    return {"error_code": code}
