"""The pytest plugin: `test_topology` drives an app without a broker, `embedded_broker` is one.

def test_words(test_topology):
    t = test_topology(app)
    t.pipe("lines", None, "to be")

def test_end_to_end(embedded_broker):
    producer = Producer({"bootstrap.servers": embedded_broker.bootstrap})
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from streamkit.app import App
from streamkit.testing.broker import Broker
from streamkit.testing.driver import TopologyTestDriver


@pytest.fixture(name="test_topology")
def test_topology_fixture() -> Iterator[Callable[..., TopologyTestDriver]]:
    """Makes drivers, `test_topology(app, partitions=3)`, and closes them after the test."""
    with ExitStack() as stack:

        def drive(app: App, **options: object) -> TopologyTestDriver:
            return stack.enter_context(app.test(**options))  # type: ignore[arg-type]  # as App.test

        yield drive


@pytest.fixture
def embedded_broker() -> Iterator[Broker]:
    """A real broker in a process of its own, for one test."""
    with Broker() as broker:
        yield broker
