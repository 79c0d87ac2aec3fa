"""Entities on disk: damaged bytes are an error of the disk, whatever length they claim."""

from __future__ import annotations

import random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.kraft.frame import decode_record, encode_record
from streamkit.broker.kraft.records import Endpoint, FeatureRange, RegisterBrokerRecord
from streamkit.common.errors import FatalError, StorageError

RECORD = encode_record(
    RegisterBrokerRecord(
        broker_id=7,
        incarnation_id=UUID(int=77),
        broker_epoch=31,
        end_points=(Endpoint(name="PLAINTEXT", host="there", port=9092, security_protocol=0),),
        features=(FeatureRange(name="x", min_supported_version=1, max_supported_version=9),),
        rack="r1",
    )
)


def test_a_length_that_lies_is_refused_before_memory_is_taken() -> None:
    key = rec.encode_key(rec.OffsetCommitKey(group="g-7", topic="orders", partition=3))
    assert rec.decode(key, None) is not None
    with pytest.raises(StorageError, match="OffsetCommitKey"):
        rec.decode(key[:2] + b"\x7f\xff" + key[4:], None)


@given(st.integers(0, 2**32))
def test_damaged_metadata_records_never_get_further(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(RECORD)
    for _ in range(chance.randrange(1, 5)):
        data[chance.randrange(len(data))] = chance.choice((0, 0x7F, 0xFF, chance.randrange(256)))
    try:
        decode_record(bytes(data[: chance.randrange(1, len(data) + 1)]))
    except FatalError:
        return
