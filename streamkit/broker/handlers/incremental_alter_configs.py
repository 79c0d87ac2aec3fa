"""IncrementalAlterConfigs: set, delete, append and subtract configuration values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.kraft.controller.configs import (
    ConfigChange,
    ResourceChange,
    incremental_alter_configs,
)
from streamkit.broker.kraft.controller.results import ItemResult
from streamkit.broker.kraft.image import ConfigResource
from streamkit.protocol.errors import ApiError
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.incremental_alter_configs.v1.request import (
        AlterConfigsResource,
        IncrementalAlterConfigsRequest,
    )


async def handle(ctx: RequestContext, request: IncrementalAlterConfigsRequest) -> Message:
    """Answer each resource with its own result."""
    asked = [_change(each) for each in request.resources]
    bounds = ctx.broker.settings.to_mapping()
    try:
        results = await ctx.broker.metadata.change(
            lambda image: incremental_alter_configs(
                image, asked, broker_bounds=bounds, validate_only=request.validate_only
            )
        )
    except ApiError as error:
        results = tuple((each.resource, ItemResult.of(error)) for each in asked)
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


def _change(asked: AlterConfigsResource) -> ResourceChange:
    return ResourceChange(
        ConfigResource(asked.resource_type, asked.resource_name),
        tuple(ConfigChange(each.name, each.config_operation, each.value) for each in asked.configs),
    )
