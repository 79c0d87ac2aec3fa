"""ListConfigResources (KIP-1142): which resources may have configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.kraft.image import BROKER_RESOURCE, GROUP_RESOURCE, TOPIC_RESOURCE
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.list_config_resources.v1.request import ListConfigResourcesRequest

BROKER_LOGGER_RESOURCE = 8
CLIENT_METRICS_RESOURCE = 16
TYPES = (
    TOPIC_RESOURCE,
    BROKER_RESOURCE,
    BROKER_LOGGER_RESOURCE,
    CLIENT_METRICS_RESOURCE,
    GROUP_RESOURCE,
)


async def handle(ctx: RequestContext, request: ListConfigResourcesRequest) -> Message:
    """List the types asked for; version 0 knows client metrics only."""
    asked = (CLIENT_METRICS_RESOURCE,) if ctx.api_version == 0 else request.resource_types or TYPES
    if not set(asked) <= set(TYPES):
        raise ApiError(ErrorCode.unsupported_version, f"one of the types {asked} is not known")
    return {
        "config_resources": [
            {"resource_type": kind, "resource_name": name}
            for kind in dict.fromkeys(asked)
            for name in _names(ctx, kind)
        ]
    }


def _names(ctx: RequestContext, kind: int) -> list[str]:
    metadata = ctx.broker.metadata
    if kind == TOPIC_RESOURCE:
        return sorted(metadata.image.topics)
    if kind in (BROKER_RESOURCE, BROKER_LOGGER_RESOURCE):
        return [str(broker.id) for broker in metadata.brokers()]
    return sorted(each.name for each in metadata.image.configs if each.type == kind)
