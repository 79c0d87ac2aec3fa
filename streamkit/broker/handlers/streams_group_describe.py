"""StreamsGroupDescribe (KIP-1071): the group coordinator answers it."""

from __future__ import annotations

from streamkit.broker.context import RequestContext
from streamkit.protocol.messages import Message


async def handle(ctx: RequestContext, request: Message) -> Message:
    """Describe each group asked for."""
    return {"groups": await ctx.broker.groups.streams_describe(request.group_ids)}
