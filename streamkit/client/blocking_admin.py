"""The blocking twin of Admin, for programs without an event loop."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from streamkit.client.admin import Admin
from streamkit.client.admin_cluster import (
    ClusterDescription,
    ElectionType,
    Features,
    FeatureUpdate,
    LogDirectory,
)
from streamkit.client.admin_configs import AlterOperation, ConfigEntry, Resource, ResourceType
from streamkit.client.admin_topics import NewTopic
from streamkit.client.admin_transactions import (
    ProducerState,
    TransactionDescription,
    TransactionListing,
)
from streamkit.client.group_descriptions import GroupDescription
from streamkit.client.groups import GroupListing
from streamkit.client.metadata import TopicView
from streamkit.client.offsets import CommittedOffset
from streamkit.client.portal import Portal
from streamkit.common.model import TopicPartition
from streamkit.common.seams import Seams
from streamkit.common.system import system_seams


class BlockingAdmin:
    """`Admin` without async.

    with BlockingAdmin({"bootstrap.servers": "localhost:9092"}) as admin:
        admin.create_topics([NewTopic("orders", partitions=3)])
    """

    def __init__(self, config: Mapping[str, Any], *, seams: Seams | None = None) -> None:
        seams = seams or system_seams()
        self._admin = Admin(config, seams=seams)
        self._portal = Portal(lambda: self._admin, seams.spawn)

    def __enter__(self) -> Self:
        self._portal.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._portal.close()

    def create_topics(
        self, topics: Iterable[NewTopic], *, exist_ok: bool = False, validate_only: bool = False
    ) -> dict[str, UUID | None]:
        """As `Admin.create_topics`."""
        work = self._admin.create_topics(topics, exist_ok=exist_ok, validate_only=validate_only)
        return self._portal.run(work)

    def delete_topics(self, names: Iterable[str]) -> None:
        """As `Admin.delete_topics`."""
        self._portal.run(self._admin.delete_topics(names))

    def create_partitions(self, topic: str, count: int, *, validate_only: bool = False) -> None:
        """As `Admin.create_partitions`."""
        work = self._admin.create_partitions(topic, count, validate_only=validate_only)
        self._portal.run(work)

    def list_topics(self, *, internal: bool = False) -> list[str]:
        """As `Admin.list_topics`."""
        return self._portal.run(self._admin.list_topics(internal=internal))

    def describe_topics(self, names: Iterable[str]) -> dict[str, TopicView]:
        """As `Admin.describe_topics`."""
        return self._portal.run(self._admin.describe_topics(names))

    def describe_cluster(self) -> ClusterDescription:
        """As `Admin.describe_cluster`."""
        return self._portal.run(self._admin.describe_cluster())

    def describe_configs(
        self, resource: Resource, keys: Sequence[str] | None = None
    ) -> dict[str, ConfigEntry]:
        """As `Admin.describe_configs`."""
        return self._portal.run(self._admin.describe_configs(resource, keys))

    def alter_configs(
        self,
        resource: Resource,
        changes: Mapping[str, str | None],
        *,
        operation: AlterOperation = AlterOperation.SET,
        validate_only: bool = False,
    ) -> None:
        """As `Admin.alter_configs`."""
        work = self._admin.alter_configs(
            resource, changes, operation=operation, validate_only=validate_only
        )
        self._portal.run(work)

    def delete_records(self, before: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """As `Admin.delete_records`."""
        return self._portal.run(self._admin.delete_records(before))

    def describe_streams_group(self, group_id: str) -> Any:
        """As `Admin.describe_streams_group`."""
        return self._portal.run(self._admin.describe_streams_group(group_id))

    def supported_features(self) -> frozenset[str]:
        """As `Admin.supported_features`."""
        return self._portal.run(self._admin.supported_features())

    def describe_features(self) -> Features:
        """As `Admin.describe_features`."""
        return self._portal.run(self._admin.describe_features())

    def update_features(
        self, updates: Mapping[str, FeatureUpdate], *, validate_only: bool = False
    ) -> None:
        """As `Admin.update_features`."""
        self._portal.run(self._admin.update_features(updates, validate_only=validate_only))

    def describe_log_dirs(
        self,
        brokers: Iterable[int] | None = None,
        partitions: Iterable[TopicPartition] | None = None,
    ) -> dict[int, list[LogDirectory]]:
        """As `Admin.describe_log_dirs`."""
        return self._portal.run(self._admin.describe_log_dirs(brokers, partitions))

    def elect_leaders(
        self, kind: ElectionType, partitions: Iterable[TopicPartition] | None = None
    ) -> dict[TopicPartition, bool]:
        """As `Admin.elect_leaders`."""
        return self._portal.run(self._admin.elect_leaders(kind, partitions))

    def list_config_resources(self, types: Collection[ResourceType] = ()) -> list[Resource]:
        """As `Admin.list_config_resources`."""
        return self._portal.run(self._admin.list_config_resources(types))

    def list_groups(
        self, *, types: Sequence[str] = (), states: Sequence[str] = ()
    ) -> list[GroupListing]:
        """As `Admin.list_groups`."""
        return self._portal.run(self._admin.list_groups(types=types, states=states))

    def describe_groups(self, group_ids: Iterable[str]) -> dict[str, GroupDescription]:
        """As `Admin.describe_groups`."""
        return self._portal.run(self._admin.describe_groups(group_ids))

    def delete_groups(self, group_ids: Iterable[str]) -> None:
        """As `Admin.delete_groups`."""
        self._portal.run(self._admin.delete_groups(group_ids))

    def list_group_offsets(
        self,
        group_id: str,
        partitions: Iterable[TopicPartition] | None = None,
        *,
        require_stable: bool = False,
    ) -> dict[TopicPartition, CommittedOffset]:
        """As `Admin.list_group_offsets`."""
        work = self._admin.list_group_offsets(group_id, partitions, require_stable=require_stable)
        return self._portal.run(work)

    def alter_group_offsets(
        self, group_id: str, offsets: Mapping[TopicPartition, int | CommittedOffset]
    ) -> None:
        """As `Admin.alter_group_offsets`."""
        self._portal.run(self._admin.alter_group_offsets(group_id, offsets))

    def delete_group_offsets(self, group_id: str, partitions: Iterable[TopicPartition]) -> None:
        """As `Admin.delete_group_offsets`."""
        self._portal.run(self._admin.delete_group_offsets(group_id, partitions))

    def list_transactions(
        self,
        *,
        states: Sequence[str] = (),
        producer_ids: Collection[int] = (),
        running_longer_than_ms: int = -1,
        id_pattern: str | None = None,
    ) -> list[TransactionListing]:
        """As `Admin.list_transactions`."""
        return self._portal.run(
            self._admin.list_transactions(
                states=states,
                producer_ids=producer_ids,
                running_longer_than_ms=running_longer_than_ms,
                id_pattern=id_pattern,
            )
        )

    def describe_transactions(
        self, transactional_ids: Iterable[str]
    ) -> dict[str, TransactionDescription]:
        """As `Admin.describe_transactions`."""
        return self._portal.run(self._admin.describe_transactions(transactional_ids))

    def describe_producers(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, Sequence[ProducerState]]:
        """As `Admin.describe_producers`."""
        return self._portal.run(self._admin.describe_producers(partitions))

    def abort_transaction(self, partition: TopicPartition, start_offset: int) -> ProducerState:
        """As `Admin.abort_transaction`."""
        return self._portal.run(self._admin.abort_transaction(partition, start_offset))
