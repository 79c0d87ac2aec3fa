"""The nodes that run, and those at the edges: sources, sinks and tables.

A node is linked once to its children and is then called directly: `process(key, value,
timestamp, headers)`, and for tables `process_change(key, new, old, timestamp, headers)`. No
record object exists on the way. `node.pxd` has the C types, so that such a call is a jump in the
compiled modules of this package; the same files run interpreted. Whoever hands a record on says in
the context whose turn it is, so that a failure has the name of its operator.
"""

# The compiler needs C types where mypy sees ints; `node.pyi` has the types for users of this.
from __future__ import annotations

import struct

import cython

from streamkit.common.direct import (
    FlushTarget,
    RecordColumns,
    RecordWriter,
    row_time,
    row_value,
    rows_of,
)
from streamkit.common.errors import (
    DeserializationError,
    FatalError,
    ProductionError,
    SerializationError,
)
from streamkit.common.model import Windowed
from streamkit.serdes import long as _long_serde
from streamkit.serdes import raw as _bytes_serde
from streamkit.serdes import string as _string_serde
from streamkit.serdes.serde import writes_headers as _writes_headers
from streamkit.serdes.windowed import TimeWindowedSerde

_pack_long = struct.Struct(">q").pack
_unpack_long = struct.Struct(">q").unpack

NEVER = 2**63 - 1
"""The time of a punctuation when none is scheduled."""

_NEVER = cython.declare(cython.longlong, 2**63 - 1)

_OTHER = cython.declare(cython.int, 0)
_STRING = cython.declare(cython.int, 1)
_LONG = cython.declare(cython.int, 2)
_BYTES = cython.declare(cython.int, 3)
_WINDOWED_STRING = cython.declare(cython.int, 4)


def is_compiled() -> bool:
    """Whether this module runs as C."""
    return bool(cython.compiled)


@cython.cclass
class ProcessorContext:
    """What a task gives its nodes; tasks subclass it and fill in the methods.

    The record fields are those of the record being processed; `raw_key` and `raw_value` are its
    bytes. `stream_time` is -1 before the first record. Times are in milliseconds. Results on close
    go out once in `emit_interval_ms`. `current` is the node whose turn it is. A `savepoint` is
    there when a failed record is to be undone. `punctuate_at` is the stream time of the next
    punctuation. `processor_times` are committed beside the offsets, and there again after a
    restart.
    """

    def __init__(self, application_id, task_id):
        self.application_id = application_id
        self.task_id = task_id
        self.topic = ""
        self.partition = task_id.partition
        self.offset = -1
        self.timestamp = -1
        self.headers = ()
        self.columns = None
        self.index = 0
        self.own_key = None
        self.own_value = None
        self.stream_time = -1
        self.emit_interval_ms = 1000
        self.is_latest = True
        self.punctuate_at = NEVER
        self.current = None
        self.savepoint = None
        self.processor_times = {}

    @property
    def raw_key(self):
        """The bytes of the record's key."""
        return self.own_key if self.columns is None else self.columns.key_at(self.index)

    @property
    def raw_value(self):
        """The bytes of the record's value."""
        return self.own_value if self.columns is None else self.columns.value_at(self.index)

    def set_raw(self, key, value):
        """Have these as the bytes of the record, which is not one that a source reads now."""
        self.columns = None
        self.own_key = key
        self.own_value = value

    @property
    def app_configs(self):
        """The configuration by Kafka's keys."""
        return {}

    def store(self, name):
        """The store of that name in this task."""
        raise NotImplementedError

    def store_for(self, node, name):
        """The store of that name as a processor of that name may use it."""
        return self.store(name)

    def sink(self, topic):
        """The writer for a topic, by its full name."""
        raise NotImplementedError

    def partition_count(self, topic):
        """How many partitions a topic has; only asked for when a sink has a partitioner."""
        raise NotImplementedError

    def drop(self, reason, is_counted=True, is_whole=True):
        """Log a dropped record, count it, and when nothing took it have its policy asked."""
        raise NotImplementedError

    def wall_time_ms(self):
        """The wall clock of the task."""
        raise NotImplementedError

    def schedule(self, node, interval_ms, callback, *, by_wall_clock=False, start_ms=None):
        """Have `callback(time)` called each interval; gives what cancels it."""
        raise NotImplementedError

    def request_commit(self):
        """Commit at the next turn."""
        raise NotImplementedError

    def sensor(self, node, name):
        """A number that a processor counts."""
        raise NotImplementedError

    def acquire(self, resource):
        """Open a resource, or share it."""
        raise NotImplementedError

    def release(self, resource):
        """Let go of a resource; the last one closes it."""
        raise NotImplementedError

    def call_async(self, node, key, value, timestamp, headers):
        """Have an async node begin a call whose results are forwarded in order."""
        raise NotImplementedError

    def hold(self, node, key, value, timestamp, headers):
        """Have a node take a record once the calls before it are through."""
        raise NotImplementedError

    def punctuate(self):
        """Run the punctuations whose stream time has come."""
        raise NotImplementedError

    def attempt_change(self, node, key, new, old, timestamp, headers):
        """Have a node forward a change of no record; its failure is undone by itself."""
        raise NotImplementedError


