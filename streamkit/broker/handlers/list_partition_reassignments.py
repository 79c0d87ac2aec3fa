"""ListPartitionReassignments: on one node none goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.list_partition_reassignments.v0.request import (
        ListPartitionReassignmentsRequest,
    )


async def handle(_ctx: RequestContext, _request: ListPartitionReassignmentsRequest) -> Message:
    """Topics without a reassignment are left out, so all are."""
    return {"topics": ()}
