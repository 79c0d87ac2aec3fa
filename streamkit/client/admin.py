"""The admin client: topics, configurations, the cluster and its groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from streamkit.client.admin_transactions import Transactions
from streamkit.client.client import Client, CoordinatorKind
from streamkit.client.draft import Draft
from streamkit.client.errors import error_for, raise_for
from streamkit.client.groups import Groups
from streamkit.client.metadata import BrokerView, TopicView
from streamkit.client.offsets import Offsets
from streamkit.client.settings import AdminSettings, ClientSettings, settings_of
from streamkit.common.errors import StreamkitError
from streamkit.common.model import TopicPartition
from streamkit.common.seams import Seams
from streamkit.common.system import system_seams
from streamkit.protocol.apis import ApiKey

DEFAULT = -1
"""So many partitions or replicas as the broker's configuration says."""


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
class NewTopic:
    """A topic to create; `configs` by Kafka's names."""

    name: str
    partitions: int = DEFAULT
    replication_factor: int = DEFAULT
    configs: Mapping[str, str] = field(default_factory=dict)


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


@dataclass(frozen=True, slots=True)
class ClusterDescription:
    """The cluster as DescribeCluster shows it."""

    cluster_id: str
    controller_id: int
    brokers: tuple[BrokerView, ...]


