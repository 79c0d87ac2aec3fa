"""The records of the metadata log, declared as kio-style entities.

Each class is the newest version of its record. A field that came later than version 0 says so
with `since`; `at_version` derives the older forms. Field tables: KIP-631 and the KIPs that added
fields (KIP-841, 858, 966, 996, 1066). kio reads the annotations, so they stay evaluated here.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar, dataclass_transform
from uuid import UUID

from streamkit.protocol import kio_import as _kio_import  # noqa: F401  # before any of kio

# isort: split
from kio.static.constants import EntityType

C = TypeVar("C")

NO_LEADER = -1
NO_LEADER_CHANGE = -2
UNSET = -1

RECORD_CLASSES: dict[int, type[Any]] = {}
"""Class of each record type."""
RECORD_TYPES: dict[type[Any], int] = {}
"""Number of each record class."""
RECORD_VERSIONS: dict[type[Any], int] = {}
"""Newest version of each record class."""


def _as(kafka_type: str, *, since: int = 0, tag: int | None = None) -> Mapping[str, Any]:
    """The metadata of a field: its wire type, first version, and tag."""
    tagged = {} if tag is None else {"tag": tag}
    return MappingProxyType({"kafka_type": kafka_type, "since": since, **tagged})


def _entity(cls: type[C], kind: EntityType, version: int) -> type[C]:
    made = dataclasses.dataclass(frozen=True, slots=True, kw_only=True)(cls)
    made.__type__ = kind  # type: ignore[attr-defined]  # kio's marks, not part of our types
    made.__version__ = version  # type: ignore[attr-defined]
    made.__flexible__ = True  # type: ignore[attr-defined]
    return made


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def nested(cls: type[C]) -> type[C]:
    """Declare a structure inside a record."""
    return _entity(cls, EntityType.nested, 0)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def record(number: int, version: int = 0) -> Callable[[type[C]], type[C]]:
    """Declare the record type `number`, whose newest version is `version`."""

    def declare(cls: type[C]) -> type[C]:
        made = _entity(cls, EntityType.data, version)
        RECORD_CLASSES[number] = made
        RECORD_TYPES[made] = number
        RECORD_VERSIONS[made] = version
        return made

    return declare


@cache
def at_version(number: int, version: int) -> type[Any]:
    """The entity class of a record type at a version: without the fields that came later."""
    cls = RECORD_CLASSES[number]
    if version == RECORD_VERSIONS[cls]:
        return cls
    kept: list[tuple[str, Any, Any]] = []
    for each in dataclasses.fields(cls):
        if each.metadata.get("since", 0) <= version:
            spec: dict[str, Any] = {"metadata": each.metadata}
            if each.default is not dataclasses.MISSING:
                spec["default"] = each.default
            kept.append((each.name, each.type, field(**spec)))
    older = dataclasses.make_dataclass(cls.__name__, kept, frozen=True, slots=True, kw_only=True)
    older.__type__ = EntityType.data  # type: ignore[attr-defined]  # as in _entity
    older.__version__ = version  # type: ignore[attr-defined]
    older.__flexible__ = True  # type: ignore[attr-defined]
    return older


@nested
class Endpoint:
    """Where a broker or controller listens."""

    name: str = field(metadata=_as("string"))
    host: str = field(metadata=_as("string"))
    port: int = field(metadata=_as("uint16"))
    security_protocol: int = field(metadata=_as("int16"))


@nested
class FeatureRange:
    """The levels of one feature that a node supports."""

    name: str = field(metadata=_as("string"))
    min_supported_version: int = field(metadata=_as("int16"))
    max_supported_version: int = field(metadata=_as("int16"))


@nested
class QuotaEntity:
    """One part of the name of a client quota; a null name is the default."""

    entity_type: str = field(metadata=_as("string"))
    entity_name: str | None = field(metadata=_as("string"))


@record(0, version=4)
class RegisterBrokerRecord:
    """A broker has registered; its epoch is the offset of this record's batch."""

    broker_id: int = field(metadata=_as("int32"))
    is_migrating_zk_broker: bool = field(metadata=_as("bool", since=2), default=False)
    incarnation_id: UUID | None = field(metadata=_as("uuid"))
    broker_epoch: int = field(metadata=_as("int64"))
    end_points: tuple[Endpoint, ...]
    features: tuple[FeatureRange, ...]
    rack: str | None = field(metadata=_as("string"))
    fenced: bool = field(metadata=_as("bool"), default=True)
    in_controlled_shutdown: bool = field(metadata=_as("bool", since=1), default=False)
    log_dirs: tuple[UUID | None, ...] = field(metadata=_as("uuid", since=3, tag=0), default=())
    cordoned_log_dirs: tuple[UUID | None, ...] | None = field(
        metadata=_as("uuid", since=4, tag=1), default=None
    )


