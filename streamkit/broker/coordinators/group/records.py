"""The records of `__consumer_offsets`, declared as kio-style entities.

A key is an int16 type and a non-flexible struct, a value an int16 version and a struct, a null
value a tombstone. Each value class is the newest version of its record; a field says `since`
when it came later and `until` when it went. Values are written at the version that Apache Kafka
4.3 writes. Types not declared here decode to None: loading skips them. kio reads the
annotations, so they stay evaluated here.
"""

import dataclasses
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar, dataclass_transform
from uuid import UUID

from streamkit.protocol import kio_import as _kio_import  # noqa: F401  # before any of kio

# isort: split
from kio.serial import entity_writer
from kio.serial.errors import SerialError
from kio.static.constants import EntityType

from streamkit.common.errors import StorageError
from streamkit.protocol.entities import checked_reader
from streamkit.protocol.walk import encode_uvarint

C = TypeVar("C")

KEY_CLASSES: dict[int, type[Any]] = {}
KEY_TYPES: dict[type[Any], int] = {}
VALUE_CLASSES: dict[int, "ValueForm"] = {}


@dataclass(frozen=True, slots=True)
class ValueForm:
    """How the value of a record type is written and read."""

    cls: type[Any]
    newest: int
    written: int
    flexible_from: int


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a coordinator's log; a value of None is a tombstone."""

    key: Any
    value: Any | None


OUR_TAG = 10_000
"""Tags of ours begin here; Kafka passes over those that it does not know."""


def _as(
    kafka_type: str, *, since: int = 0, until: int | None = None, tag: int | None = None
) -> Mapping[str, Any]:
    """The metadata of a field: its wire type, versions and tag."""
    tagged = {} if tag is None else {"tag": tag}
    return MappingProxyType({"kafka_type": kafka_type, "since": since, "until": until, **tagged})


def _entity(cls: type[C], kind: EntityType, version: int, *, flexible: bool) -> type[C]:
    made = dataclasses.dataclass(frozen=True, slots=True, kw_only=True)(cls)
    made.__type__ = kind  # type: ignore[attr-defined]  # kio's marks, not part of our types
    made.__version__ = version  # type: ignore[attr-defined]
    made.__flexible__ = flexible  # type: ignore[attr-defined]
    return made


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def _nested(cls: type[C]) -> type[C]:
    return _entity(cls, EntityType.nested, 0, flexible=True)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def _key(*numbers: int) -> Callable[[type[C]], type[C]]:
    """Declare the key of the record type that comes first; the others are read as the same."""

    def declare(cls: type[C]) -> type[C]:
        made = _entity(cls, EntityType.data, 0, flexible=False)
        KEY_TYPES[made] = numbers[0]
        KEY_CLASSES.update(dict.fromkeys(numbers, made))
        return made

    return declare


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def _value(
    *numbers: int, newest: int = 0, written: int = 0, flexible_from: int = 0
) -> Callable[[type[C]], type[C]]:
    """Declare the value of record types."""

    def declare(cls: type[C]) -> type[C]:
        made = _entity(cls, EntityType.data, newest, flexible=True)
        form = ValueForm(made, newest, written, flexible_from)
        VALUE_CLASSES.update(dict.fromkeys(numbers, form))
        return made

    return declare


@_key(1, 0)
class OffsetCommitKey:
    """The committed offset of a group for one partition."""

    group: str = field(metadata=_as("string"))
    topic: str = field(metadata=_as("string"))
    partition: int = field(metadata=_as("int32"))


@_value(0, 1, newest=4, written=4, flexible_from=4)
class OffsetCommitValue:
    """An offset, when it was committed, and the topic it was committed for."""

    offset: int = field(metadata=_as("int64"))
    leader_epoch: int = field(metadata=_as("int32", since=3), default=-1)
    metadata: str = field(metadata=_as("string"))
    commit_timestamp: int = field(metadata=_as("int64"))
    expire_timestamp: int = field(metadata=_as("int64", since=1, until=1), default=-1)
    topic_id: UUID | None = field(metadata=_as("uuid", since=4, tag=0), default=None)


@_key(2)
class GroupMetadataKey:
    """A classic group."""

    group: str = field(metadata=_as("string"))


