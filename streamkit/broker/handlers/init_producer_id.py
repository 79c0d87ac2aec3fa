"""InitProducerId: a producer id for an idempotent producer, or for a transactional id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.coordinators.transaction.rules import Initialized, InitRequest
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message
from streamkit.protocol.units import to_ms

if TYPE_CHECKING:
    from kio.schema.init_producer_id.v5.request import InitProducerIdRequest

FENCED_SINCE = 4
"""Before, a fenced producer was told INVALID_PRODUCER_EPOCH."""


async def handle(ctx: RequestContext, request: InitProducerIdRequest) -> Message:
    """Give out an id."""
    try:
        made = await _initialize(ctx, request)
    except ApiError as error:
        made = Initialized(error=error.code)
    code = made.error
    if code is ErrorCode.producer_fenced and ctx.api_version < FENCED_SINCE:
        code = ErrorCode.invalid_producer_epoch
    return {
        "error_code": code,
        "producer_id": made.producer_id,
        "producer_epoch": made.producer_epoch,
    }


async def _initialize(ctx: RequestContext, request: InitProducerIdRequest) -> Initialized:
    has_id, has_epoch = request.producer_id != -1, request.producer_epoch != -1
    if request.transactional_id == "" or has_id != has_epoch:
        raise ApiError(ErrorCode.invalid_request, "the transactional id or producer is not whole")
    if request.transactional_id is None:
        return Initialized(await ctx.broker.metadata.next_producer_id(), 0)
    return await ctx.broker.transactions.init_producer_id(
        InitRequest(
            request.transactional_id,
            to_ms(request.transaction_timeout),
            request.producer_id,
            request.producer_epoch,
        )
    )
