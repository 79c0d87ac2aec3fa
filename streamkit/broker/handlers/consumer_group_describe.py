"""ConsumerGroupDescribe (KIP-848): the group coordinator answers it."""

from __future__ import annotations

from streamkit.broker.context import RequestContext
from streamkit.broker.coordinators.group.consumer.describe import described_error
from streamkit.broker.handlers.consumer_group_heartbeat import is_enabled
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.messages import Message


async def handle(ctx: RequestContext, request: Message) -> Message:
    """Describe each group asked for."""
    if is_enabled(ctx):
        return {"groups": ctx.broker.groups.consumer.describe(request.group_ids)}
    disabled = ErrorCode.unsupported_version
    return {"groups": [described_error(each, disabled, "") for each in request.group_ids]}
