"""Heartbeat: a classic member lives, and hears of rebalances."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.coordinators.group.classic.messages import HeartbeatRequest
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.heartbeat.v4.request import HeartbeatRequest as HeartbeatMessage


async def handle(ctx: RequestContext, request: HeartbeatMessage) -> Message:
    """An error code is the whole answer."""
    heartbeat = HeartbeatRequest(
        request.group_id, request.member_id, request.group_instance_id, request.generation_id
    )
    return {"error_code": await ctx.broker.groups.classic.heartbeat(heartbeat)}
