"""The collector: partitioning, batches handed over whole, back to the same writer."""

from __future__ import annotations

import pytest

from streamkit.common.errors import FatalError
from streamkit.common.model import TopicPartition
from streamkit.common.partitioner import partition_for
from streamkit.records import decode, scan
from streamkit.tasks.collector import Collector


def values_of(taken):
    found = {}
    for tp, batch in taken:
        data = batch.build()
        for header in scan(data):
            found.setdefault(tp.partition, []).extend(decode(data, header).values)
    return found


@pytest.fixture
def collector():
    return Collector(300, 0, lambda count: count - 2)


@pytest.fixture
def writer(collector):
    writer = collector.writer("words")
    writer.set_count(5)
    return writer


def test_key_goes_to_the_partition_of_its_hash(collector, writer):
    for key in (b"cat", b"dog", b"mouse"):
        writer.append(key, key, 50)
    expected = {partition_for(key, 5) for key in (b"cat", b"dog", b"mouse")}
    assert set(values_of(collector.take())) == expected


def test_partition_given_wins_over_the_key(collector, writer):
    writer.append(b"cat", b"v", 50, (), 4)
    assert values_of(collector.take()) == {4: [b"v"]}


def test_partition_that_is_not_there_is_an_error(collector, writer):
    with pytest.raises(FatalError, match="topic words has 5 partitions, there is no 7"):
        writer.append(b"cat", b"v", 50, (), 7)


def test_topic_of_unknown_size_is_an_error(collector):
    with pytest.raises(FatalError, match="before its partitions are known"):
        collector.writer("new").append(b"cat", b"v", 50)


def test_null_keys_stay_on_one_partition_until_its_batch_leaves(collector, writer):
    for value in (b"a", b"b", b"c"):
        writer.append(None, value, 50)
    assert values_of(collector.take()) == {3: [b"a", b"b", b"c"]}


def test_full_batch_is_ready_and_order_is_kept(collector, writer):
    sent = [b"%03d" % i + b"x" * 60 for i in range(12)]
    for value in sent:
        writer.append(b"k", value, 50, (), 2)
    assert len(collector.ready) >= 2
    taken = collector.take()
    assert values_of(taken) == {2: sent}
    assert all(tp == TopicPartition("words", 2) for tp, _ in taken)


def test_young_batches_linger(collector, writer):
    collector.now_ms = 1_000
    writer.append(b"k", b"old", 50, (), 1)
    collector.now_ms = 1_100
    writer.append(b"k", b"young", 50, (), 2)
    assert values_of(collector.take(1_050)) == {1: [b"old"]}
    assert values_of(collector.take()) == {2: [b"young"]}
    assert collector.take() == []


def test_all_tasks_share_the_writer_of_a_topic(collector, writer):
    assert collector.writer("words") is writer