@_nested
class ClassicMember:
    """A member of a classic group."""

    member_id: str = field(metadata=_as("string"))
    group_instance_id: str | None = field(metadata=_as("string", since=3), default=None)
    client_id: str = field(metadata=_as("string"))
    client_host: str = field(metadata=_as("string"))
    rebalance_timeout: int = field(metadata=_as("int32", since=1), default=-1)
    session_timeout: int = field(metadata=_as("int32"))
    subscription: bytes = field(metadata=_as("bytes"))
    assignment: bytes = field(metadata=_as("bytes"))


@_value(2, newest=4, written=3, flexible_from=4)
class GroupMetadataValue:
    """A classic group's generation and members."""

    protocol_type: str = field(metadata=_as("string"))
    generation: int = field(metadata=_as("int32"))
    protocol: str | None = field(metadata=_as("string"))
    leader: str | None = field(metadata=_as("string"))
    current_state_timestamp: int = field(metadata=_as("int64", since=2), default=-1)
    members: tuple[ClassicMember, ...]


@_key(3)
class ConsumerGroupMetadataKey:
    """A consumer group."""

    group_id: str = field(metadata=_as("string"))


@_value(3)
class ConsumerGroupMetadataValue:
    """A consumer group's epoch and the hash of the topics it was computed from (KIP-1101)."""

    epoch: int = field(metadata=_as("int32"))
    metadata_hash: int = field(metadata=_as("int64", tag=0), default=0)


@_key(4)
class ConsumerGroupPartitionMetadataKey:
    """The topics of a consumer group, by which Kafka before 4.1 saw that they changed."""

    group_id: str = field(metadata=_as("string"))


@_nested
class PartitionRacks:
    """The racks of one partition."""

    partition: int = field(metadata=_as("int32"))
    racks: tuple[str, ...] = field(metadata=_as("string"))


@_nested
class SubscribedTopic:
    """One topic of a consumer group."""

    topic_id: UUID | None = field(metadata=_as("uuid"))
    topic_name: str = field(metadata=_as("string"))
    num_partitions: int = field(metadata=_as("int32"))
    partition_metadata: tuple[PartitionRacks, ...]


@_value(4)
class ConsumerGroupPartitionMetadataValue:
    """Never written; the first heartbeat after it was read removes it."""

    topics: tuple[SubscribedTopic, ...]


@_key(5)
class ConsumerGroupMemberMetadataKey:
    """What a member of a consumer group says of itself."""

    group_id: str = field(metadata=_as("string"))
    member_id: str = field(metadata=_as("string"))


@_nested
class ClassicProtocol:
    """One assignor of a classic member, with the subscription it sent for it."""

    name: str = field(metadata=_as("string"))
    metadata: bytes = field(metadata=_as("bytes"))


@_nested
class ClassicMemberMetadata:
    """What is known of a member that speaks the classic protocol."""

    session_timeout_ms: int = field(metadata=_as("int32"))
    supported_protocols: tuple[ClassicProtocol, ...]


@_value(5)
class ConsumerGroupMemberMetadataValue:
    """What a member of a consumer group says of itself."""

    instance_id: str | None = field(metadata=_as("string"), default=None)
    rack_id: str | None = field(metadata=_as("string"), default=None)
    client_id: str = field(metadata=_as("string"), default="")
    client_host: str = field(metadata=_as("string"), default="")
    subscribed_topic_names: tuple[str, ...] = field(metadata=_as("string"), default=())
    subscribed_topic_regex: str | None = field(metadata=_as("string"), default=None)
    rebalance_timeout_ms: int = field(metadata=_as("int32"), default=-1)
    server_assignor: str | None = field(metadata=_as("string"), default=None)
    classic_member_metadata: ClassicMemberMetadata | None = field(
        metadata=MappingProxyType({"tag": 0}), default=None
    )


@_key(6)
class ConsumerGroupTargetAssignmentMetadataKey:
    """A consumer group's target assignment as a whole."""

    group_id: str = field(metadata=_as("string"))


@_value(6)
class ConsumerGroupTargetAssignmentMetadataValue:
    """For which group epoch, and when, the target was computed (KIP-1263)."""

    assignment_epoch: int = field(metadata=_as("int32"))
    assignment_timestamp: int = field(metadata=_as("int64", tag=0), default=0)


@_key(7)
class ConsumerGroupTargetAssignmentMemberKey:
    """A consumer's target."""

    group_id: str = field(metadata=_as("string"))
    member_id: str = field(metadata=_as("string"))


