"""What tasks write: records gathered into one batch per partition, handed over whole.

The collector belongs to the processing thread. `ready` holds the batches that are full or old
enough; the network thread builds and sends them. A record without a key goes to a partition
that stays the same until its batch is handed over. While `staged` is a list, records wait there
until `release`. Compiled by Cython; runs the same
uncompiled; its types for mypy stand in `collector.pyi`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cython

from streamkit.common.direct import RecordWriter, as_bytes
from streamkit.common.errors import FatalError, ProductionError
from streamkit.common.model import TopicPartition
from streamkit.common.partitioner import partition_for
from streamkit.records.codec import BatchBuilder

RECORD_OVERHEAD_BYTES = 82
"""The most that a record takes beside key, value and headers when it is alone in its batch."""

RECORD_BYTES_MAX = 1 << 20

HEADER_OVERHEAD_BYTES = 10
"""The most that a header takes beside its name and value."""

_HEADER_VALUES = (bytes, type(None), bytearray, memoryview)

LIMIT_KNOWN_MS = 300_000
"""How long a topic's limit counts; its configuration may change meanwhile."""


@cython.cclass
class Collector:
    """The open batches of all topics that a processing thread writes to."""

    now_ms = cython.declare(object, visibility="public")
    ready = cython.declare(list, visibility="readonly")
    staged = cython.declare(object, visibility="public")
    record_bytes_max = cython.declare(cython.Py_ssize_t, visibility="readonly")
    _writers: dict
    _size_max: object
    _compression: object
    _choose: object

    def __init__(
        self,
        size_max: int,
        compression: int,
        choose: Callable[[int], int],
        record_bytes_max: int = RECORD_BYTES_MAX,
    ) -> None:
        self.now_ms = 0
        self.ready = []
        self.staged = None
        self.record_bytes_max = record_bytes_max
        self._writers = {}
        self._size_max = size_max
        self._compression = compression
        self._choose = choose

    def writer(self, topic: str) -> TopicWriter:
        """The writer of a topic; the same one for every task."""
        found = self._writers.get(topic)
        if found is None:
            found = TopicWriter(self, topic)
            self._writers[topic] = found
        return found

    def take(self, opened_before_ms: int | None = None) -> list[Any]:
        """The (partition, batch) pairs to send now: full ones, and those opened before then.

        Without a time, all of them.
        """
        writer: TopicWriter
        for writer in self._writers.values():
            writer.close_batches(opened_before_ms)
        taken = self.ready
        self.ready = []
        return taken

    def release(self) -> None:
        """Write what is staged."""
        staged: list = self.staged
        for writer, key, value, timestamp, headers, partition in staged:
            writer.add(key, value, timestamp, headers, partition)
        staged.clear()

    def new_batch(self) -> BatchBuilder:
        return BatchBuilder(self._size_max, self._compression)

    def choose(self, count: int) -> int:
        return self._choose(count)


