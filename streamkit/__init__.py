"""streamkit: Kafka Streams for Python, with the cluster in the box."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamkit import client as client
    from streamkit import serdes as serdes
    from streamkit import testing as testing
    from streamkit.app import App as App
    from streamkit.broker.embedded import Broker as Broker
    from streamkit.common.model import Record as Record
    from streamkit.common.model import Windowed as Windowed
    from streamkit.state.interfaces import HeadersStore as HeadersStore
    from streamkit.state.interfaces import KeyValue as KeyValue
    from streamkit.state.interfaces import KeyValueStore as KeyValueStore
    from streamkit.state.interfaces import SessionStore as SessionStore
    from streamkit.state.interfaces import TimestampedStore as TimestampedStore
    from streamkit.state.interfaces import VersionedStore as VersionedStore
    from streamkit.state.interfaces import WindowStore as WindowStore
    from streamkit.tasks.states import State as State
    from streamkit.topology.dsl.cogrouped import CogroupedStream as CogroupedStream
    from streamkit.topology.dsl.context import Context as Context
    from streamkit.topology.dsl.global_tables import GlobalTable as GlobalTable
    from streamkit.topology.dsl.grouped import GroupedStream as GroupedStream
    from streamkit.topology.dsl.grouped_table import GroupedTable as GroupedTable
    from streamkit.topology.dsl.low_level import Topology as Topology
    from streamkit.topology.dsl.options import Materialized as Materialized
    from streamkit.topology.dsl.processor import FixedKeyProcessor as FixedKeyProcessor
    from streamkit.topology.dsl.processor import Processor as Processor
    from streamkit.topology.dsl.stores import store as store
    from streamkit.topology.dsl.stream import Stream as Stream
    from streamkit.topology.dsl.table import Table as Table
    from streamkit.topology.dsl.topic import Topic as Topic
    from streamkit.topology.dsl.views import View as View
    from streamkit.topology.dsl.windowed import WindowedStream as WindowedStream
    from streamkit.topology.dsl.windows import Windows as Windows
    from streamkit.topology.dsl.windows import hopping as hopping
    from streamkit.topology.dsl.windows import session as session
    from streamkit.topology.dsl.windows import sliding as sliding
    from streamkit.topology.dsl.windows import tumbling as tumbling
    from streamkit.topology.dsl.windows import unlimited as unlimited
    from streamkit.topology.failures import ErrorPolicy as ErrorPolicy
    from streamkit.topology.failures import Failure as Failure
    from streamkit.topology.failures import dead_letter as dead_letter
    from streamkit.topology.failures import fail as fail
    from streamkit.topology.failures import skip as skip
    from streamkit.topology.wrapping import Change as Change

__version__ = "0.1.0"

_PLACES = {
    "App": "streamkit.app",
    "Broker": "streamkit.broker.embedded",
    "Change": "streamkit.topology.wrapping",
    "CogroupedStream": "streamkit.topology.dsl.cogrouped",
    "Context": "streamkit.topology.dsl.context",
    "ErrorPolicy": "streamkit.topology.failures",
    "Failure": "streamkit.topology.failures",
    "FixedKeyProcessor": "streamkit.topology.dsl.processor",
    "GlobalTable": "streamkit.topology.dsl.global_tables",
    "GroupedStream": "streamkit.topology.dsl.grouped",
    "GroupedTable": "streamkit.topology.dsl.grouped_table",
    "HeadersStore": "streamkit.state.interfaces",
    "KeyValue": "streamkit.state.interfaces",
    "KeyValueStore": "streamkit.state.interfaces",
    "Materialized": "streamkit.topology.dsl.options",
    "Processor": "streamkit.topology.dsl.processor",
    "Record": "streamkit.common.model",
    "SessionStore": "streamkit.state.interfaces",
    "State": "streamkit.tasks.states",
    "Stream": "streamkit.topology.dsl.stream",
    "Table": "streamkit.topology.dsl.table",
    "TimestampedStore": "streamkit.state.interfaces",
    "Topic": "streamkit.topology.dsl.topic",
    "Topology": "streamkit.topology.dsl.low_level",
    "VersionedStore": "streamkit.state.interfaces",
    "View": "streamkit.topology.dsl.views",
    "WindowStore": "streamkit.state.interfaces",
    "Windowed": "streamkit.common.model",
    "WindowedStream": "streamkit.topology.dsl.windowed",
    "Windows": "streamkit.topology.dsl.windows",
    "dead_letter": "streamkit.topology.failures",
    "fail": "streamkit.topology.failures",
    "hopping": "streamkit.topology.dsl.windows",
    "session": "streamkit.topology.dsl.windows",
    "skip": "streamkit.topology.failures",
    "sliding": "streamkit.topology.dsl.windows",
    "store": "streamkit.topology.dsl.stores",
    "tumbling": "streamkit.topology.dsl.windows",
    "unlimited": "streamkit.topology.dsl.windows",
}
_MODULES = {"client", "serdes", "testing"}

__all__ = [
    "App",
    "Broker",
    "Change",
    "CogroupedStream",
    "Context",
    "ErrorPolicy",
    "Failure",
    "FixedKeyProcessor",
    "GlobalTable",
    "GroupedStream",
    "GroupedTable",
    "HeadersStore",
    "KeyValue",
    "KeyValueStore",
    "Materialized",
    "Processor",
    "Record",
    "SessionStore",
    "State",
    "Stream",
    "Table",
    "TimestampedStore",
    "Topic",
    "Topology",
    "VersionedStore",
    "View",
    "WindowStore",
    "Windowed",
    "WindowedStream",
    "Windows",
    "__version__",
    "client",
    "dead_letter",
    "fail",
    "hopping",
    "serdes",
    "session",
    "skip",
    "sliding",
    "store",
    "testing",
    "tumbling",
    "unlimited",
]


def __getattr__(name: str) -> object:
    """Load a public name on its first use (PEP 562)."""
    import importlib

    if name in _MODULES:
        found: object = importlib.import_module(f"streamkit.{name}")
    elif name in _PLACES:
        found = getattr(importlib.import_module(_PLACES[name]), name)
    else:
        raise AttributeError(f"module 'streamkit' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