@_nested
class TargetPartitions:
    """Partitions of one topic."""

    topic_id: UUID | None = field(metadata=_as("uuid"))
    partitions: tuple[int, ...] = field(metadata=_as("int32"))


@_value(7)
class ConsumerGroupTargetAssignmentMemberValue:
    """The partitions a consumer shall have."""

    topic_partitions: tuple[TargetPartitions, ...]


@_key(8)
class ConsumerGroupCurrentMemberAssignmentKey:
    """A consumer's assignment."""

    group_id: str = field(metadata=_as("string"))
    member_id: str = field(metadata=_as("string"))


@_nested
class CurrentPartitions:
    """Partitions of one topic and the epochs at which they were given (KIP-1251)."""

    topic_id: UUID | None = field(metadata=_as("uuid"))
    partitions: tuple[int, ...] = field(metadata=_as("int32"))
    assignment_epochs: tuple[int, ...] | None = field(metadata=_as("int32", tag=0), default=None)


@_value(8)
class ConsumerGroupCurrentMemberAssignmentValue:
    """The partitions a consumer has, or has to give back."""

    member_epoch: int = field(metadata=_as("int32"))
    previous_member_epoch: int = field(metadata=_as("int32"))
    state: int = field(metadata=_as("int8"))
    assigned_partitions: tuple[CurrentPartitions, ...]
    partitions_pending_revocation: tuple[CurrentPartitions, ...]


@_key(16)
class ConsumerGroupRegularExpressionKey:
    """A regular expression that members of a consumer group subscribe to."""

    group_id: str = field(metadata=_as("string"))
    regular_expression: str = field(metadata=_as("string"))


@_value(16)
class ConsumerGroupRegularExpressionValue:
    """The topics it matched, in which metadata image, and when."""

    topics: tuple[str, ...] = field(metadata=_as("string"))
    version: int = field(metadata=_as("int64"))
    timestamp: int = field(metadata=_as("int64"))


@_nested
class KeyValue:
    """A config or a tag."""

    key: str = field(metadata=_as("string"))
    value: str = field(metadata=_as("string"))


@_key(17)
class StreamsGroupMetadataKey:
    """A streams group."""

    group_id: str = field(metadata=_as("string"))


@_value(17)
class StreamsGroupMetadataValue:
    """A streams group's epoch and what it was computed from."""

    epoch: int = field(metadata=_as("int32"))
    metadata_hash: int = field(metadata=_as("int64"))
    validated_topology_epoch: int = field(metadata=_as("int32", tag=0), default=-1)
    last_assignment_configs: tuple[KeyValue, ...] | None = field(
        metadata=MappingProxyType({"tag": 1}), default=()
    )


@_key(19)
class StreamsGroupMemberMetadataKey:
    """What a member of a streams group says of itself."""

    group_id: str = field(metadata=_as("string"))
    member_id: str = field(metadata=_as("string"))


@_nested
class Endpoint:
    """Where a member answers interactive queries."""

    host: str = field(metadata=_as("string"))
    port: int = field(metadata=_as("uint16"))


@_value(19)
class StreamsGroupMemberMetadataValue:
    """What a member of a streams group says of itself."""

    instance_id: str | None = field(metadata=_as("string"))
    rack_id: str | None = field(metadata=_as("string"))
    client_id: str = field(metadata=_as("string"))
    client_host: str = field(metadata=_as("string"))
    rebalance_timeout_ms: int = field(metadata=_as("int32"))
    topology_epoch: int = field(metadata=_as("int32"))
    process_id: str = field(metadata=_as("string"))
    user_endpoint: Endpoint | None
    client_tags: tuple[KeyValue, ...]
    subtopologies: tuple[str, ...] = field(metadata=_as("string", tag=OUR_TAG), default=())
    """Ours: the ids of the group's sub-topologies that its program has; empty: it is not known."""


@_key(20)
class StreamsGroupTargetAssignmentMetadataKey:
    """A streams group's target assignment as a whole."""

    group_id: str = field(metadata=_as("string"))


@_value(20)
class StreamsGroupTargetAssignmentMetadataValue:
    """For which group epoch, and when, the target was computed."""

    assignment_epoch: int = field(metadata=_as("int32"))
    assignment_timestamp: int = field(metadata=_as("int64", tag=0), default=0)


