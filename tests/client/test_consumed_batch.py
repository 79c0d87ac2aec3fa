"""What a consumer gives: batches, and the records in them."""

from __future__ import annotations

from streamkit.client import ConsumedBatch, TopicPartition
from streamkit.records import decode, encode, scan


def test_batch_is_iterated_record_by_record() -> None:
    rows = [(b"a", b"1", 7, ()), (None, None, 9, (("h", b"x"),))]
    data = encode(rows, base_offset=40)
    columns = decode(data, scan(data)[0])
    batch = ConsumedBatch(TopicPartition("orders", 3), columns)
    assert len(batch) == 2
    assert list(batch) == batch.records()
    places = [(record.topic, record.partition, record.offset) for record in batch]
    assert places == [("orders", 3, 40), ("orders", 3, 41)]
    assert [(r.key, r.value, r.timestamp, r.headers) for r in batch] == rows
