"""Request handlers: one file per API, each with `handle`; loaded on the API's first request.

A handler is either canonical or native. A canonical one gets the request in its newest version
and gives plain values by field name; the dispatcher translates both ways. A native one gets the
request in the version it came in and gives back a message of that version: those are the hot
ones, and those whose old versions say the same thing in another shape.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import import_module

from streamkit.broker.context import RequestContext
from streamkit.protocol.apis import VERSIONS, ApiKey, VersionRange
from streamkit.protocol.messages import Message

Handle = Callable[[RequestContext, Message], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class ServedApi:
    """One API that this broker serves, and in which versions."""

    api: ApiKey
    module: str
    is_native: bool = False
    listed_from: int | None = None

    @property
    def versions(self) -> VersionRange:
        """The versions that are answered."""
        return VERSIONS[self.api]

    @property
    def listed(self) -> VersionRange:
        """The versions that ApiVersions lists."""
        low, high = self.versions
        return VersionRange(low if self.listed_from is None else self.listed_from, high)

    def load(self) -> Handle:
        """Import the handler."""
        handle: Handle = import_module(self.module).handle
        return handle


def _served(*apis: ServedApi) -> dict[int, ServedApi]:
    return {int(served.api): served for served in apis}


SERVED = _served(
    # librdkafka 2.x takes a broker that lists Produce from 3 for one without LZ4 (KAFKA-18659).
    ServedApi(ApiKey.PRODUCE, "streamkit.broker.handlers.produce", is_native=True, listed_from=0),
    ServedApi(ApiKey.FETCH, "streamkit.broker.handlers.fetch", is_native=True),
    ServedApi(ApiKey.LIST_OFFSETS, "streamkit.broker.handlers.list_offsets"),
    ServedApi(ApiKey.METADATA, "streamkit.broker.handlers.metadata"),
    ServedApi(ApiKey.OFFSET_COMMIT, "streamkit.broker.handlers.offset_commit", is_native=True),
    ServedApi(ApiKey.OFFSET_FETCH, "streamkit.broker.handlers.offset_fetch", is_native=True),
    ServedApi(
        ApiKey.FIND_COORDINATOR, "streamkit.broker.handlers.find_coordinator", is_native=True
    ),
    ServedApi(ApiKey.JOIN_GROUP, "streamkit.broker.handlers.join_group"),
    ServedApi(ApiKey.HEARTBEAT, "streamkit.broker.handlers.heartbeat"),
    ServedApi(ApiKey.LEAVE_GROUP, "streamkit.broker.handlers.leave_group", is_native=True),
    ServedApi(ApiKey.SYNC_GROUP, "streamkit.broker.handlers.sync_group"),
    ServedApi(ApiKey.DESCRIBE_GROUPS, "streamkit.broker.handlers.describe_groups"),
    ServedApi(ApiKey.LIST_GROUPS, "streamkit.broker.handlers.list_groups"),
    ServedApi(ApiKey.API_VERSIONS, "streamkit.broker.handlers.api_versions", is_native=True),
    ServedApi(ApiKey.CREATE_TOPICS, "streamkit.broker.handlers.create_topics"),
    ServedApi(ApiKey.DELETE_TOPICS, "streamkit.broker.handlers.delete_topics", is_native=True),
    ServedApi(ApiKey.DELETE_RECORDS, "streamkit.broker.handlers.delete_records"),
    ServedApi(ApiKey.INIT_PRODUCER_ID, "streamkit.broker.handlers.init_producer_id"),
    ServedApi(
        ApiKey.ADD_PARTITIONS_TO_TXN,
        "streamkit.broker.handlers.add_partitions_to_txn",
        is_native=True,
    ),
    ServedApi(ApiKey.ADD_OFFSETS_TO_TXN, "streamkit.broker.handlers.add_offsets_to_txn"),
    ServedApi(ApiKey.END_TXN, "streamkit.broker.handlers.end_txn"),
    ServedApi(ApiKey.WRITE_TXN_MARKERS, "streamkit.broker.handlers.write_txn_markers"),
    ServedApi(
        ApiKey.TXN_OFFSET_COMMIT, "streamkit.broker.handlers.txn_offset_commit", is_native=True
    ),
    ServedApi(ApiKey.OFFSET_FOR_LEADER_EPOCH, "streamkit.broker.handlers.offset_for_leader_epoch"),
    ServedApi(ApiKey.DESCRIBE_CONFIGS, "streamkit.broker.handlers.describe_configs"),
    ServedApi(ApiKey.CREATE_PARTITIONS, "streamkit.broker.handlers.create_partitions"),
    ServedApi(
        ApiKey.INCREMENTAL_ALTER_CONFIGS, "streamkit.broker.handlers.incremental_alter_configs"
    ),
    ServedApi(ApiKey.DELETE_GROUPS, "streamkit.broker.handlers.delete_groups"),
    ServedApi(ApiKey.OFFSET_DELETE, "streamkit.broker.handlers.offset_delete"),
    ServedApi(ApiKey.DESCRIBE_PRODUCERS, "streamkit.broker.handlers.describe_producers"),
    ServedApi(ApiKey.DESCRIBE_TRANSACTIONS, "streamkit.broker.handlers.describe_transactions"),
    ServedApi(ApiKey.LIST_TRANSACTIONS, "streamkit.broker.handlers.list_transactions"),
    ServedApi(ApiKey.ALTER_CONFIGS, "streamkit.broker.handlers.alter_configs"),
    ServedApi(ApiKey.DESCRIBE_LOG_DIRS, "streamkit.broker.handlers.describe_log_dirs"),
    ServedApi(ApiKey.ALTER_REPLICA_LOG_DIRS, "streamkit.broker.handlers.alter_replica_log_dirs"),
    ServedApi(ApiKey.ELECT_LEADERS, "streamkit.broker.handlers.elect_leaders"),
    ServedApi(
        ApiKey.ALTER_PARTITION_REASSIGNMENTS,
        "streamkit.broker.handlers.alter_partition_reassignments",
    ),
    ServedApi(
        ApiKey.LIST_PARTITION_REASSIGNMENTS,
        "streamkit.broker.handlers.list_partition_reassignments",
    ),
    ServedApi(ApiKey.LIST_CONFIG_RESOURCES, "streamkit.broker.handlers.list_config_resources"),
    ServedApi(ApiKey.UPDATE_FEATURES, "streamkit.broker.handlers.update_features"),
    ServedApi(ApiKey.DESCRIBE_QUORUM, "streamkit.broker.handlers.describe_quorum"),
    ServedApi(ApiKey.DESCRIBE_CLUSTER, "streamkit.broker.handlers.describe_cluster"),
    ServedApi(
        ApiKey.DESCRIBE_TOPIC_PARTITIONS, "streamkit.broker.handlers.describe_topic_partitions"
    ),
    ServedApi(
        ApiKey.CONSUMER_GROUP_HEARTBEAT, "streamkit.broker.handlers.consumer_group_heartbeat"
    ),
    ServedApi(ApiKey.CONSUMER_GROUP_DESCRIBE, "streamkit.broker.handlers.consumer_group_describe"),
    ServedApi(ApiKey.STREAMS_GROUP_HEARTBEAT, "streamkit.broker.handlers.streams_group_heartbeat"),
    ServedApi(ApiKey.STREAMS_GROUP_DESCRIBE, "streamkit.broker.handlers.streams_group_describe"),
)
"""The APIs of the broker's listener."""
