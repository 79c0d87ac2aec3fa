"""Windowed keys in a sink: what the compiled path writes is what the serde writes."""

from __future__ import annotations

import pytest

from streamkit import serdes
from streamkit.common.direct import RecordWriter, as_bytes
from streamkit.common.errors import ProductionError
from streamkit.common.model import TaskId, Windowed
from streamkit.topology.operators.node import ProcessorContext, SinkNode

SERDE = serdes.time_windowed(str, 10)


class Keys(RecordWriter):
    """Keeps the keys of what is appended."""

    def __init__(self):
        self.written = []

    def append(self, key, value, timestamp, headers=(), partition=-1):
        self.written.append(as_bytes(key))


class Context(ProcessorContext):
    """Gives a sink its writer."""

    def __init__(self, writer):
        super().__init__("app", TaskId(0, 0))
        self.writer = writer

    def sink(self, topic):
        return self.writer


def write(key):
    writer = Keys()
    context = Context(writer)
    node = SinkNode("sink", "out", SERDE, serdes.long)
    node.init(context)
    node.process(key, 1, 5, ())
    return writer.written[0]


@pytest.mark.parametrize("text", ["", "key", "\u00e9\u4e16", "long" * 100])
@pytest.mark.parametrize("start", [0, 1_700_000_000_000, 2**63 - 11])
def test_bytes_are_those_of_the_serde(text, start):
    key = Windowed(text, start, start + 10)
    assert write(key) == SERDE.serialize("out", key, ())


@pytest.mark.parametrize("key", [Windowed(7, 0, 10), Windowed("\ud800", 0, 10), "plain"])
def test_what_the_serde_refuses_is_refused(key):
    with pytest.raises(ProductionError):
        write(key)
