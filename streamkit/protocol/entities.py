"""Readers of entities that are kept on disk: the records of internal topics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamkit.protocol import kio_import as _kio_import  # noqa: F401  # before any of kio

# isort: split
from kio.serial import entity_reader
from kio.serial.errors import SerialError

from streamkit.common.errors import StorageError
from streamkit.protocol.caching import cached
from streamkit.protocol.errors import MalformedMessage
from streamkit.protocol.shapes import shape_of
from streamkit.protocol.walk import checked

Reader = Callable[[bytes, int], tuple[Any, int]]


@cached
def checked_reader(entity: type[Any]) -> Reader:
    """Reads an entity at a position of a buffer, as kio's reader does, but trusts no length.

    Every length is held against the bytes that are there before kio believes it: damaged bytes
    must not cost memory. Tagged fields that are not known are skipped. The reader raises
    StorageError.
    """
    read = entity_reader(entity)
    shape = shape_of(entity)

    def read_checked(buffer: bytes, position: int) -> tuple[Any, int]:
        try:
            found: tuple[Any, int] = read(checked(shape, buffer, position), position)
        except (MalformedMessage, SerialError, ValueError, OverflowError) as error:
            raise StorageError(f"{entity.__name__} cannot be read: {error}") from error
        return found

    return read_checked
