"""The public names: all there, each loaded on first use."""

from __future__ import annotations

import pytest

import streamkit as sk


@pytest.mark.parametrize("name", sk.__all__)
def test_public_name_loads(name: str) -> None:
    assert getattr(sk, name) is not None
    assert name in dir(sk)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Apps'"):
        _ = sk.Apps  # type: ignore[attr-defined]  # the test
