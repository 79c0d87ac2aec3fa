"""DescribeConfigs: the configurations of topics, brokers and groups, with their sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.config_view import (
    ConfigEntry,
    broker_entries,
    default_broker_entries,
    group_entries,
    topic_entries,
)
from streamkit.broker.context import RequestContext
from streamkit.broker.kraft.image import BROKER_RESOURCE, GROUP_RESOURCE, TOPIC_RESOURCE
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.describe_configs.v4.request import (
        DescribeConfigsRequest,
        DescribeConfigsResource,
    )

Values = dict[str, object]


async def handle(ctx: RequestContext, request: DescribeConfigsRequest) -> Message:
    """Describe each resource."""
    return {"results": [_result(ctx, request, each) for each in request.resources]}


def _result(
    ctx: RequestContext, request: DescribeConfigsRequest, resource: DescribeConfigsResource
) -> Values:
    values: Values = {
        "resource_type": resource.resource_type,
        "resource_name": resource.resource_name,
    }
    try:
        entries = _entries(ctx, resource.resource_type, resource.resource_name)
    except ApiError as error:
        return {**values, "error_code": error.code, "error_message": error.message}
    wanted = resource.configuration_keys
    values["configs"] = [
        _config(entry, request) for entry in entries if wanted is None or entry.key.name in wanted
    ]
    return values


def _entries(ctx: RequestContext, kind: int, name: str) -> list[ConfigEntry]:
    metadata = ctx.broker.metadata
    if kind == TOPIC_RESOURCE:
        if name not in metadata.image.topics:
            raise ApiError(ErrorCode.unknown_topic_or_partition, f"there is no topic {name!r}")
        return topic_entries(metadata.image.topic_configs(name), metadata.broker_layers())
    if kind == GROUP_RESOURCE:
        return group_entries(metadata.image.group_configs(name), metadata.broker_layers())
    if kind == BROKER_RESOURCE:
        if not name:
            return default_broker_entries(metadata.broker_layers())
        if name != str(ctx.broker.settings.node_id):
            raise ApiError(
                ErrorCode.invalid_request,
                f"broker {ctx.broker.settings.node_id} was asked about broker {name!r}",
            )
        return broker_entries(metadata.broker_layers())
    raise ApiError(ErrorCode.invalid_request, f"resource type {kind} is not served")


def _config(entry: ConfigEntry, request: DescribeConfigsRequest) -> Values:
    return {
        "name": entry.key.name,
        "value": entry.value,
        "read_only": entry.is_read_only,
        "config_source": int(entry.told_source),
        "is_sensitive": entry.key.is_sensitive,
        "config_type": int(entry.key.type),
        "documentation": entry.key.doc if request.include_documentation else None,
        "synonyms": [
            {"name": each.name, "value": each.value, "source": int(each.source)}
            for each in entry.synonyms
        ]
        if request.include_synonyms
        else (),
    }
