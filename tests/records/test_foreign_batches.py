"""Batches written by aiokafka and kafka-python are read, and theirs read ours: same bytes."""

from __future__ import annotations

from types import ModuleType

import pytest
from aiokafka.record.default_records import DefaultRecordBatch as AioBatch
from aiokafka.record.default_records import DefaultRecordBatchBuilder as AioBuilder
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

RECORDS = [
    (b"key", b"value", 1_700_000_000_123, ()),
    (None, b"v" * 300, 1_700_000_000_100, (("name", b"one"), ("name", None), ("é", b""))),
    (b"", None, 1_700_000_009_999, ()),
    (b"k" * 70, b"", 1_700_000_000_124, (("x", b"y" * 200),)),
]


@pytest.mark.parametrize("builder_type", [AioBuilder, DefaultRecordBatchBuilder])
def test_we_write_the_bytes_that_foreign_clients_write(
    form: ModuleType, builder_type: type
) -> None:
    builder = builder_type(
        magic=2,
        compression_type=0,
        is_transactional=True,
        producer_id=7001,
        producer_epoch=12,
        base_sequence=345,
        batch_size=100_000,
    )
    for index, (key, value, timestamp, headers) in enumerate(RECORDS):
        builder.append(index, timestamp, key, value, list(headers))
    ours = form.encode(
        RECORDS,
        producer_id=7001,
        producer_epoch=12,
        base_sequence=345,
        transactional=True,
        leader_epoch=0 if builder_type is AioBuilder else -1,
    )
    theirs = bytes(builder.build())
    # The leader epoch is the broker's to write; each client fills the four bytes in its way.
    assert ours[:12] + ours[16:] == theirs[:12] + theirs[16:]


@pytest.mark.parametrize("batch_type", [AioBatch, DefaultRecordBatch])
@pytest.mark.parametrize("compression", [0, 1])
def test_foreign_clients_read_what_we_write(
    form: ModuleType, batch_type: type, compression: int
) -> None:
    batch = batch_type(form.encode(RECORDS, compression=compression, base_offset=70))
    assert batch.validate_crc()
    found = [
        (record.offset, record.key, record.value, record.timestamp, tuple(record.headers))
        for record in batch
    ]
    assert found == [
        (70 + index, key, value, timestamp, headers)
        for index, (key, value, timestamp, headers) in enumerate(RECORDS)
    ]


@pytest.mark.parametrize("builder_type", [AioBuilder, DefaultRecordBatchBuilder])
def test_we_read_what_foreign_clients_compress(form: ModuleType, builder_type: type) -> None:
    builder = builder_type(
        magic=2,
        compression_type=1,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=100_000,
    )
    for index, (key, value, timestamp, headers) in enumerate(RECORDS):
        builder.append(index, timestamp, key, value, list(headers))
    encoded = bytes(builder.build())
    batch = form.decode(encoded, form.read_header(encoded))
    found = list(zip(batch.keys, batch.values, batch.timestamps, batch.headers, strict=True))
    assert found == RECORDS
