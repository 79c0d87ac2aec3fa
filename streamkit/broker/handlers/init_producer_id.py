"""InitProducerId: a new producer id for an idempotent producer; transactions are not served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.init_producer_id.v5.request import InitProducerIdRequest


async def handle(ctx: RequestContext, request: InitProducerIdRequest) -> Message:
    """Give out an id."""
    try:
        if request.transactional_id is not None:
            raise _refusal(request)
        producer_id = await ctx.broker.metadata.next_producer_id()
    except ApiError as error:
        return {"error_code": error.code, "producer_id": -1, "producer_epoch": -1}
    return {"producer_id": producer_id, "producer_epoch": 0}


def _refusal(request: InitProducerIdRequest) -> ApiError:
    if not request.transactional_id:
        return ApiError(ErrorCode.invalid_request, "the transactional id is empty")
    return ApiError(
        ErrorCode.transactional_id_authorization_failed, "this broker serves no transactions yet"
    )