@cython.cclass
class Node(FlushTarget):
    """One operator in one task. `init` comes once, after linking and before the first record.

    One that `ignores_values` asks only whether there is one: a source makes no object of it.
    """

    def __init__(self, name):
        self.name = name
        self.children = []
        self.only = None
        self.ignores_values = False
        self.context = None

    def add_child(self, child):
        """Link a child; children get each record in the order they were added."""
        self.children.append(child)
        self.only = child if len(self.children) == 1 else None

    def init(self, context):
        """Take the context; look up stores and writers."""
        self.context = context

    def close(self):
        """Let go of what `init` took."""

    def advance_time(self, time):
        """Stream time goes on without a record; only asked for by choice."""

    def on_failure(self, undo, *arguments):
        """Should the record in process fail, call this; no-op where nothing is ever undone."""
        savepoint = self.context.savepoint
        if savepoint is not None:
            savepoint.journal.append((undo, arguments))

    @cython.ccall
    def process(self, key, value, timestamp: cython.longlong, headers):
        """Take one record of a stream."""
        raise NotImplementedError(f"{self.name} takes no stream")

    @cython.ccall
    def process_change(self, key, new, old, timestamp: cython.longlong, headers):
        """Take one change of a table; `old` is None unless old values were asked for."""
        raise NotImplementedError(f"{self.name} takes no table")

    @cython.ccall
    def forward(self, key, value, timestamp: cython.longlong, headers):
        """Hand one record to every child."""
        child: Node
        context: ProcessorContext = self.context
        if self.only is not None:
            context.current = self.only
            self.only.process(key, value, timestamp, headers)
        else:
            for child in self.children:
                context.current = child
                child.process(key, value, timestamp, headers)
        context.current = self

    @cython.ccall
    def forward_change(self, key, new, old, timestamp: cython.longlong, headers):
        """Hand one change of a table to every child."""
        child: Node
        context: ProcessorContext = self.context
        if self.only is not None:
            context.current = self.only
            self.only.process_change(key, new, old, timestamp, headers)
        else:
            for child in self.children:
                context.current = child
                child.process_change(key, new, old, timestamp, headers)
        context.current = self


