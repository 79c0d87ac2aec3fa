"""DescribeGroups: classic groups with their members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.describe_groups.v6.request import DescribeGroupsRequest

NOT_FOUND_SINCE = 6


async def handle(ctx: RequestContext, request: DescribeGroupsRequest) -> Message:
    """Each group; before version 6 one that is not there is simply dead."""
    groups = [ctx.broker.groups.classic.describe(group_id) for group_id in request.groups]
    for group in groups:
        if (
            group["error_code"] is ErrorCode.group_id_not_found
            and ctx.api_version < NOT_FOUND_SINCE
        ):
            group["error_code"] = ErrorCode.none
    return {"groups": groups}
