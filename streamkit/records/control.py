"""Control batches: the records that a log's own machinery writes between the users' records.

A control record's key is its version and type; readers skip types they do not know. The values
of types 2 to 6 are protocol messages, bytes here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from streamkit.common.errors import CorruptBatchError
from streamkit.records.codec import encode

KEY = struct.Struct(">hh")
END_TXN_MARKER = struct.Struct(">hi")
CONTROL_KEY_VERSION = 0
END_TXN_MARKER_VERSION = 0


class ControlType(IntEnum):
    """The types of control records."""

    ABORT = 0
    COMMIT = 1
    LEADER_CHANGE = 2
    SNAPSHOT_HEADER = 3
    SNAPSHOT_FOOTER = 4
    KRAFT_VERSION = 5
    KRAFT_VOTERS = 6


_TYPES = {int(kind): kind for kind in ControlType}


@dataclass(frozen=True, slots=True)
class EndTxnMarker:
    """The end of a producer's transaction in one partition."""

    is_commit: bool
    coordinator_epoch: int


def control_key(control_type: ControlType) -> bytes:
    """The key of a control record."""
    return KEY.pack(CONTROL_KEY_VERSION, control_type)


def parse_control_key(key: bytes | None) -> ControlType | None:
    """The type in a control record's key; None for one to skip. Raises CorruptBatchError."""
    if key is None or len(key) < KEY.size:
        raise CorruptBatchError(f"control record with key {key!r}")
    version, number = KEY.unpack_from(key)
    if version < 0:
        raise CorruptBatchError(f"control record with key version {version}")
    return _TYPES.get(number)


def build_control(
    records: Iterable[tuple[ControlType, bytes]],
    *,
    timestamp: int,
    base_offset: int = 0,
    leader_epoch: int = -1,
    producer_id: int = -1,
    producer_epoch: int = -1,
    transactional: bool = False,
) -> bytes:
    """One control batch of the given types and values, all at `timestamp` in milliseconds."""
    return encode(
        ((control_key(kind), value, timestamp, ()) for kind, value in records),
        base_offset=base_offset,
        leader_epoch=leader_epoch,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        transactional=transactional,
        control=True,
    )


def end_txn_marker(
    *,
    is_commit: bool,
    producer_id: int,
    producer_epoch: int,
    coordinator_epoch: int,
    timestamp: int,
    base_offset: int = 0,
    leader_epoch: int = -1,
) -> bytes:
    """The batch that ends a transaction in a partition."""
    kind = ControlType.COMMIT if is_commit else ControlType.ABORT
    value = END_TXN_MARKER.pack(END_TXN_MARKER_VERSION, coordinator_epoch)
    return build_control(
        [(kind, value)],
        timestamp=timestamp,
        base_offset=base_offset,
        leader_epoch=leader_epoch,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        transactional=True,
    )


def parse_end_txn_marker(key: bytes | None, value: bytes | None) -> EndTxnMarker | None:
    """The marker in a control record; None when it is of another type. Raises CorruptBatchError."""
    kind = parse_control_key(key)
    if kind not in (ControlType.ABORT, ControlType.COMMIT):
        return None
    if value is None or len(value) < END_TXN_MARKER.size:
        raise CorruptBatchError(f"end of transaction marker with value {value!r}")
    version, epoch = END_TXN_MARKER.unpack_from(value)
    if version < 0:
        raise CorruptBatchError(f"end of transaction marker of version {version}")
    return EndTxnMarker(kind is ControlType.COMMIT, epoch)
