"""Frames come out of a stream of bytes, however it is cut."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.protocol.errors import MalformedMessage
from streamkit.protocol.frames import FrameBuffer, frame


def framed(payload: bytes) -> bytes:
    return b"".join(frame([payload]))


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(1, 50)))
def test_any_cutting_gives_the_same_frames(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(framed, payloads))
    buffer, frames, position = FrameBuffer(), [], 0
    for cut in [*cuts, len(stream)]:
        frames += [bytes(view) for view in buffer.feed(stream[position : position + cut])]
        position += cut
    assert frames == payloads
    assert buffer.is_empty


def test_whole_frame_is_not_copied() -> None:
    data = framed(b"payload")
    (view,) = FrameBuffer().feed(data)
    assert view.obj is data
    assert view == b"payload"


def test_frame_keeps_big_chunks_as_they_are() -> None:
    big = bytes(5000)
    chunks = frame([b"head", big, b"tail"])
    assert chunks[1] is big
    assert chunks[0] == struct.pack(">i", 5008) + b"head"
    assert frame([big])[1] is big


@pytest.mark.parametrize("size", [-1, 101, 0x7FFFFFFF])
def test_size_beyond_the_limit_is_malformed(size: int) -> None:
    with pytest.raises(MalformedMessage, match="limit is 100"):
        FrameBuffer(bytes_max=100).feed(struct.pack(">i", size))


def test_frame_of_the_limit_passes() -> None:
    assert FrameBuffer(bytes_max=100).feed(framed(bytes(100))) == [bytes(100)]


def test_frame_in_tiny_pieces_takes_little_more_than_its_bytes() -> None:
    size = 200_000
    buffer = FrameBuffer()
    tracemalloc.start()
    try:
        buffer.feed(struct.pack(">i", size))
        for _ in range(size - 1):
            assert buffer.feed(bytes([7])) == []
        assert tracemalloc.get_traced_memory()[1] < 3 * size
    finally:
        tracemalloc.stop()
    assert buffer.feed(b"\x07") == [b"\x07" * size]
