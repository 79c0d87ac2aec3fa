"""What tests need: a driver for topologies, brokers to start and stop, a simulated machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamkit.testing.broker import Broker as Broker
    from streamkit.testing.context import MockContext as MockContext
    from streamkit.testing.driver import TopologyTestDriver as TopologyTestDriver

_PLACES = {
    "Broker": "streamkit.testing.broker",
    "MockContext": "streamkit.testing.context",
    "TopologyTestDriver": "streamkit.testing.driver",
}

__all__ = ["Broker", "MockContext", "TopologyTestDriver"]


def __getattr__(name: str) -> object:
    """Load a public name on its first use (PEP 562)."""
    import importlib

    if name not in _PLACES:
        raise AttributeError(f"module 'streamkit.testing' has no attribute {name!r}")
    found: object = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = found
    return found