@cython.cclass
class SourceNode(Node):
    """Reads one topic: bytes to objects, timestamps, and on to the children.

    `extractor(record, partition_time)` gives a record's time; None takes the record's own. A
    negative time of an extractor drops the record; a negative time of its own is fatal, as in
    Kafka Streams.
    """

    topic = cython.declare(object, visibility="readonly")
    key_serde = cython.declare(object, visibility="readonly")
    value_serde = cython.declare(object, visibility="readonly")
    extractor: object
    record_type: object
    key_kind: cython.int
    value_kind: cython.int
    skips_values: cython.bint
    partition_time = cython.declare(cython.longlong, visibility="public")

    def __init__(self, name, topic, key_serde, value_serde, extractor=None, record_type=None):
        Node.__init__(self, name)
        self.topic = topic
        self.key_serde = key_serde
        self.value_serde = value_serde
        self.extractor = extractor
        self.record_type = record_type
        self.key_kind = kind_of(key_serde)
        self.value_kind = kind_of(value_serde)
        self.skips_values = False
        self.partition_time = -1

    def init(self, context):
        """Take the context; the clock where that gives the time."""
        Node.init(self, context)
        cannot_fail: cython.bint = self.value_kind in (_STRING, _BYTES)
        self.skips_values = (
            cannot_fail
            and self.extractor is None
            and self.only is not None
            and self.only.ignores_values
        )
        if self.extractor == "wall":
            self.extractor = lambda record, partition_time: context.wall_time_ms()

    def run(self, batch, start: cython.Py_ssize_t, stop: cython.Py_ssize_t):
        """Process the records [start, stop) of a decoded batch.

        When it raises, `context.offset` is the offset of the record that failed.
        """
        columns: RecordColumns = batch
        offsets = columns.offsets
        is_dense: cython.bint = type(offsets) is range
        first: cython.longlong = offsets[0] if stop > start else -1
        context: ProcessorContext = self.context
        child: Node
        i: cython.Py_ssize_t
        timestamp: cython.longlong
        savepoint = context.savepoint
        context.topic = self.topic
        for i in range(start, stop):
            if savepoint is not None:
                savepoint.begin()
                self.on_failure(self.set_times, self.partition_time, context.stream_time)
            headers = columns.headers_at(i)
            context.offset = first + i if is_dense else offsets[i]
            context.headers = headers
            timestamp = columns.time_at(i)
            context.timestamp = timestamp
            context.current = self
            context.columns = columns
            context.index = i
            key = self.key_of(columns, i, headers)
            value = self.value_of(columns, i, headers)
            if self.extractor is not None or timestamp < 0:
                timestamp = self.time_of(key, value, timestamp, headers)
                if timestamp < 0:
                    context.drop(f"{self.name}: negative timestamp")
                    continue
            context.timestamp = timestamp
            self.partition_time = max(self.partition_time, timestamp)
            context.stream_time = max(context.stream_time, timestamp)
            if self.only is not None:
                context.current = self.only
                self.only.process(key, value, timestamp, headers)
            else:
                for child in self.children:
                    context.current = child
                    child.process(key, value, timestamp, headers)
            if context.punctuate_at <= context.stream_time and context.punctuate_at != _NEVER:
                context.punctuate()
        context.set_raw(None, None)

    @cython.cfunc
    @cython.inline
    def key_of(self, columns: RecordColumns, i: cython.Py_ssize_t, headers):
        if self.key_kind == _STRING:
            try:
                return columns.key_text_at(i)
            except UnicodeDecodeError:
                return _read(self.key_serde, self.topic, columns.key_at(i), headers)
        return decode(self.key_kind, self.key_serde, self.topic, columns.key_at(i), headers)

    @cython.cfunc
    @cython.inline
    def value_of(self, columns: RecordColumns, i: cython.Py_ssize_t, headers):
        if self.skips_values:
            return columns.value_mark_at(i)
        if self.value_kind == _STRING:
            try:
                return columns.value_text_at(i)
            except UnicodeDecodeError:
                return _read(self.value_serde, self.topic, columns.value_at(i), headers)
        return decode(self.value_kind, self.value_serde, self.topic, columns.value_at(i), headers)

    def set_times(self, partition_time, stream_time):
        """Take times back: the record that brought them failed."""
        self.partition_time = partition_time
        self.context.stream_time = stream_time

    @cython.cfunc
    def time_of(self, key, value, timestamp: cython.longlong, headers):
        if self.extractor is None:
            context = self.context
            raise FatalError(
                f"record {context.topic}-{context.partition} offset {context.offset} has the "
                f"negative timestamp {timestamp}; give the source timestamp='log_and_skip' or "
                "'use_partition_time', or set the timestamp in the producer"
            )
        record = self.record_type(key, value, timestamp, headers)
        return self.extractor(record, self.partition_time)