@record(1)
class UnregisterBrokerRecord:
    """A broker is forgotten."""

    broker_id: int = field(metadata=_as("int32"))
    broker_epoch: int = field(metadata=_as("int64"))


@record(2)
class TopicRecord:
    """A topic exists."""

    name: str = field(metadata=_as("string"))
    topic_id: UUID | None = field(metadata=_as("uuid"))


@record(3, version=2)
class PartitionRecord:
    """The whole state of one partition."""

    partition_id: int = field(metadata=_as("int32"), default=-1)
    topic_id: UUID | None = field(metadata=_as("uuid"))
    replicas: tuple[int, ...] = field(metadata=_as("int32"))
    isr: tuple[int, ...] = field(metadata=_as("int32"))
    removing_replicas: tuple[int, ...] = field(metadata=_as("int32"), default=())
    adding_replicas: tuple[int, ...] = field(metadata=_as("int32"), default=())
    leader: int = field(metadata=_as("int32"), default=-1)
    leader_recovery_state: int = field(metadata=_as("int8", tag=0), default=0)
    leader_epoch: int = field(metadata=_as("int32"), default=-1)
    partition_epoch: int = field(metadata=_as("int32"), default=-1)
    directories: tuple[UUID | None, ...] = field(metadata=_as("uuid", since=1), default=())
    eligible_leader_replicas: tuple[int, ...] | None = field(
        metadata=_as("int32", since=2, tag=1), default=None
    )
    last_known_elr: tuple[int, ...] | None = field(
        metadata=_as("int32", since=2, tag=2), default=None
    )


@record(4)
class ConfigRecord:
    """A configuration value is set, or removed when the value is null."""

    resource_type: int = field(metadata=_as("int8"))
    resource_name: str = field(metadata=_as("string"))
    name: str = field(metadata=_as("string"))
    value: str | None = field(metadata=_as("string"))


@record(5, version=2)
class PartitionChangeRecord:
    """What changed in a partition; a field with its default says nothing."""

    partition_id: int = field(metadata=_as("int32"), default=-1)
    topic_id: UUID | None = field(metadata=_as("uuid"))
    isr: tuple[int, ...] | None = field(metadata=_as("int32", tag=0), default=None)
    leader: int = field(metadata=_as("int32", tag=1), default=NO_LEADER_CHANGE)
    replicas: tuple[int, ...] | None = field(metadata=_as("int32", tag=2), default=None)
    removing_replicas: tuple[int, ...] | None = field(metadata=_as("int32", tag=3), default=None)
    adding_replicas: tuple[int, ...] | None = field(metadata=_as("int32", tag=4), default=None)
    leader_recovery_state: int = field(metadata=_as("int8", tag=5), default=UNSET)
    directories: tuple[UUID | None, ...] | None = field(
        metadata=_as("uuid", since=1, tag=8), default=None
    )
    eligible_leader_replicas: tuple[int, ...] | None = field(
        metadata=_as("int32", since=2, tag=6), default=None
    )
    last_known_elr: tuple[int, ...] | None = field(
        metadata=_as("int32", since=2, tag=7), default=None
    )


@record(7)
class FenceBrokerRecord:
    """A broker is fenced; written by old controllers, now a BrokerRegistrationChange."""

    id: int = field(metadata=_as("int32"))
    epoch: int = field(metadata=_as("int64"))


@record(8)
class UnfenceBrokerRecord:
    """A broker is unfenced; written by old controllers, now a BrokerRegistrationChange."""

    id: int = field(metadata=_as("int32"))
    epoch: int = field(metadata=_as("int64"))


@record(9)
class RemoveTopicRecord:
    """A topic is gone, with its partitions and configuration."""

    topic_id: UUID | None = field(metadata=_as("uuid"))


@record(10)
class DelegationTokenRecord:
    """A delegation token (KIP-48)."""

    owner: str = field(metadata=_as("string"))
    requester: str = field(metadata=_as("string"))
    renewers: tuple[str, ...] = field(metadata=_as("string"))
    issue_timestamp: int = field(metadata=_as("int64"))
    max_timestamp: int = field(metadata=_as("int64"))
    expiration_timestamp: int = field(metadata=_as("int64"))
    token_id: str = field(metadata=_as("string"))


@record(11)
class UserScramCredentialRecord:
    """What a SCRAM server knows of a user (KIP-554)."""

    name: str = field(metadata=_as("string"))
    mechanism: int = field(metadata=_as("int8"))
    salt: bytes = field(metadata=_as("bytes"))
    stored_key: bytes = field(metadata=_as("bytes"))
    server_key: bytes = field(metadata=_as("bytes"))
    iterations: int = field(metadata=_as("int32"))


