"""How `produce` and `consume` read and show keys and values."""

from __future__ import annotations

import click

from streamkit.common.errors import SerializationError, UsageError
from streamkit.serdes import Serde, serde_for

TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bytes": bytes, "json": dict}
choice = click.Choice(list(TYPES))


def encoded(text: str, kind: str) -> bytes:
    """A text from the terminal as bytes of the type. Raises UsageError when it does not fit."""
    try:
        if kind == "bytes":
            return bytes.fromhex(text)
        if kind == "json":
            _serde(kind).deserialize("", text.encode(), ())
            return text.encode()
        data = _serde(kind).serialize("", TYPES[kind](text), ())
    except (ValueError, SerializationError) as error:
        raise UsageError(f"{text!r} is not of type {kind}: {error}") from None
    assert data is not None, "a value that is there has bytes"
    return data


def shown(data: bytes | None, kind: str) -> str:
    """Bytes as text for the terminal; bytes that are not of the type show as hexadecimal."""
    if data is None:
        return "null"
    if kind == "bytes":
        return data.hex()
    try:
        return data.decode() if kind == "json" else str(_serde(kind).deserialize("", data, ()))
    except (ValueError, SerializationError):
        return f"0x{data.hex()}"


def _serde(kind: str) -> Serde[object]:
    return serde_for(TYPES[kind])
