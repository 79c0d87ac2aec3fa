"""ListGroups: the groups of all types that this broker coordinates, filtered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.list_groups.v5.request import ListGroupsRequest


async def handle(ctx: RequestContext, request: ListGroupsRequest) -> Message:
    """Filters ignore case; what they name and nobody has matches nothing."""
    groups = ctx.broker.groups.list_groups(request.states_filter, request.types_filter)
    return {"groups": [group._asdict() for group in groups]}
