"""JoinGroup: a classic member joins, and waits until all of its group have."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.coordinators.group.classic.messages import JoinAnswer, JoinRequest
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message
from streamkit.protocol.units import to_ms

if TYPE_CHECKING:
    from kio.schema.join_group.v9.request import JoinGroupRequest

MEMBER_ID_REQUIRED_SINCE = 4
NULL_PROTOCOL_SINCE = 7
SKIP_ASSIGNMENT_SINCE = 9


async def handle(ctx: RequestContext, request: JoinGroupRequest) -> Message:
    """The answer comes when the group's barrier opens."""
    try:
        answer = await ctx.broker.groups.classic.join(_join_request(ctx, request))
    except ApiError as error:
        # A member that was refused for the group's size starts anew when it comes again.
        is_full = error.code is ErrorCode.group_max_size_reached
        answer = JoinAnswer(error.code, "" if is_full else request.member_id)
    values = asdict(answer)
    values["members"] = [member._asdict() for member in answer.members]
    if ctx.api_version < NULL_PROTOCOL_SINCE:
        values["protocol_name"] = answer.protocol_name or ""
    return values


def _join_request(ctx: RequestContext, request: JoinGroupRequest) -> JoinRequest:
    session_ms = to_ms(request.session_timeout)
    rebalance_ms = to_ms(request.rebalance_timeout)
    return JoinRequest(
        request.group_id,
        request.member_id,
        request.group_instance_id,
        ctx.client_id,
        f"/{ctx.client_host}",
        session_ms,
        session_ms if rebalance_ms == -1 else rebalance_ms,
        request.protocol_type,
        tuple((each.name, each.metadata) for each in request.protocols),
        ctx.api_version >= MEMBER_ID_REQUIRED_SINCE,
        ctx.api_version >= SKIP_ASSIGNMENT_SINCE,
        request.reason or "not provided",
    )
