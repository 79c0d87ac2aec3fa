"""StreamsGroupHeartbeat (KIP-1071): the group coordinator answers it."""

from __future__ import annotations

from streamkit.broker.context import RequestContext
from streamkit.protocol.errors import ApiError
from streamkit.protocol.messages import Message


async def handle(ctx: RequestContext, request: Message) -> Message:
    """One heartbeat of one member."""
    try:
        return await ctx.broker.groups.streams_heartbeat(request, ctx.client_id, ctx.client_host)
    except ApiError as error:
        return {
            "error_code": error.code,
            "error_message": error.message or None,
            "member_id": request.member_id,
        }
