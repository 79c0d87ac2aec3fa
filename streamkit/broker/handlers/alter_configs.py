"""AlterConfigs, deprecated: what a request does not name goes back to its default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.kraft.controller.configs import replace_configs
from streamkit.broker.kraft.controller.results import ItemResult
from streamkit.broker.kraft.image import ConfigResource
from streamkit.protocol.errors import ApiError
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.alter_configs.v2.request import AlterConfigsRequest


async def handle(ctx: RequestContext, request: AlterConfigsRequest) -> Message:
    """Answer each resource with its own result."""
    asked = [
        (
            ConfigResource(each.resource_type, each.resource_name),
            {config.name: config.value for config in each.configs},
        )
        for each in request.resources
    ]
    bounds = ctx.broker.settings.to_mapping()
    try:
        results = await ctx.broker.metadata.change(
            lambda image: replace_configs(
                image, asked, broker_bounds=bounds, validate_only=request.validate_only
            )
        )
    except ApiError as error:
        results = tuple((resource, ItemResult.of(error)) for resource, _ in asked)
    return {
        "responses": [
            {
                "resource_type": resource.type,
                "resource_name": resource.name,
                "error_code": result.code,
                "error_message": result.message,
            }
            for resource, result in results
        ]
    }
