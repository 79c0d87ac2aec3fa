"""Fixtures of the topology tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.topology.driven import Driven


@pytest.fixture
def task() -> Callable[..., Driven]:
    """Starts an app's tasks: `task(app, cached=False)`."""
    return Driven
