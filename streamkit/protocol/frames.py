"""Frames: an int32 size, then as many bytes.

The splitter copies nothing when a frame arrives in one piece, and joins once when it does not;
small pieces are gathered as they come, since each would cost more than it holds. It never reserves
memory for bytes that have only been announced.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, TypeVar

from streamkit.common.seams import FileSlice, Piece
from streamkit.protocol.errors import MalformedMessage
from streamkit.protocol.messages import Bytes

FRAME_BYTES_MAX: Final = 104_857_600
"""Kafka's socket.request.max.bytes."""

PIECE_BYTES_MIN: Final = 4096
"""A held piece of at least this size stays as it came."""

_SIZE: Final = struct.Struct(">i")


class FrameBuffer:
    """Splits a stream of bytes into frames of at most `bytes_max` bytes each."""

    __slots__ = ("_held", "_held_size", "_wanted", "bytes_max")

    def __init__(self, bytes_max: int = FRAME_BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self._held: list[Bytes] = []
        self._held_size = 0
        self._wanted = 4

    @property
    def is_empty(self) -> bool:
        """Whether no part of a frame is held."""
        return not self._held

    def feed(self, data: Bytes) -> list[memoryview]:
        """The frames that these bytes complete. Raises MalformedMessage on an absurd size."""
        if self._held:
            self._hold(data)
            self._held_size += len(data)
            if self._held_size < self._wanted:
                return []
            data = b"".join(self._held)
            self._held.clear()
        return self._split(memoryview(data))

    def _hold(self, data: Bytes) -> None:
        last = self._held[-1]
        if len(data) >= PIECE_BYTES_MIN:
            self._held.append(memoryview(data))
        elif isinstance(last, bytearray):
            last += data
        else:
            self._held.append(bytearray(data))

    def _split(self, view: memoryview) -> list[memoryview]:
        frames: list[memoryview] = []
        position, end = 0, len(view)
        self._wanted = 4
        while end - position >= 4:
            size = self._read_size(view, position)
            if end - position - 4 < size:
                self._wanted = size + 4
                break
            frames.append(view[position + 4 : position + 4 + size])
            position += 4 + size
        if position < end:
            self._held.append(view[position:])
        self._held_size = end - position
        return frames

    def _read_size(self, view: memoryview, position: int) -> int:
        (size,) = _SIZE.unpack_from(view, position)
        if not 0 <= size <= self.bytes_max:
            raise MalformedMessage(f"frame of {size} bytes; the limit is {self.bytes_max}")
        return int(size)


P = TypeVar("P", Bytes, Piece)


def frame(chunks: Sequence[P]) -> list[P]:
    """The chunks of one message with their size in front."""
    size = _SIZE.pack(sum(map(len, chunks)))
    first = chunks[0]
    if not isinstance(first, FileSlice) and len(first) < 1024:
        framed: list[P] = [size + first]
        framed += chunks[1:]
    else:
        framed = [size]
        framed += chunks
    return framed