@cython.cclass
class TopicWriter(RecordWriter):
    """Appends to the batches of one topic."""

    topic = cython.declare(object, visibility="readonly")
    count = cython.declare(cython.int, visibility="readonly")
    _collector: Collector
    _batches: list
    _opened: list
    _partitions: list
    _open_count: cython.int
    _sticky: cython.int
    _bytes_max: cython.Py_ssize_t
    _known_until: object

    def __init__(self, collector: Collector, topic: str) -> None:
        self.topic = topic
        self.count = 0
        self._collector = collector
        self._batches = []
        self._opened = []
        self._partitions = []
        self._open_count = 0
        self._sticky = -1
        self._bytes_max = collector.record_bytes_max
        self._known_until = 0

    def set_bytes_max(self, bytes_max: int) -> None:
        """The largest batch that the topic takes, a record alone; learned when one was refused."""
        self._bytes_max = min(bytes_max, self._collector.record_bytes_max)
        self._known_until = self._collector.now_ms + LIMIT_KNOWN_MS

    def set_count(self, count: int) -> None:
        """How many partitions the topic has; it may only grow."""
        while self.count < count:
            self._partitions.append(TopicPartition(self.topic, self.count))
            self._batches.append(None)
            self._opened.append(0)
            self.count += 1

    @cython.ccall
    def append(
        self,
        key: Any,
        value: Any,
        timestamp: cython.longlong,
        headers: Any = (),
        partition: cython.int = -1,
    ) -> object:
        """Add one record, now or when it is released; partition -1 goes by the key's hash.

        Key and value are bytes, or texts that are ASCII, which are copied as they are. Raises
        ProductionError when the record is larger than a request may be, or its topic takes, or
        when a header is none.
        """
        size: cython.Py_ssize_t = RECORD_OVERHEAD_BYTES
        if cython.compiled:
            size += max(plain_size(key), 0) + max(plain_size(value), 0)  # noqa: F821 - from the pxd
        else:
            size += len(as_bytes(key) or b"") + len(as_bytes(value) or b"")
        if headers:
            if type(headers) is not tuple:
                headers = tuple(headers)
            size += _headers_size(headers, self.topic)
        else:
            headers = ()
        if size > self._bytes_max:
            self._check_size(size, key, value, timestamp, headers)
        if self._collector.staged is None:
            self.add(key, value, timestamp, headers, partition)
        else:
            self._collector.staged.append(
                (self, as_bytes(key), as_bytes(value), timestamp, headers, partition)
            )

    def _check_size(self, size: Any, key: Any, value: Any, timestamp: Any, headers: Any) -> None:
        """Refuse what is certain to be too large."""
        limit = self._collector.record_bytes_max
        if size > limit:
            raise ProductionError(
                f"a record of {size} bytes to topic {self.topic} is larger than max.request.size="
                f"{limit}: make it smaller, or raise producer.max.request.size and the topic's "
                "max.message.bytes"
            )
        if self._collector.now_ms >= self._known_until:
            self._bytes_max = limit
            return
        alone: BatchBuilder = self._collector.new_batch()
        alone.append(key, value, timestamp, headers)
        size = len(alone.build())
        if size > self._bytes_max:
            raise ProductionError(
                f"a record of {size} bytes is larger than topic {self.topic} takes, "
                f"max.message.bytes={self._bytes_max}: make it smaller, or raise that"
            )

    @cython.ccall
    def add(
        self,
        key: Any,
        value: Any,
        timestamp: cython.longlong,
        headers: Any,
        partition: cython.int,
    ) -> object:
        """Add one record now."""
        if partition < 0:
            partition = self._partition_of(key)
        elif partition >= self.count:
            raise FatalError(
                f"topic {self.topic} has {self.count} partitions, there is no {partition}"
            )
        batch: BatchBuilder | None = self._batches[partition]
        if batch is None:
            batch = self._open(partition)
        if not batch.append(key, value, timestamp, headers):
            self._close(partition)
            batch = self._open(partition)
            batch.append(key, value, timestamp, headers)

    def close_batches(self, opened_before_ms: Any) -> None:
        """Hand over the open batches, those opened before then only when a time is given."""
        if self._open_count == 0:
            return
        partition: cython.int
        for partition in range(self.count):
            if self._batches[partition] is not None and (
                opened_before_ms is None or self._opened[partition] <= opened_before_ms
            ):
                self._close(partition)

    @cython.cfunc
    def _partition_of(self, key: object) -> cython.int:
        if self.count == 0:
            raise FatalError(f"topic {self.topic} is written to before its partitions are known")
        if key is not None:
            if self.count == 1:
                return 0
            return partition_for(key, self.count)
        if self._sticky < 0:
            self._sticky = self._collector.choose(self.count)
        return self._sticky

    @cython.cfunc
    def _open(self, partition: cython.int) -> BatchBuilder:
        batch: BatchBuilder = self._collector.new_batch()
        self._batches[partition] = batch
        self._opened[partition] = self._collector.now_ms
        self._open_count += 1
        return batch

    @cython.cfunc
    def _close(self, partition: cython.int) -> cython.void:
        self._collector.ready.append((self._partitions[partition], self._batches[partition]))
        self._batches[partition] = None
        self._open_count -= 1
        if partition == self._sticky:
            self._sticky = -1


@cython.cfunc
def _headers_size(headers: tuple, topic: object) -> cython.Py_ssize_t:
    """What headers take, at most. Raises ProductionError for what is no header."""
    size: cython.Py_ssize_t = 0
    for header in headers:
        if not isinstance(header, (tuple, list)) or len(header) != 2:
            raise _bad_headers(topic, headers)
        name, data = header
        if not isinstance(name, str) or not isinstance(data, _HEADER_VALUES):
            raise _bad_headers(topic, headers)
        size += len(name) + HEADER_OVERHEAD_BYTES
        if data is not None:
            size += len(data)
    return size


def _bad_headers(topic: object, headers: object) -> ProductionError:
    return ProductionError(
        f"a record to topic {topic} has the headers {headers!r:.80}: they are a tuple of "
        "(name, value) tuples, the name a str, the value bytes or None"
    )
