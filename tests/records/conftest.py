"""Fixtures of the record batch tests."""

from __future__ import annotations

import shutil
from types import ModuleType

import pytest

from streamkit.records import codec
from tests.interpreted import interpreted_codec


@pytest.fixture(scope="session")
def interpreted() -> ModuleType:
    """The codec as plain Python."""
    return interpreted_codec()


@pytest.fixture(scope="session")
def compiled() -> ModuleType:
    """The codec as the install made it; skipped only where there is no C compiler."""
    if not codec.COMPILED and shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("there is no C compiler, so the codec runs interpreted")
    return codec


@pytest.fixture(params=["compiled", "interpreted"], scope="session")
def form(request: pytest.FixtureRequest) -> ModuleType:
    """Both forms of the codec, one after the other."""
    return request.getfixturevalue(request.param)