@_key(21)
class StreamsGroupTargetAssignmentMemberKey:
    """A streams member's target."""

    group_id: str = field(metadata=_as("string"))
    member_id: str = field(metadata=_as("string"))


@_nested
class TargetTaskIds:
    """Partitions of one sub-topology."""

    subtopology_id: str = field(metadata=_as("string"))
    partitions: tuple[int, ...] = field(metadata=_as("int32"))


@_value(21)
class StreamsGroupTargetAssignmentMemberValue:
    """The tasks a streams member shall have."""

    active_tasks: tuple[TargetTaskIds, ...]
    standby_tasks: tuple[TargetTaskIds, ...]
    warmup_tasks: tuple[TargetTaskIds, ...]


@_key(22)
class StreamsGroupCurrentMemberAssignmentKey:
    """A streams member's assignment."""

    group_id: str = field(metadata=_as("string"))
    member_id: str = field(metadata=_as("string"))


@_nested
class CurrentTaskIds:
    """Partitions of one sub-topology, for active ones the epochs at which they were given."""

    subtopology_id: str = field(metadata=_as("string"))
    partitions: tuple[int, ...] = field(metadata=_as("int32"))
    assignment_epochs: tuple[int, ...] | None = field(metadata=_as("int32", tag=0), default=())


@_value(22)
class StreamsGroupCurrentMemberAssignmentValue:
    """The tasks a streams member has, or has to give back."""

    member_epoch: int = field(metadata=_as("int32"))
    previous_member_epoch: int = field(metadata=_as("int32"))
    state: int = field(metadata=_as("int8"))
    active_tasks: tuple[CurrentTaskIds, ...]
    standby_tasks: tuple[CurrentTaskIds, ...]
    warmup_tasks: tuple[CurrentTaskIds, ...]
    active_tasks_pending_revocation: tuple[CurrentTaskIds, ...]
    standby_tasks_pending_revocation: tuple[CurrentTaskIds, ...]
    warmup_tasks_pending_revocation: tuple[CurrentTaskIds, ...]


@_key(23)
class StreamsGroupTopologyKey:
    """A streams group's topology."""

    group_id: str = field(metadata=_as("string"))


@_nested
class TopicInfo:
    """A repartition or changelog topic."""

    name: str = field(metadata=_as("string"))
    partitions: int = field(metadata=_as("int32"))
    replication_factor: int = field(metadata=_as("int16"))
    topic_configs: tuple[KeyValue, ...]


@_nested
class CopartitionGroup:
    """Topics with equal partition counts, as indexes into the sub-topology's lists."""

    source_topics: tuple[int, ...] = field(metadata=_as("int16"))
    source_topic_regex: tuple[int, ...] = field(metadata=_as("int16"))
    repartition_source_topics: tuple[int, ...] = field(metadata=_as("int16"))


@_nested
class Subtopology:
    """One sub-topology."""

    subtopology_id: str = field(metadata=_as("string"))
    source_topics: tuple[str, ...] = field(metadata=_as("string"))
    source_topic_regex: tuple[str, ...] = field(metadata=_as("string"))
    state_changelog_topics: tuple[TopicInfo, ...]
    repartition_sink_topics: tuple[str, ...] = field(metadata=_as("string"))
    repartition_source_topics: tuple[TopicInfo, ...]
    copartition_groups: tuple[CopartitionGroup, ...]


@_value(23)
class StreamsGroupTopologyValue:
    """A streams group's topology as its first member sent it."""

    epoch: int = field(metadata=_as("int32"))
    subtopologies: tuple[Subtopology, ...]
    former: tuple[str, ...] = field(metadata=_as("string", tag=OUR_TAG), default=())
    """Ours: fingerprints of the topologies that the group had before, the last first."""


def encode_key(key: Any) -> bytes:
    """A key with its type in front."""
    number = KEY_TYPES[type(key)]
    buffer = io.BytesIO()
    buffer.write(number.to_bytes(2, "big"))
    _key_writer(number)(buffer, key)
    return buffer.getvalue()


def encode_value(record: Record) -> bytes | None:
    """A record's value with its version in front; None for a tombstone."""
    if record.value is None:
        return None
    number = KEY_TYPES[type(record.key)]
    version = VALUE_CLASSES[number].written
    buffer = io.BytesIO()
    buffer.write(version.to_bytes(2, "big"))
    if isinstance(record.value, ConsumerGroupMemberMetadataValue):
        _write_member(buffer, number, record.value)
    else:
        _value_writer(number, version)(buffer, record.value)
    return buffer.getvalue()


