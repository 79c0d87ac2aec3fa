"""`streamkit topics`, `configs` and `transactions` on the embedded broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from streamkit.testing.broker import Broker
from tests.cluster_commands import (
    configs_are_shown_and_changed,
    topics_are_made_changed_and_deleted,
    transactions_are_shown,
)
from tests.harness import streamkit


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """A broker for the module."""
    with Broker() as running:
        yield running


@pytest.mark.parametrize(
    "scenario",
    [
        topics_are_made_changed_and_deleted,
        configs_are_shown_and_changed,
        transactions_are_shown,
    ],
)
def test_commands_on_a_cluster(broker: Broker, scenario: Callable[[str], None]) -> None:
    scenario(broker.bootstrap)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("transactions", "producers", "orders"), "write TOPIC:PARTITION, such as orders:0"),
        (("configs", "alter", "topic", "orders"), "nothing to change: give --add"),
    ],
)
def test_mistake_is_one_line(arguments: tuple[str, ...], line: str) -> None:
    done = streamkit(*arguments)
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