@cython.cclass
class SinkNode(Node):
    """Writes to a topic: objects to bytes, into the writer of the topic.

    `topic` may be a function of the record instead; `partitioner(topic, key, value, count)`
    gives a partition, several, or None for the default. Serdes that write headers get a list.
    """

    topic = cython.declare(object, visibility="readonly")
    writes_headers: cython.bint
    topic_of: object
    record_type: object
    key_serde = cython.declare(object, visibility="readonly")
    value_serde = cython.declare(object, visibility="readonly")
    partitioner: object
    key_kind: cython.int
    value_kind: cython.int
    writer: RecordWriter
    writers: dict

    def __init__(
        self, name, topic, key_serde, value_serde, partitioner=None, topic_of=None, record_type=None
    ):
        Node.__init__(self, name)
        self.topic = topic
        self.topic_of = topic_of
        self.record_type = record_type
        self.key_serde = key_serde
        self.value_serde = value_serde
        self.partitioner = partitioner
        self.writes_headers = _writes_headers(key_serde) or _writes_headers(value_serde)
        self.key_kind = kind_of(key_serde)
        self.value_kind = kind_of(value_serde)
        self.writer = None
        self.writers = {}

    def init(self, context):
        """Look up the writer of a fixed topic."""
        Node.init(self, context)
        if self.topic_of is None:
            self.writer = context.sink(self.topic)

    def close(self):
        """Forget the writers."""
        self.writer = None
        self.writers = {}

    @cython.ccall
    def process(self, key, value, timestamp: cython.longlong, headers):
        """Serialise and append."""
        if self.topic_of is not None or self.partitioner is not None or self.writes_headers:
            self.route(key, value, timestamp, headers)
            return
        key_bytes = value_bytes = None
        if key is not None:
            key_bytes = encode(self.key_kind, self.key_serde, self.topic, key, headers)
        if value is key and self.key_kind == _STRING and self.value_kind == _STRING:
            value_bytes = key_bytes
        elif value is not None:
            value_bytes = encode(self.value_kind, self.value_serde, self.topic, value, headers)
        self.writer.append(key_bytes, value_bytes, timestamp, headers)

    @cython.cfunc
    def route(self, key, value, timestamp: cython.longlong, headers):
        topic = self.topic
        if self.topic_of is not None:
            topic = self.topic_of(self.record_type(key, value, timestamp, headers))
        writer: RecordWriter | None = self.writers.get(topic)
        if writer is None:
            writer = self.context.sink(topic)
            self.writers[topic] = writer
        if self.writes_headers:
            headers = list(headers)
        key_bytes = value_bytes = None
        if key is not None:
            key_bytes = encode(self.key_kind, self.key_serde, topic, key, headers)
        if value is not None:
            value_bytes = encode(self.value_kind, self.value_serde, topic, value, headers)
        if self.writes_headers:
            headers = tuple(headers)
        if self.partitioner is None:
            writer.append(key_bytes, value_bytes, timestamp, headers)
            return
        partitions = self.chosen(topic, key, value)
        if partitions is None:
            writer.append(key_bytes, value_bytes, timestamp, headers)
            return
        if not partitions:
            self.context.drop(f"{self.name}: the partitioner chose no partition")
        for partition in partitions:
            writer.append(key_bytes, value_bytes, timestamp, headers, partition)

    @cython.cfunc
    def chosen(self, topic, key, value):
        """What the partitioner chose, None for the default; all of it is there."""
        count: cython.int = self.context.partition_count(topic)
        given = self.partitioner(topic, key, value, count)
        if given is None:
            return None
        partitions = (given,) if isinstance(given, int) else tuple(dict.fromkeys(given))
        for partition in partitions:
            if not isinstance(partition, int) or not 0 <= partition < count:
                raise FatalError(
                    f"{self.name}: the partitioner chose partition {partition!r} of topic {topic}, "
                    f"which has {count}: give a number from 0 to {count - 1}, a list of such, or "
                    "None for the default"
                )
        return partitions