def _write_member(
    buffer: io.BytesIO, number: int, member: ConsumerGroupMemberMetadataValue
) -> None:
    """A member with its one tagged field, which kio would write without the null marker.

    Kafka takes the field's absence for an empty entity, so null is said: one byte, 0.
    """
    classic = member.classic_member_metadata
    plain = dataclasses.replace(member, classic_member_metadata=None)
    _value_writer(number, 0)(buffer, plain)
    buffer.seek(-1, io.SEEK_END)
    tagged = io.BytesIO(b"\0")
    if classic is not None:
        tagged.write(b"\1")
        _nested_writer(ClassicMemberMetadata)(tagged, classic)
    buffer.write(b"\1\0" + encode_uvarint(len(tagged.getvalue())) + tagged.getvalue())


def decode(key: bytes, value: bytes | None) -> Record | None:
    """Read a record; None when its type or version is of newer software.

    Raises StorageError when its bytes are none of that type.
    """
    number = int.from_bytes(key[:2], "big", signed=True)
    if number not in KEY_CLASSES:
        return None
    try:
        return _decode(number, key, value)
    except (SerialError, ValueError, OverflowError) as error:
        raise StorageError(f"a record of type {number} cannot be read: {error!r}") from error


def _decode(number: int, key: bytes, value: bytes | None) -> Record | None:
    decoded_key, _ = _key_reader(number)(key, 2)
    if value is None:
        return Record(decoded_key, None)
    form = VALUE_CLASSES[number]
    version = int.from_bytes(value[:2], "big", signed=True)
    if not 0 <= version <= form.newest:
        return None
    entity, _ = _value_reader(number, version)(value, 2)
    return Record(decoded_key, _as_newest(form.cls, entity))


def _as_newest(cls: type[Any], entity: Any) -> Any:
    if type(entity) is cls:
        return entity
    values = {each.name: getattr(entity, each.name) for each in dataclasses.fields(entity)}
    if cls is GroupMetadataValue:
        values["members"] = tuple(_as_newest(ClassicMember, each) for each in values["members"])
    return cls(**values)


@cache
def _nested_writer(cls: type[Any]) -> Any:
    return entity_writer(cls)


@cache
def _key_writer(number: int) -> Any:
    return entity_writer(KEY_CLASSES[number])


@cache
def _key_reader(number: int) -> Any:
    return checked_reader(KEY_CLASSES[number])


@cache
def _value_writer(number: int, version: int) -> Any:
    return entity_writer(_at_version(VALUE_CLASSES[number], version))


@cache
def _value_reader(number: int, version: int) -> Any:
    return checked_reader(_at_version(VALUE_CLASSES[number], version))


def _at_version(form: ValueForm, version: int) -> type[Any]:
    """The class of a value at a version: without the fields that it does not have."""
    flexible = version >= form.flexible_from
    if form.newest == 0:
        return form.cls
    return _older(form.cls, EntityType.data, version, flexible)


def _older(cls: type[Any], kind: EntityType, version: int, flexible: bool) -> type[Any]:
    kept: list[tuple[str, Any, Any]] = []
    for each in dataclasses.fields(cls):
        since, until = each.metadata.get("since", 0), each.metadata.get("until")
        if version < since or (until is not None and version > until):
            continue
        spec: dict[str, Any] = {"metadata": each.metadata}
        if each.default is not dataclasses.MISSING:
            spec["default"] = each.default
        kind_of_field: Any = each.type
        if kind_of_field == tuple[ClassicMember, ...]:
            nested = _older(ClassicMember, EntityType.nested, version, flexible)
            kind_of_field = tuple[nested, ...]  # type: ignore[valid-type]  # made just now
        kept.append((each.name, kind_of_field, field(**spec)))
    older = dataclasses.make_dataclass(cls.__name__, kept, frozen=True, slots=True, kw_only=True)
    older.__type__ = kind  # type: ignore[attr-defined]  # as in _entity
    older.__version__ = version  # type: ignore[attr-defined]
    older.__flexible__ = flexible  # type: ignore[attr-defined]
    return older
