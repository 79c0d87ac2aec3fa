"""The admin client: topics, configurations, the cluster, its groups and its transactions.

One method for each thing to ask; what it takes lies in a module for each theme.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from streamkit.client.admin_cluster import (
    Cluster,
    ClusterDescription,
    ElectionType,
    Features,
    FeatureUpdate,
    LogDirectory,
)
from streamkit.client.admin_configs import (
    AlterOperation,
    ConfigEntry,
    Configs,
    Resource,
    ResourceType,
)
from streamkit.client.admin_topics import DEFAULT, NewTopic, Topics
from streamkit.client.admin_transactions import (
    ProducerState,
    TransactionDescription,
    TransactionListing,
    Transactions,
)
from streamkit.client.client import Client, CoordinatorKind
from streamkit.client.draft import Draft
from streamkit.client.errors import error_for, raise_for
from streamkit.client.group_descriptions import GroupDescription
from streamkit.client.groups import GroupListing, Groups
from streamkit.client.metadata import TopicView
from streamkit.client.offsets import CommittedOffset, Offsets
from streamkit.client.settings import AdminSettings, ClientSettings, settings_of
from streamkit.common.model import TopicPartition
from streamkit.common.seams import Seams
from streamkit.common.system import system_seams
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode

__all__ = [
    "DEFAULT",
    "Admin",
    "AlterOperation",
    "ClusterDescription",
    "ConfigEntry",
    "NewTopic",
    "Resource",
    "ResourceType",
]


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
        self._topics = Topics(client)
        self._configs = Configs(client)
        self._cluster = Cluster(client)

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

    async def create_topics(
        self, topics: Iterable[NewTopic], *, exist_ok: bool = False, validate_only: bool = False
    ) -> dict[str, UUID | None]:
        """Create topics; gives their ids.

        Raises TopicExistsError unless `exist_ok`, UsageError for assignments to no broker.
        """
        return await self._topics.create(topics, exist_ok=exist_ok, validate_only=validate_only)

    async def delete_topics(self, names: Iterable[str]) -> None:
        """Delete topics. Raises UnknownTopicError once the time is up, for those that are not."""
        await self._topics.delete(names)

    async def create_partitions(
        self, topic: str, count: int, *, validate_only: bool = False
    ) -> None:
        """Give a topic more partitions: `count` in all. Raises UsageError for fewer."""
        await self._topics.create_partitions(topic, count, validate_only=validate_only)

    async def list_topics(self, *, internal: bool = False) -> list[str]:
        """The names of all topics, sorted; Kafka's own only with `internal`."""
        return await self._topics.list(internal=internal)

    async def describe_topics(self, names: Iterable[str]) -> dict[str, TopicView]:
        """Partitions, leaders and ids of topics.

        Raises UnknownTopicError for one that does not turn up within a few tries.
        """
        return await self._topics.describe(names)

    async def delete_records(
        self, before: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Delete records below these offsets (-1: all); gives where the logs begin now."""
        return await self._topics.delete_records(before)

    async def describe_cluster(self) -> ClusterDescription:
        """The cluster's id and its brokers."""
        return await self._cluster.describe()

    async def supported_features(self) -> frozenset[str]:
        """The features that the cluster advertises, extensions of ours among them."""
        return frozenset(await self._client.retrying(self._client.supported_features))

    async def describe_features(self) -> Features:
        """The features with the levels that a broker supports and those that are agreed on."""
        return await self._cluster.features()

    async def update_features(
        self, updates: Mapping[str, FeatureUpdate], *, validate_only: bool = False
    ) -> None:
        """Agree on other levels, all or none of them (KIP-584).

        Raises UsageError for a level that is not supported, or a downgrade not said to be one.
        """
        await self._cluster.update_features(updates, validate_only=validate_only)

    async def describe_log_dirs(
        self,
        brokers: Iterable[int] | None = None,
        partitions: Iterable[TopicPartition] | None = None,
    ) -> dict[int, list[LogDirectory]]:
        """By broker, its log directories with the bytes of these partitions, or of all.

        A partition that a broker does not have is left out. Raises RefreshMetadataError once the
        time is up for a broker that there is not.
        """
        return await self._cluster.log_directories(brokers, partitions)

    async def elect_leaders(
        self, kind: ElectionType, partitions: Iterable[TopicPartition] | None = None
    ) -> dict[TopicPartition, bool]:
        """Elect leaders; whether each got another one, of all partitions only those that did.

        Raises UnknownTopicError for a partition that is not there, RefreshMetadataError when no
        replica may lead.
        """
        return await self._cluster.elect(kind, partitions)

    async def list_config_resources(self, types: Collection[ResourceType] = ()) -> list[Resource]:
        """What may have a configuration, of these types or of all (KIP-1142)."""
        return await self._configs.list_resources(types)

    async def describe_configs(
        self, resource: Resource, keys: Sequence[str] | None = None
    ) -> dict[str, ConfigEntry]:
        """The configuration of a topic, broker or group; all keys when none are named."""
        return await self._configs.describe(resource, keys)

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
        await self._configs.alter(
            resource, changes, operation=operation, validate_only=validate_only
        )

    async def list_groups(
        self, *, types: Sequence[str] = (), states: Sequence[str] = ()
    ) -> list[GroupListing]:
        """Every group, or those of these types (`classic`, `consumer`, …) and states, by id."""
        return await self.groups.list(types=types, states=states)

    async def describe_groups(self, group_ids: Iterable[str]) -> dict[str, GroupDescription]:
        """Groups of consumers, classic or new: their members and what each of them reads.

        Raises UsageError for one that there is not, or that is of another type.
        """
        return {each: await self.groups.describe(each) for each in group_ids}

    async def delete_groups(self, group_ids: Iterable[str]) -> None:
        """Delete groups with their offsets.

        Raises UsageError for one that has members, or that there is not; those before it are gone.
        """
        for each in group_ids:
            if not await self.groups.delete(each):
                raise error_for(ErrorCode.group_id_not_found, f"delete group {each!r}")

    async def list_group_offsets(
        self,
        group_id: str,
        partitions: Iterable[TopicPartition] | None = None,
        *,
        require_stable: bool = False,
    ) -> dict[TopicPartition, CommittedOffset]:
        """What a group has committed, for these partitions or for all; empty for an unknown one.

        With `require_stable` it waits for offsets of open transactions (KIP-447).
        """
        return await self.groups.offsets(group_id, partitions, require_stable=require_stable)

    async def alter_group_offsets(
        self, group_id: str, offsets: Mapping[TopicPartition, int | CommittedOffset]
    ) -> None:
        """Set what a group without members has committed; makes a group that there is not.

        Raises UsageError when it has members, UnknownTopicError once the time is up for a
        partition that is not there.
        """
        await self.groups.alter_offsets(group_id, offsets)

    async def delete_group_offsets(
        self, group_id: str, partitions: Iterable[TopicPartition]
    ) -> None:
        """Forget what a group committed for these partitions.

        Raises UsageError when there is no such group or it reads one of the topics,
        UnknownTopicError for a partition that is not there.
        """
        await self.groups.delete_offsets(group_id, partitions)

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

    async def list_transactions(
        self,
        *,
        states: Sequence[str] = (),
        producer_ids: Collection[int] = (),
        running_longer_than_ms: int = -1,
        id_pattern: str | None = None,
    ) -> list[TransactionListing]:
        """Every transactional id that passes all filters, by id.

        Raises UsageError for a state that a broker does not know.
        """
        return await self.transactions.list(
            states=states,
            producer_ids=producer_ids,
            running_longer_than_ms=running_longer_than_ms,
            id_pattern=id_pattern,
        )

    async def describe_transactions(
        self, transactional_ids: Iterable[str]
    ) -> dict[str, TransactionDescription]:
        """Transactions by transactional id. Raises UsageError for an id that there is not."""
        return {each: await self.transactions.describe(each) for each in transactional_ids}

    async def describe_producers(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, Sequence[ProducerState]]:
        """The producers that the leaders remember, by partition.

        Raises UnknownTopicError once the time is up for a partition that is not there.
        """
        return {tp: await self.transactions.producers(tp) for tp in partitions}

    async def abort_transaction(
        self, partition: TopicPartition, start_offset: int
    ) -> ProducerState:
        """Abort the transaction that is open in a partition since `start_offset`.

        For one that hangs: its coordinator knows nothing of it (KIP-664). Gives the producer
        whose it was. Raises UsageError when none is open there.
        """
        return await self.transactions.abort(partition, start_offset)