@cython.cclass
class PassNode(Node):
    """Merges and branches: hands on what comes."""

    @cython.ccall
    def process(self, key, value, timestamp: cython.longlong, headers):
        """Hand on."""
        self.forward(key, value, timestamp, headers)


@cython.cclass
class KeyedOnlyNode(Node):
    """In front of a repartition topic: a record without a key has no partition there.

    As in Kafka Streams' filter there the metric of dropped records does not count it.
    """

    @cython.ccall
    def process(self, key, value, timestamp: cython.longlong, headers):
        """Hand on what has a key."""
        if key is None:
            self.context.drop(f"{self.name}: null key", False)
            return
        self.forward(key, value, timestamp, headers)


@cython.cclass
class StoreNode(Node):
    """A node that keeps a table in a timestamped key-value store.

    Changes go on directly, or, when the store has a cache, when the cache lets go of them.
    """

    def __init__(self, name, store_name, sends_old=False):
        Node.__init__(self, name)
        self.store_name = store_name
        self.sends_old = sends_old
        self.is_cached = False
        self.rows = None
        self.get = None
        self.put = None

    def init(self, context):
        """Look up the store and listen to its cache."""
        Node.init(self, context)
        if self.store_name is not None:
            store = context.store(self.store_name)
            self.rows = rows_of(store)
            self.get = store.get
            self.put = store.put
            self.is_cached = bool(store.set_flush_listener(self.on_flush, bool(self.sends_old)))

    def close(self):
        """Forget the store."""
        self.rows = None
        self.get = None
        self.put = None

    @cython.ccall
    def on_flush(self, key, new, old, timestamp: cython.longlong, headers):
        """Hand on what the cache let go of."""
        context = self.context
        before = context.current
        context.current = self
        if not self.sends_old:
            old = None
        if context.savepoint is None:
            self.forward_change(key, new, old, timestamp, headers)
        else:
            context.attempt_change(self, key, new, old, timestamp, headers)
        context.current = before


@cython.cclass
class CountNode(StoreNode):
    """Counts the records of each key; as in Kafka Streams the old value of a new row is 0."""

    def __init__(self, name, store_name, sends_old=False):
        StoreNode.__init__(self, name, store_name, sends_old)
        self.ignores_values = True

    @cython.ccall
    def process(self, key, value, timestamp: cython.longlong, headers):
        """Count one."""
        if key is None or value is None:
            self.context.drop(f"{self.name}: null key or value")
            return
        if self.is_cached:
            self.rows.count_up(key, timestamp, headers)
            return
        entry = self.rows.get(key)
        old = 0
        new = 1
        if entry is not None:
            old = row_value(entry)
            then: cython.longlong = row_time(entry)
            new = old + 1
            timestamp = max(timestamp, then)
        self.rows.put(key, new, timestamp, headers)
        self.forward_change(key, new, old if self.sends_old else None, timestamp, headers)


@cython.cclass
class ReduceNode(StoreNode):
    """`reducer(aggregate, value)`; the first value of a key is its first aggregate."""

    reducer: object

    def __init__(self, name, store_name, reducer, sends_old=False):
        StoreNode.__init__(self, name, store_name, sends_old)
        self.reducer = reducer

    @cython.ccall
    def process(self, key, value, timestamp: cython.longlong, headers):
        """Reduce one."""
        if key is None or value is None:
            self.context.drop(f"{self.name}: null key or value")
            return
        entry = self.rows.get(key)
        old = None
        new = value
        if entry is not None:
            old = row_value(entry)
            then: cython.longlong = row_time(entry)
            new = self.reducer(old, value)
            timestamp = max(timestamp, then)
        self.rows.put(key, new, timestamp, headers)
        if not self.is_cached:
            self.forward_change(key, new, old if self.sends_old else None, timestamp, headers)


