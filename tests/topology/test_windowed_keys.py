"""Windowed keys in a sink: what the compiled path writes is what the serde writes."""

from __future__ import annotations

import pytest

from streamkit import serdes
from streamkit.common.errors import ProductionError
from streamkit.common.model import TaskId, Windowed
from streamkit.topology.operators.node import ProcessorContext, SinkNode

SERDE = serdes.time_windowed(str, 10)


class Context(ProcessorContext):
    """Keeps what the sink writes."""

    def __init__(self):
        super().__init__("app", TaskId(0, 0))
        self.written = []

    def sink(self, topic):
        return self

    def append(self, key, value, timestamp, headers, partition=-1):
        self.written.append(key)


def write(key):
    context = Context()
    node = SinkNode("sink", "out", SERDE, serdes.long)
    node.init(context)
    node.process(key, 1, 5, ())
    return context.written[0]


@pytest.mark.parametrize("text", ["", "key", "\u00e9\u4e16", "long" * 100])
@pytest.mark.parametrize("start", [0, 1_700_000_000_000, 2**63 - 11])
def test_bytes_are_those_of_the_serde(text, start):
    key = Windowed(text, start, start + 10)
    assert write(key) == SERDE.serialize("out", key, ())


@pytest.mark.parametrize("key", [Windowed(7, 0, 10), Windowed("\ud800", 0, 10), "plain"])
def test_what_the_serde_refuses_is_refused(key):
    with pytest.raises(ProductionError):
        write(key)