class Admin:
    """Create, look at and change what a cluster holds.

        async with Admin({"bootstrap.servers": "localhost:9092"}) as admin:
            await admin.create_topics([NewTopic("orders", partitions=3)])
            print(await admin.list_topics())

    Each call retries until `default.api.timeout.ms`. Errors for single items are raised for the
    first that fails, unless the call says that it gives them back.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | ClientSettings,
        *,
        seams: Seams | None = None,
        client: Client | None = None,
    ) -> None:
        self._owns_client = client is None
        if client is None:
            settings = (
                config if isinstance(config, ClientSettings) else settings_of(AdminSettings, config)
            )
            client = Client(settings, seams or system_seams())
        self._client = client
        self.offsets = Offsets(client)
        self.groups = Groups(client)
        self.transactions = Transactions(client)

    @classmethod
    def of(cls, client: Client) -> Admin:
        """An admin on a client that is open already, and stays open."""
        return cls(client.settings, client=client)

    async def __aenter__(self) -> Self:
        if self._owns_client:
            await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._owns_client:
            await self._client.__aexit__(kind, error, trace)

    async def supported_features(self) -> frozenset[str]:
        """The features that the cluster advertises, extensions of ours among them."""
        return frozenset(await self._client.retrying(self._client.supported_features))

    async def create_topics(
        self, topics: Iterable[NewTopic], *, exist_ok: bool = False, validate_only: bool = False
    ) -> dict[str, UUID | None]:
        """Create topics; gives their ids. Raises TopicExistsError unless `exist_ok`."""
        wanted = list(topics)
        draft = Draft(
            ApiKey.CREATE_TOPICS,
            {
                "topics": [_new_topic(topic) for topic in wanted],
                "timeout": self._client.settings.request_timeout_ms,
                "validate_only": validate_only,
            },
        )

        def check(response: Any) -> None:
            for topic in response.topics:
                if exist_ok and topic.error_code == _EXISTS:
                    continue
                raise_for(topic.error_code, f"create topic {topic.name!r}", topic.error_message)

        response = await self._client.request(None, draft, check)
        if not validate_only:
            names = [topic.name for topic in wanted]
            await self._client.retrying(lambda: self._client.metadata.refresh(names))
        return {topic.name: topic.topic_id for topic in response.topics}

    async def delete_topics(self, names: Iterable[str]) -> None:
        """Delete topics. Raises UnknownTopicError once the time is up, for those that are not."""
        gone = list(names)
        draft = Draft(
            ApiKey.DELETE_TOPICS,
            {
                "topics": [{"name": name, "topic_id": None} for name in gone],
                "topic_names": gone,
                "timeout": self._client.settings.request_timeout_ms,
            },
        )
        errors: list[StreamkitError] = []

        def check(response: Any) -> None:
            errors.clear()
            for answer in response.responses:
                if answer.error_code == _UNKNOWN_TOPIC:
                    # Waiting does not bring it back, so this is not retried.
                    errors.append(error_for(answer.error_code, f"delete topic {answer.name!r}"))
                else:
                    raise_for(answer.error_code, f"delete topic {answer.name!r}")

        await self._client.request(None, draft, check)
        await self._client.retrying(lambda: self._client.metadata.refresh(gone))
        if errors:
            raise errors[0]

    async def create_partitions(
        self, topic: str, count: int, *, validate_only: bool = False
    ) -> None:
        """Give a topic more partitions: `count` in all. Raises UsageError for fewer."""
        fields = {
            "topics": [{"name": topic, "count": count, "assignments": None}],
            "timeout": self._client.settings.request_timeout_ms,
            "validate_only": validate_only,
        }

        def check(response: Any) -> None:
            for answer in response.results:
                what = f"{count} partitions for topic {answer.name!r}"
                raise_for(answer.error_code, what, answer.error_message)

        await self._client.request(None, Draft(ApiKey.CREATE_PARTITIONS, fields), check)
        await self._client.retrying(lambda: self._client.metadata.refresh([topic]))

    async def list_topics(self, *, internal: bool = False) -> list[str]:
        """The names of all topics, sorted; Kafka's own only with `internal`."""
        view = await self._client.retrying(lambda: self._client.metadata.refresh(all_topics=True))
        return sorted(t.name for t in view.topics.values() if internal or not t.is_internal)

    async def describe_topics(self, names: Iterable[str]) -> dict[str, TopicView]:
        """Partitions, leaders and ids of topics.

        Raises UnknownTopicError for one that does not turn up within a few tries.
        """
        wanted = list(names)

        async def attempt() -> dict[str, TopicView]:
            view = await self._client.metadata.refresh(wanted)
            for name in wanted:
                if name not in view.topics:
                    raise error_for(view.errors.get(name, _UNKNOWN_TOPIC), f"topic {name!r}")
            return {name: view.topics[name] for name in wanted}

        return await self._client.retrying(attempt, DESCRIBE_TIMEOUT_MS)

    async def describe_cluster(self) -> ClusterDescription:
        """The cluster's id and its brokers."""
        response = await self._client.request(
            None,
            Draft(ApiKey.DESCRIBE_CLUSTER, {}),
            lambda answer: raise_for(answer.error_code, "describe cluster", answer.error_message),
        )
        brokers = (BrokerView(b.broker_id, b.host, b.port, b.rack) for b in response.brokers)
        return ClusterDescription(response.cluster_id, response.controller_id, tuple(brokers))

    async def describe_configs(
        self, resource: Resource, keys: Sequence[str] | None = None
    ) -> dict[str, ConfigEntry]:
        """The configuration of a topic, broker or group; all keys when none are named."""
        described = {
            "resource_type": int(resource.type),
            "resource_name": resource.name,
            "configuration_keys": keys,
        }
        response = await self._client.request(
            _node_of(resource),
            Draft(ApiKey.DESCRIBE_CONFIGS, {"resources": [described]}),
            _check_results(f"configuration of {resource.type.name.lower()} {resource.name!r}"),
        )
        return {
            entry.name: ConfigEntry(
                entry.name, entry.value, entry.config_source, entry.read_only, entry.is_sensitive
            )
            for entry in response.results[0].configs
        }

    async def alter_configs(
        self,
        resource: Resource,
        changes: Mapping[str, str | None],
        *,
        operation: AlterOperation = AlterOperation.SET,
        validate_only: bool = False,
    ) -> None:
        """Change single keys (IncrementalAlterConfigs); None sets a key back to its default.

        `operation` APPEND and SUBTRACT are for keys that hold lists.
        """
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

    async def delete_records(
        self, before: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Delete records below these offsets (-1: all); gives where the logs begin now."""
        found: dict[TopicPartition, int] = {}

        async def attempt() -> dict[TopicPartition, int]:
            left = {tp: offset for tp, offset in before.items() if tp not in found}
            view = await self._client.metadata.refresh(tp.topic for tp in left)
            by_leader, missing = view.by_leader(left)
            for tp in missing:
                raise error_for(view.errors.get(tp.topic, _UNKNOWN_TOPIC), f"delete of {tp}")
            for leader in sorted(by_leader):
                asked = {tp: left[tp] for tp in by_leader[leader]}
                await self._delete_records_at(leader, asked, found)
            return found

        return await self._client.retrying(attempt)

    async def _delete_records_at(
        self,
        leader: int,
        before: Mapping[TopicPartition, int],
        found: dict[TopicPartition, int],
    ) -> None:
        topics: dict[str, list[dict[str, int]]] = {}
        for tp, offset in before.items():
            part = {"partition_index": tp.partition, "offset": offset}
            topics.setdefault(tp.topic, []).append(part)
        fields = {
            "topics": [{"name": name, "partitions": parts} for name, parts in topics.items()],
            "timeout": self._client.settings.request_timeout_ms,
        }
        response = await self._client.call(leader, Draft(ApiKey.DELETE_RECORDS, fields))
        for topic in response.topics:
            for answer in topic.partitions:
                tp = TopicPartition(topic.name, answer.partition_index)
                raise_for(answer.error_code, f"delete of {tp} below {before[tp]}")
                found[tp] = answer.low_watermark

    async def describe_streams_group(self, group_id: str) -> Any:
        """A streams group as the coordinator shows it (kio's `DescribedGroup`).

        Raises UsageError when there is no such group.
        """

        def check(response: Any) -> None:
            group = response.groups[0]
            raise_for(group.error_code, f"streams group {group_id!r}", group.error_message)

        response = await self._client.call_coordinator(
            CoordinatorKind.GROUP,
            group_id,
            Draft(ApiKey.STREAMS_GROUP_DESCRIBE, {"group_ids": (group_id,)}),
            check,
        )
        return response.groups[0]


_EXISTS = 36
_UNKNOWN_TOPIC = 3

DESCRIBE_TIMEOUT_MS = 5_000
"""A topic that was just created turns up within this time."""


def _new_topic(topic: NewTopic) -> dict[str, Any]:
    return {
        "name": topic.name,
        "num_partitions": topic.partitions,
        "replication_factor": topic.replication_factor,
        "configs": [{"name": name, "value": value} for name, value in topic.configs.items()],
    }


def _node_of(resource: Resource) -> int | None:
    """A broker's own configuration is served by that broker only."""
    is_broker = resource.type in (ResourceType.BROKER, ResourceType.BROKER_LOGGER)
    return int(resource.name) if is_broker and resource.name else None


def _check_results(what: str) -> Any:
    def check(response: Any) -> None:
        for answer in response.results:
            raise_for(answer.error_code, what, answer.error_message)

    return check
