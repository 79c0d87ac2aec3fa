"""The records of `__transaction_state`: Kafka's TransactionLogKey and TransactionLogValue.

Version 1 of the value, from transaction.version 1 on, is flexible and has what KIP-890 needs in
tagged fields. Versions and types of newer software decode to None: loading skips them. kio reads
the annotations, so they stay evaluated here.
"""

import dataclasses
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar, dataclass_transform

from streamkit.broker.coordinators.transaction.model import Transaction, TransactionState
from streamkit.common.model import TopicPartition
from streamkit.protocol import kio_import as _kio_import  # noqa: F401  # before any of kio

# isort: split
from kio.serial import entity_writer
from kio.static.constants import EntityType

from streamkit.protocol.caching import cached
from streamkit.protocol.entities import checked_reader

C = TypeVar("C")

KEY_VERSION = 0
NEWEST_VALUE = 1


@dataclass(frozen=True, slots=True)
class Record:
    """What became of a transactional id; None means that it is forgotten."""

    transactional_id: str
    transaction: Transaction | None


def _as(kafka_type: str, *, tag: int | None = None) -> Mapping[str, Any]:
    tagged = {} if tag is None else {"tag": tag}
    return MappingProxyType({"kafka_type": kafka_type, **tagged})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def _entity(kind: EntityType, version: int, *, flexible: bool) -> Any:
    def declare(cls: type[C]) -> type[C]:
        made = dataclasses.dataclass(frozen=True, slots=True, kw_only=True)(cls)
        made.__type__ = kind  # type: ignore[attr-defined]  # kio's marks, not part of our types
        made.__version__ = version  # type: ignore[attr-defined]
        made.__flexible__ = flexible  # type: ignore[attr-defined]
        return made

    return declare


@_entity(EntityType.data, 0, flexible=False)
class TransactionLogKey:
    """A transactional id."""

    transactional_id: str = field(metadata=_as("string"))


@_entity(EntityType.nested, 0, flexible=False)
class PartitionsV0:
    """Partitions of one topic."""

    topic: str = field(metadata=_as("string"))
    partition_ids: tuple[int, ...] = field(metadata=_as("int32"))


@_entity(EntityType.data, 0, flexible=False)
class TransactionLogValueV0:
    """A transaction as before KIP-890."""

    producer_id: int = field(metadata=_as("int64"))
    producer_epoch: int = field(metadata=_as("int16"))
    transaction_timeout_ms: int = field(metadata=_as("int32"))
    transaction_status: int = field(metadata=_as("int8"))
    transaction_partitions: tuple[PartitionsV0, ...] | None
    transaction_last_update_timestamp_ms: int = field(metadata=_as("int64"))
    transaction_start_timestamp_ms: int = field(metadata=_as("int64"))


@_entity(EntityType.nested, 1, flexible=True)
class PartitionsV1:
    """Partitions of one topic."""

    topic: str = field(metadata=_as("string"))
    partition_ids: tuple[int, ...] = field(metadata=_as("int32"))


@_entity(EntityType.data, 1, flexible=True)
class TransactionLogValueV1:
    """A transaction, with the producer ids before and after this one."""

    producer_id: int = field(metadata=_as("int64"))
    previous_producer_id: int = field(metadata=_as("int64", tag=0), default=-1)
    next_producer_id: int = field(metadata=_as("int64", tag=1), default=-1)
    producer_epoch: int = field(metadata=_as("int16"))
    next_producer_epoch: int = field(metadata=_as("int16", tag=3), default=-1)
    transaction_timeout_ms: int = field(metadata=_as("int32"))
    transaction_status: int = field(metadata=_as("int8"))
    transaction_partitions: tuple[PartitionsV1, ...] | None
    transaction_last_update_timestamp_ms: int = field(metadata=_as("int64"))
    transaction_start_timestamp_ms: int = field(metadata=_as("int64"))
    client_transaction_version: int = field(metadata=_as("int16", tag=2), default=0)


