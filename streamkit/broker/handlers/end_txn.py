"""EndTxn: commit or abort. From version 5 on the answer has the epoch of the next transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.coordinators.transaction.model import EPOCH_PER_TRANSACTION
from streamkit.broker.coordinators.transaction.rules import EndRequest
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.end_txn.v5.request import EndTxnRequest

EPOCH_SINCE = 5
FENCED_SINCE = 2


async def handle(ctx: RequestContext, request: EndTxnRequest) -> Message:
    """Answer when the outcome is final; the markers follow."""
    ended = EndRequest(
        request.transactional_id,
        request.producer_id,
        request.producer_epoch,
        request.committed,
        EPOCH_PER_TRANSACTION if ctx.api_version >= EPOCH_SINCE else 0,
    )
    try:
        following = await ctx.broker.transactions.end(ended)
    except ApiError as error:
        code = error.code
        if code is ErrorCode.producer_fenced and ctx.api_version < FENCED_SINCE:
            code = ErrorCode.invalid_producer_epoch
        return {"error_code": code}
    return {"producer_id": following.producer_id, "producer_epoch": following.producer_epoch}
