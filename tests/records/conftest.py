"""Fixtures of the record batch tests."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from streamkit.records import codec


def load_interpreted(name: str) -> ModuleType:
    """A module's source by its path, so that no extension module is taken."""
    path = Path(codec.__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"{name}_interpreted", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


INTERPRETED = load_interpreted("codec")
INTERPRETED.DecodedBatch = load_interpreted("batch").DecodedBatch  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def interpreted() -> ModuleType:
    """The codec as plain Python."""
    return INTERPRETED


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
