"""ConsumerGroupHeartbeat (KIP-848): the group coordinator answers it."""

from __future__ import annotations

from streamkit.broker.context import RequestContext
from streamkit.broker.kraft.features import GROUP_VERSION
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.messages import Message


async def handle(ctx: RequestContext, request: Message) -> Message:
    """One heartbeat of one member."""
    if not is_enabled(ctx):
        return {"error_code": ErrorCode.unsupported_version}
    return await ctx.broker.groups.consumer.heartbeat(
        request, ctx.client_id, ctx.client_host, ctx.api_version
    )


def is_enabled(ctx: RequestContext) -> bool:
    """Whether the cluster has been told to use the consumer protocol."""
    return ctx.broker.metadata.image.features.get(GROUP_VERSION, 0) > 0