@cython.cclass
class AggregateNode(StoreNode):
    """`aggregator(key, value, aggregate)`, starting with `initializer()`; None deletes.

    As in Kafka Streams the old value of a new row is the initial one.
    """

    initializer: object
    aggregator: object

    def __init__(self, name, store_name, initializer, aggregator, sends_old=False):
        StoreNode.__init__(self, name, store_name, sends_old)
        self.initializer = initializer
        self.aggregator = aggregator

    @cython.ccall
    def process(self, key, value, timestamp: cython.longlong, headers):
        """Aggregate one."""
        if key is None or value is None:
            self.context.drop(f"{self.name}: null key or value")
            return
        entry = self.rows.get(key)
        old = None
        if entry is None:
            old = self.initializer()
            new = self.aggregator(key, value, old)
        else:
            old = row_value(entry)
            then: cython.longlong = row_time(entry)
            timestamp = max(timestamp, then)
            new = self.aggregator(key, value, old)
        self.rows.put(key, new, timestamp, headers)
        if not self.is_cached:
            self.forward_change(key, new, old if self.sends_old else None, timestamp, headers)


@cython.cclass
class TableSourceNode(StoreNode):
    """A stream read as a table: each record sets its key's row, null deletes it.

    Without a store (`store_name` None) it only turns records into changes.
    """

    @cython.ccall
    def process(self, key, value, timestamp: cython.longlong, headers):
        """Set a row."""
        old = None
        if key is None:
            self.context.drop(f"{self.name}: null key")
            return
        if self.rows is not None:
            if self.sends_old:
                entry = self.rows.get(key)
                old = None if entry is None else row_value(entry)
            self.rows.put(key, value, timestamp, headers)
        if not self.is_cached:
            self.forward_change(key, value, old, timestamp, headers)


@cython.cclass
class ToStreamNode(Node):
    """A table's changes as a stream of its new values."""

    @cython.ccall
    def process_change(self, key, new, old, timestamp: cython.longlong, headers):
        """Hand on the new value."""
        self.forward(key, new, timestamp, headers)


@cython.cfunc
def decode(kind: cython.int, serde, topic, data, headers):
    if data is None:
        return None
    if kind == _LONG and len(cython.cast(bytes, data)) == 8:
        return _unpack_long(data)[0]
    if kind == _BYTES:
        return data
    if serde is None:
        raise SerializationError(f"topic {topic}: no serde")
    return _read(serde, topic, data, headers)


@cython.cfunc
def encode(kind: cython.int, serde, topic, value, headers):
    if kind == _STRING and type(value) is str:
        if cython.compiled and is_ascii(value):  # noqa: F821 - from the pxd
            return value
        try:
            return cython.cast(str, value).encode("utf-8")
        except UnicodeEncodeError:
            return _write(serde, topic, value, headers)
    if kind == _LONG and type(value) is int:
        try:
            return _pack_long(value)
        except struct.error:
            return _write(serde, topic, value, headers)
    if kind == _WINDOWED_STRING and type(value) is Windowed and type(value.key) is str:
        text: str = value.key
        try:
            return text.encode("utf-8") + _pack_long(value.start)
        except (UnicodeEncodeError, struct.error):
            return _write(serde, topic, value, headers)
    return _write(serde, topic, value, headers)


def _read(serde, topic, data, headers):
    try:
        return serde.deserialize(topic, data, headers)
    except Exception as error:  # a serde may be the user's: whatever it raises
        raise DeserializationError(f"topic {topic}: {error}") from error


def _write(serde, topic, value, headers):
    try:
        data = serde.serialize(topic, value, headers)
    except Exception as error:  # a serde may be the user's: whatever it raises
        raise ProductionError(f"topic {topic}: {error}") from error
    if data is not None and not isinstance(data, bytes):
        raise ProductionError(f"topic {topic}: {serde!r} must give bytes, not {data!r:.40}")
    return data


@cython.cfunc
def kind_of(serde) -> cython.int:
    if serde is _string_serde:
        return _STRING
    if serde is _long_serde:
        return _LONG
    if serde is _bytes_serde:
        return _BYTES
    if type(serde) is TimeWindowedSerde and serde.inner is _string_serde:
        return _WINDOWED_STRING
    return _OTHER
