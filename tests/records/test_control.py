"""Control batches: markers and the machinery's own records."""

from __future__ import annotations

import struct

import pytest

from streamkit.common.errors import CorruptBatchError
from streamkit.records import (
    ControlType,
    EndTxnMarker,
    build_control,
    control_key,
    decode,
    end_txn_marker,
    parse_control_key,
    parse_end_txn_marker,
    read_header,
)


@pytest.mark.parametrize("is_commit", [True, False])
def test_a_marker_comes_back(is_commit: bool) -> None:
    batch = end_txn_marker(
        is_commit=is_commit,
        producer_id=7001,
        producer_epoch=12,
        coordinator_epoch=33,
        timestamp=5_000,
        base_offset=70,
        leader_epoch=4,
    )
    header = read_header(batch)
    assert header.is_control
    assert header.is_transactional
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (7001, 12, -1)
    decoded = decode(batch, header)
    assert decoded.keys == [struct.pack(">hh", 0, int(is_commit))]
    assert decoded.values == [struct.pack(">hi", 0, 33)]
    marker = parse_end_txn_marker(decoded.keys[0], decoded.values[0])
    assert marker == EndTxnMarker(is_commit, 33)


def test_several_control_records_in_one_batch() -> None:
    wanted = [(ControlType.LEADER_CHANGE, b"leader"), (ControlType.KRAFT_VERSION, b"version")]
    batch = build_control(wanted, timestamp=5_000, base_offset=70, leader_epoch=4)
    decoded = decode(batch, read_header(batch))
    keys = [parse_control_key(key) for key in decoded.keys]
    found = list(zip(keys, decoded.values, strict=True))
    assert found == wanted
    assert not decoded.header.is_transactional


def test_unknown_types_are_skipped_and_damaged_keys_refused() -> None:
    assert parse_control_key(struct.pack(">hh", 0, 99)) is None
    assert parse_control_key(struct.pack(">hhi", 3, 1, 7)) is ControlType.COMMIT
    assert parse_end_txn_marker(control_key(ControlType.LEADER_CHANGE), b"x") is None
    for key in (None, b"", b"\0\0\0", struct.pack(">hh", -1, 0)):
        with pytest.raises(CorruptBatchError):
            parse_control_key(key)
    for value in (None, b"\0\0\0\0\0", struct.pack(">hi", -1, 3)):
        with pytest.raises(CorruptBatchError):
            parse_end_txn_marker(control_key(ControlType.ABORT), value)
