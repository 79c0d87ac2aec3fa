"""SyncGroup: a classic member asks for its assignment; the leader brings everybody's."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.coordinators.group.classic.messages import SyncRequest
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.sync_group.v5.request import SyncGroupRequest

PROTOCOL_SINCE = 5


async def handle(ctx: RequestContext, request: SyncGroupRequest) -> Message:
    """The answer comes when the leader's assignment is committed."""
    named = ctx.api_version < PROTOCOL_SINCE or (request.protocol_type and request.protocol_name)
    if not named:
        return {"error_code": ErrorCode.inconsistent_group_protocol, "assignment": b""}
    sync = SyncRequest(
        request.group_id,
        request.member_id,
        request.group_instance_id,
        request.generation_id,
        request.protocol_type,
        request.protocol_name,
        {each.member_id: each.assignment for each in request.assignments},
    )
    try:
        return asdict(await ctx.broker.groups.classic.sync(sync))
    except ApiError as error:
        return {"error_code": error.code, "assignment": b""}
