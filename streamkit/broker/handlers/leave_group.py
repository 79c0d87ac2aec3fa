"""LeaveGroup: classic members go; one before version 3, several since."""

from __future__ import annotations

from collections.abc import Sequence

from streamkit.broker.context import RequestContext
from streamkit.broker.coordinators.group.classic.messages import Leaver, LeaverAnswer
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message, response_type
from streamkit.protocol.versions import fill

MEMBERS_SINCE = 3


async def handle(ctx: RequestContext, request: Message) -> Message:
    """Each member that leaves has its own error; an older request has one for all."""
    version = ctx.api_version
    error = ErrorCode.none
    answers: Sequence[LeaverAnswer] = ()
    try:
        answers = await ctx.broker.groups.classic.leave(request.group_id, _leavers(ctx, request))
    except ApiError as refused:
        error = refused.code
    entity = response_type(ApiKey.LEAVE_GROUP, version)
    if version < MEMBERS_SINCE:
        first = answers[0].error_code if answers else error
        return fill(entity, {"error_code": first})
    members = [each._asdict() for each in answers]
    return fill(entity, {"error_code": error, "members": members})


def _leavers(ctx: RequestContext, request: Message) -> list[Leaver]:
    if ctx.api_version < MEMBERS_SINCE:
        return [Leaver(request.member_id)]
    return [
        Leaver(
            each.member_id,
            each.group_instance_id,
            getattr(each, "reason", None) or "not provided",
        )
        for each in request.members
    ]
