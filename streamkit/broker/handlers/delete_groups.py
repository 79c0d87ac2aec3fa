"""DeleteGroups: remove groups without members, with their offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.delete_groups.v2.request import DeleteGroupsRequest


async def handle(ctx: RequestContext, request: DeleteGroupsRequest) -> Message:
    """Each group with its own result."""
    return {
        "results": [
            {"group_id": group_id, "error_code": await _delete(ctx, group_id)}
            for group_id in request.groups_names
        ]
    }


async def _delete(ctx: RequestContext, group_id: str) -> ErrorCode:
    if not group_id:
        return ErrorCode.invalid_group_id
    try:
        return await ctx.broker.groups.delete_group(group_id)
    except ApiError as error:
        return error.code
