"""Configurations of topics, brokers and groups: list what has one, describe it, change it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from streamkit.client.client import Client
from streamkit.client.draft import Draft
from streamkit.client.errors import raise_for
from streamkit.protocol.apis import ApiKey

LIST_TYPES_SINCE = 1
"""ListConfigResources knows other types than client metrics since then (KIP-1142)."""


class ResourceType(IntEnum):
    """What a configuration belongs to."""

    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8
    CLIENT_METRICS = 16
    GROUP = 32


class AlterOperation(IntEnum):
    """What an incremental change does to a key."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


@dataclass(frozen=True, slots=True)
class Resource:
    """A topic, broker or group by name; a broker's name is its node id."""

    type: ResourceType
    name: str


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    """One key of a configuration; `source` is Kafka's number, 5 for a built-in default."""

    name: str
    value: str | None
    source: int
    is_read_only: bool = False
    is_sensitive: bool = False

    @property
    def is_default(self) -> bool:
        """Whether nobody set it."""
        return self.source == 5


class Configs:
    """Calls on configurations; each retries until `default.api.timeout.ms`.

    await Configs(client).describe(Resource(ResourceType.TOPIC, "orders"))
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def list_resources(self, types: Collection[ResourceType] = ()) -> list[Resource]:
        """What may have a configuration, of these types or of all, by type and name."""
        draft = Draft(
            ApiKey.LIST_CONFIG_RESOURCES,
            {"resource_types": tuple(sorted(int(each) for each in types))},
            version_min=LIST_TYPES_SINCE,
        )
        response = await self._client.request(
            None, draft, lambda answer: raise_for(answer.error_code, "list of config resources")
        )
        found = (
            Resource(ResourceType(each.resource_type), each.resource_name)
            for each in response.config_resources
        )
        return sorted(found, key=lambda each: (each.type, each.name))

    async def describe(
        self, resource: Resource, keys: Sequence[str] | None = None
    ) -> dict[str, ConfigEntry]:
        """The configuration of one resource; all keys when none are named."""
        described = {
            "resource_type": int(resource.type),
            "resource_name": resource.name,
            "configuration_keys": keys,
        }
        what = f"configuration of {resource.type.name.lower()} {resource.name!r}"

        def check(response: Any) -> None:
            for answer in response.results:
                raise_for(answer.error_code, what, answer.error_message)

        draft = Draft(ApiKey.DESCRIBE_CONFIGS, {"resources": [described]})
        response = await self._client.request(_node_of(resource), draft, check)
        return {
            entry.name: ConfigEntry(
                entry.name, entry.value, entry.config_source, entry.read_only, entry.is_sensitive
            )
            for entry in response.results[0].configs
        }

    async def alter(
        self,
        resource: Resource,
        changes: Mapping[str, str | None],
        *,
        operation: AlterOperation,
        validate_only: bool,
    ) -> None:
        """Change single keys (IncrementalAlterConfigs); None sets a key back to its default."""
        altered = {
            "resource_type": int(resource.type),
            "resource_name": resource.name,
            "configs": [
                {
                    "name": name,
                    "config_operation": int(AlterOperation.DELETE if value is None else operation),
                    "value": value,
                }
                for name, value in changes.items()
            ],
        }
        what = f"alter configuration of {resource.type.name.lower()} {resource.name!r}"

        def check(response: Any) -> None:
            for answer in response.responses:
                raise_for(answer.error_code, what, answer.error_message)

        fields = {"resources": [altered], "validate_only": validate_only}
        draft = Draft(ApiKey.INCREMENTAL_ALTER_CONFIGS, fields)
        await self._client.request(_node_of(resource), draft, check)


def _node_of(resource: Resource) -> int | None:
    """A broker's own configuration is served by that broker only."""
    is_broker = resource.type in (ResourceType.BROKER, ResourceType.BROKER_LOGGER)
    return int(resource.name) if is_broker and resource.name else None
