"""Which record of a task comes next."""

from __future__ import annotations

from streamkit.client.decode import Fetched
from streamkit.common.model import TopicPartition
from streamkit.records import encode, scan
from streamkit.tasks.messages import StartPosition
from streamkit.tasks.partition_group import PartitionGroup, PartitionQueue

A, B = TopicPartition("a", 3), TopicPartition("b", 3)
LIMIT = 100


class Source:
    """Writes down what it is given."""

    def __init__(self, seen):
        self.partition_time = -1
        self._seen = seen

    def run(self, batch, start, stop):
        self._seen += batch.timestamps[start:stop]


def fetched(tp, offset, *timestamps, high_watermark=None):
    data = encode([(b"k", b"v", time, ()) for time in timestamps], base_offset=offset)
    headers = tuple(scan(data))
    end = offset + len(timestamps)
    return Fetched(tp, data, headers, offset, end, high_watermark or end, end, 0)


def group(seen, idle_ms=0, end=10, partitions=(A, B)):
    start = StartPosition(10, end, 7)
    queues = {tp: PartitionQueue(tp, Source(seen), start) for tp in partitions}
    return PartitionGroup(queues, idle_ms)


def drain(tasks, now=5.0):
    while tasks.run(LIMIT, now):
        pass


def test_lowest_timestamp_goes_first_over_all_partitions():
    seen = []
    tasks = group(seen)
    tasks.queues[A].add(fetched(A, 10, 1, 4, 5, 9))
    tasks.queues[B].add(fetched(B, 10, 2, 3, 7, 8, 11))
    drain(tasks)
    assert seen == [1, 2, 3, 4, 5, 7, 8, 9, 11]


def test_run_ends_where_another_partition_has_an_older_record():
    seen = []
    tasks = group(seen)
    tasks.queues[A].add(fetched(A, 10, 1, 2, 9))
    tasks.queues[B].add(fetched(B, 10, 5))
    assert tasks.run(LIMIT, 5.0) == 2
    assert tasks.run(LIMIT, 5.0) == 1
    assert seen == [1, 2, 5]


def test_position_follows_the_records_and_skips_what_is_below_it():
    seen = []
    tasks = group(seen, partitions=(A,))
    tasks.queues[A].add(fetched(A, 6, 1, 2, 3, 4, 50, 60))
    assert tasks.run(1, 5.0) == 1
    assert seen == [50]
    assert tasks.queues[A].position == 11


def test_limit_bounds_a_run():
    seen = []
    tasks = group(seen, partitions=(A,))
    tasks.queues[A].add(fetched(A, 10, *range(40)))
    assert tasks.run(15, 5.0) == 15


def test_waits_for_a_partition_that_has_more_at_the_broker():
    seen = []
    tasks = group(seen, end=30)
    tasks.queues[A].add(fetched(A, 10, 5, high_watermark=11))
    assert tasks.run(LIMIT, 5.0) == 0
    tasks.queues[B].add(fetched(B, 10, 2, high_watermark=30))
    assert tasks.run(LIMIT, 5.0) == 1
    assert seen == [2]


def test_goes_on_without_a_partition_that_is_caught_up():
    seen = []
    tasks = group(seen)
    tasks.queues[A].add(fetched(A, 10, 5))
    assert tasks.run(LIMIT, 5.0) == 1


def test_idle_time_waits_for_data_not_yet_produced():
    seen = []
    tasks = group(seen, idle_ms=40)
    tasks.queues[A].add(fetched(A, 10, 5))
    assert tasks.run(LIMIT, 1_000.0) == 0
    assert tasks.run(LIMIT, 1_039.0) == 0
    assert tasks.run(LIMIT, 1_041.0) == 1


def test_minus_one_never_waits():
    seen = []
    tasks = group(seen, idle_ms=-1, end=30)
    tasks.queues[A].add(fetched(A, 10, 5))
    assert tasks.run(LIMIT, 5.0) == 1


def test_partition_time_of_the_commit_is_restored():
    tasks = group([])
    assert tasks.queues[A].source.partition_time == 7