@record(12)
class FeatureLevelRecord:
    """A feature's finalized level; 0 removes it."""

    name: str = field(metadata=_as("string"))
    feature_level: int = field(metadata=_as("int16"))


@record(14)
class ClientQuotaRecord:
    """A client quota is set or removed (KIP-546)."""

    entity: tuple[QuotaEntity, ...]
    key: str = field(metadata=_as("string"))
    value: float = field(metadata=_as("float64"))
    remove: bool = field(metadata=_as("bool"))


@record(15)
class ProducerIdsRecord:
    """A block of producer ids was given out; the next one begins at `next_producer_id`."""

    broker_id: int = field(metadata=_as("int32"))
    broker_epoch: int = field(metadata=_as("int64"), default=-1)
    next_producer_id: int = field(metadata=_as("int64"))


@record(17, version=3)
class BrokerRegistrationChangeRecord:
    """A registration changed: `fenced` is 1 for fenced, -1 for unfenced, 0 for as before."""

    broker_id: int = field(metadata=_as("int32"))
    broker_epoch: int = field(metadata=_as("int64"))
    fenced: int = field(metadata=_as("int8", tag=0), default=0)
    in_controlled_shutdown: int = field(metadata=_as("int8", since=1, tag=1), default=0)
    log_dirs: tuple[UUID | None, ...] = field(metadata=_as("uuid", since=2, tag=2), default=())
    cordoned_log_dirs: tuple[UUID | None, ...] | None = field(
        metadata=_as("uuid", since=3, tag=3), default=None
    )


@record(18)
class AccessControlEntryRecord:
    """An ACL (KIP-801)."""

    id: UUID | None = field(metadata=_as("uuid"))
    resource_type: int = field(metadata=_as("int8"))
    resource_name: str = field(metadata=_as("string"))
    pattern_type: int = field(metadata=_as("int8"))
    principal: str = field(metadata=_as("string"))
    host: str = field(metadata=_as("string"))
    operation: int = field(metadata=_as("int8"))
    permission_type: int = field(metadata=_as("int8"))


@record(19)
class RemoveAccessControlEntryRecord:
    """An ACL is gone."""

    id: UUID | None = field(metadata=_as("uuid"))


@record(20)
class NoOpRecord:
    """Nothing; moves the high watermark of an idle quorum (KIP-835)."""


@record(21)
class ZkMigrationStateRecord:
    """How far a migration from ZooKeeper got; only found in old logs."""

    zk_migration_state: int = field(metadata=_as("int8"))


@record(22)
class RemoveUserScramCredentialRecord:
    """A SCRAM credential is gone."""

    name: str = field(metadata=_as("string"))
    mechanism: int = field(metadata=_as("int8"))


@record(23)
class BeginTransactionRecord:
    """What follows takes effect at the EndTransactionRecord (KIP-868)."""

    name: str | None = field(metadata=_as("string", tag=0), default=None)


@record(24)
class EndTransactionRecord:
    """The records since the BeginTransactionRecord take effect."""


@record(25)
class AbortTransactionRecord:
    """The records since the BeginTransactionRecord never happened."""

    reason: str | None = field(metadata=_as("string", tag=0), default=None)


@record(26)
class RemoveDelegationTokenRecord:
    """A delegation token is gone."""

    token_id: str = field(metadata=_as("string"))


@record(27)
class RegisterControllerRecord:
    """A controller has registered (KIP-919)."""

    controller_id: int = field(metadata=_as("int32"))
    incarnation_id: UUID | None = field(metadata=_as("uuid"))
    zk_migration_ready: bool = field(metadata=_as("bool"), default=False)
    end_points: tuple[Endpoint, ...]
    features: tuple[FeatureRange, ...]


@record(28)
class ClearElrRecord:
    """Eligible leader replicas of a topic are forgotten, or of all when the name is empty."""

    topic_name: str = field(metadata=_as("string"))


MetadataRecord = (
    RegisterBrokerRecord
    | UnregisterBrokerRecord
    | TopicRecord
    | PartitionRecord
    | ConfigRecord
    | PartitionChangeRecord
    | FenceBrokerRecord
    | UnfenceBrokerRecord
    | RemoveTopicRecord
    | DelegationTokenRecord
    | UserScramCredentialRecord
    | FeatureLevelRecord
    | ClientQuotaRecord
    | ProducerIdsRecord
    | BrokerRegistrationChangeRecord
    | AccessControlEntryRecord
    | RemoveAccessControlEntryRecord
    | NoOpRecord
    | ZkMigrationStateRecord
    | RemoveUserScramCredentialRecord
    | BeginTransactionRecord
    | EndTransactionRecord
    | AbortTransactionRecord
    | RemoveDelegationTokenRecord
    | RegisterControllerRecord
    | ClearElrRecord
)
"""Any record of the metadata log."""