_VALUES: tuple[type[Any], type[Any]] = (TransactionLogValueV0, TransactionLogValueV1)
_PARTITIONS: tuple[type[Any], type[Any]] = (PartitionsV0, PartitionsV1)
_TAGGED = ("previous_producer_id", "next_producer_id", "client_transaction_version")


def value_version(transaction_version: int) -> int:
    """The version of the value that a level of the feature transaction.version writes."""
    return 1 if transaction_version >= 1 else 0


def encode(record: Record, version: int) -> tuple[bytes, bytes | None]:
    """A record's key and value; a value of None is a tombstone."""
    buffer = io.BytesIO()
    buffer.write(KEY_VERSION.to_bytes(2, "big"))
    _writer(TransactionLogKey)(buffer, TransactionLogKey(transactional_id=record.transactional_id))
    key = buffer.getvalue()
    if record.transaction is None:
        return key, None
    value = io.BytesIO()
    value.write(version.to_bytes(2, "big"))
    _writer(_VALUES[version])(value, _to_value(record.transaction, version))
    return key, value.getvalue()


def decode(key: bytes, value: bytes | None) -> Record | None:
    """Read a record; None when it is of newer software."""
    if int.from_bytes(key[:2], "big", signed=True) != KEY_VERSION:
        return None
    decoded, _ = _reader(TransactionLogKey)(key, 2)
    if value is None:
        return Record(decoded.transactional_id, None)
    version = int.from_bytes(value[:2], "big", signed=True)
    if not 0 <= version <= NEWEST_VALUE:
        return None
    entity, _ = _reader(_VALUES[version])(value, 2)
    if not 0 <= entity.transaction_status < len(TransactionState):
        return None
    return Record(decoded.transactional_id, _from_value(decoded.transactional_id, entity, version))


def _to_value(transaction: Transaction, version: int) -> Any:
    tagged = {name: getattr(transaction, name) for name in _TAGGED} if version else {}
    return _VALUES[version](
        producer_id=transaction.producer_id,
        producer_epoch=transaction.producer_epoch,
        transaction_timeout_ms=transaction.timeout_ms,
        transaction_status=transaction.state.number,
        transaction_partitions=_to_topics(transaction, _PARTITIONS[version]),
        transaction_last_update_timestamp_ms=transaction.updated_ms,
        transaction_start_timestamp_ms=transaction.started_ms,
        **tagged,
    )


def _to_topics(transaction: Transaction, cls: type[Any]) -> tuple[Any, ...] | None:
    """Partitions by topic; Kafka writes null for a transaction that has not begun."""
    if transaction.state is TransactionState.EMPTY:
        return None
    topics: dict[str, list[int]] = {}
    for partition in sorted(transaction.partitions):
        topics.setdefault(partition.topic, []).append(partition.partition)
    return tuple(cls(topic=topic, partition_ids=tuple(ids)) for topic, ids in topics.items())


def _from_value(transactional_id: str, value: Any, version: int) -> Transaction:
    tagged = {name: getattr(value, name) for name in _TAGGED} if version else {}
    return Transaction(
        transactional_id=transactional_id,
        producer_id=value.producer_id,
        producer_epoch=value.producer_epoch,
        timeout_ms=value.transaction_timeout_ms,
        state=TransactionState.of(value.transaction_status),
        partitions=frozenset(_partitions(value.transaction_partitions or ())),
        updated_ms=value.transaction_last_update_timestamp_ms,
        started_ms=value.transaction_start_timestamp_ms,
        **tagged,
    )


def _partitions(topics: Iterable[Any]) -> Iterable[TopicPartition]:
    for each in topics:
        for index in each.partition_ids:
            yield TopicPartition(each.topic, index)


@cached
def _writer(cls: type[Any]) -> Any:
    return entity_writer(cls)


@cached
def _reader(cls: type[Any]) -> Any:
    return checked_reader(cls)
