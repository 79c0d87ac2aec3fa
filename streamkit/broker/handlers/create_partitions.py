"""CreatePartitions: more partitions for topics that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.kraft.controller.results import ItemResult
from streamkit.broker.kraft.controller.topics import MorePartitions, create_partitions
from streamkit.protocol.errors import ApiError
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.create_partitions.v3.request import (
        CreatePartitionsRequest,
        CreatePartitionsTopic,
    )


async def handle(ctx: RequestContext, request: CreatePartitionsRequest) -> Message:
    """Answer each topic with its own result."""
    asked = [_more(each) for each in request.topics]
    start = ctx.broker.seams.random.randrange(1 << 16)
    try:
        results = await ctx.broker.metadata.change(
            lambda image: create_partitions(
                image, asked, placement_start=start, validate_only=request.validate_only
            )
        )
    except ApiError as error:
        results = tuple((each.name, ItemResult.of(error)) for each in asked)
    return {
        "results": [
            {"name": name, "error_code": result.code, "error_message": result.message}
            for name, result in results
        ]
    }


def _more(asked: CreatePartitionsTopic) -> MorePartitions:
    assignments = None
    if asked.assignments is not None:
        assignments = tuple(tuple(each.broker_ids) for each in asked.assignments)
    return MorePartitions(str(asked.name), asked.count, assignments)
