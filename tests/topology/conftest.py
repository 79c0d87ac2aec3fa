"""Fixtures of the topology tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.topology.fakes import FakeTask


@pytest.fixture
def task() -> Callable[..., FakeTask]:
    """Links an app: `task(app, cached=False)`."""
    return FakeTask
