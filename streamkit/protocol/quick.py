"""The answers to Produce and Fetch, written without an object for each part of them.

They are the hottest messages of a broker, and kio takes longer to write one than the broker to do
what was asked. Only what is usual is here; an answer with anything else (a refused batch, another
leader, a diverging epoch) is left to kio. The tests compare both, byte for byte.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from streamkit.common.seams import Bytes, FileSlice, Piece
from streamkit.protocol.apis import ApiKey

FLEXIBLE_PRODUCE: Final = 9
FLEXIBLE_FETCH: Final = 12
SPLICE_BYTES_MIN: Final = 1024

_PRODUCED_3: Final = struct.Struct(">ihqq")
_PRODUCED_5: Final = struct.Struct(">ihqqq")
_PRODUCED_8: Final = struct.Struct(">ihqqqih")
_PRODUCED_9: Final = struct.Struct(">ihqqqBBB")
_FETCHED_4: Final = struct.Struct(">ihqq")
_FETCHED_5: Final = struct.Struct(">ihqqq")
_FETCHED_12: Final = struct.Struct(">ihqqqBi")
_ABORTED: Final = struct.Struct(">qq")
_ABORTED_TAGGED: Final = struct.Struct(">qqB")
_INT16: Final = struct.Struct(">h")
_INT32: Final = struct.Struct(">i")
_SESSION: Final = struct.Struct(">ihi")
_NONE: Final = _INT32.pack(-1)
_NO_THROTTLE: Final = _INT32.pack(0)
_UVARINTS: Final = [bytes((value,)) for value in range(0x80)]


class EncodedBody(NamedTuple):
    """A response that is bytes already; the header goes in front of the first chunk."""

    api_key: int
    version: int
    chunks: list[Piece]


class Produced(Protocol):
    """A partition whose records were appended."""

    index: int
    base_offset: int
    log_append_time: int
    log_start_offset: int


class Fetched(Protocol):
    """What was read of a partition."""

    @property
    def error(self) -> int: ...

    high_watermark: int
    last_stable_offset: int
    log_start_offset: int
    records: Piece

    @property
    def aborted(self) -> Sequence[tuple[int, int]] | None: ...


Topic = UUID | str | None
"""A topic as the version names it; None is the id of no topic."""


def produce_response(
    version: int, topics: Sequence[tuple[Topic, Sequence[Produced]]]
) -> EncodedBody:
    """The answer to a Produce request of which nothing was refused."""
    flexible = version >= FLEXIBLE_PRODUCE
    pieces: list[Bytes] = [_count(len(topics), flexible)]
    for topic, partitions in topics:
        pieces += (_topic(topic, flexible), _count(len(partitions), flexible))
        pieces += [_produced(version, each) for each in partitions]
        if flexible:
            pieces.append(b"\0")
    pieces.append(_NO_THROTTLE)
    if flexible:
        pieces.append(b"\0")
    return EncodedBody(ApiKey.PRODUCE, version, [b"".join(pieces)])


def _produced(version: int, row: Produced) -> bytes:
    index, base, time, start = (
        row.index, row.base_offset, row.log_append_time, row.log_start_offset
    )  # fmt: skip
    if version >= FLEXIBLE_PRODUCE:
        # No record errors, no message, no tagged fields.
        return _PRODUCED_9.pack(index, 0, base, time, start, 1, 0, 0)
    if version >= 8:
        return _PRODUCED_8.pack(index, 0, base, time, start, 0, -1)
    if version >= 5:
        return _PRODUCED_5.pack(index, 0, base, time, start)
    return _PRODUCED_3.pack(index, 0, base, time)


def fetch_response(
    version: int,
    session_id: int,
    topics: Mapping[Topic, Sequence[tuple[int, Fetched]]],
) -> EncodedBody:
    """The answer to a Fetch request: the partitions by number, of each topic."""
    flexible = version >= FLEXIBLE_FETCH
    head = _SESSION.pack(0, 0, session_id) if version >= 7 else _NO_THROTTLE
    no_tags = b"\0" if flexible else b""
    chunks: list[Piece] = []
    small: list[Bytes] = [head, _count(len(topics), flexible)]
    for topic, partitions in topics.items():
        small += (_topic(topic, flexible), _count(len(partitions), flexible))
        for index, row in partitions:
            records = row.records
            size = len(records)
            small.append(_fetched(version, index, row, size))
            if isinstance(records, FileSlice) or size >= SPLICE_BYTES_MIN:
                # It stays the buffer, or the slice of a file, that it is.
                chunks += (b"".join(small), records)
                small = [no_tags]
            else:
                small += (records, no_tags)
        small.append(no_tags)
    small.append(no_tags)
    if rest := b"".join(small):
        chunks.append(rest)
    return EncodedBody(ApiKey.FETCH, version, chunks)


def _fetched(version: int, index: int, row: Fetched, size: int) -> bytes:
    flexible = version >= FLEXIBLE_FETCH
    if flexible and row.aborted is None:
        # No aborted transactions and no replica that would be better.
        head = _FETCHED_12.pack(
            index, row.error, row.high_watermark, row.last_stable_offset, row.log_start_offset,
            0, -1,
        )  # fmt: skip
        return head + _uvarint(size + 1)
    if version >= 5:
        head = _FETCHED_5.pack(
            index, row.error, row.high_watermark, row.last_stable_offset, row.log_start_offset
        )
    else:
        head = _FETCHED_4.pack(index, row.error, row.high_watermark, row.last_stable_offset)
    aborted = _aborted(row.aborted, flexible)
    replica = _NONE if version >= 11 else b""
    return head + aborted + replica + (_uvarint(size + 1) if flexible else _INT32.pack(size))


def _aborted(aborted: Sequence[tuple[int, int]] | None, flexible: bool) -> bytes:
    if aborted is None:
        return b"\0" if flexible else _NONE
    if flexible:
        items = [_ABORTED_TAGGED.pack(*each, 0) for each in aborted]
    else:
        items = [_ABORTED.pack(*each) for each in aborted]
    return _count(len(items), flexible) + b"".join(items)


def _topic(topic: Topic, flexible: bool) -> bytes:
    if topic is None:
        return bytes(16)
    if isinstance(topic, UUID):
        return topic.bytes
    name = topic.encode()
    return (_uvarint(len(name) + 1) if flexible else _INT16.pack(len(name))) + name


def _count(count: int, flexible: bool) -> bytes:
    return _uvarint(count + 1) if flexible else _INT32.pack(count)


def _uvarint(value: int) -> bytes:
    if value < 0x80:
        return _UVARINTS[value]
    if 0x4000 <= value < 0x200000:
        return bytes((value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14))
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
