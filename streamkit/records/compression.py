"""The five compressions of a batch's records, in the framings that Kafka's clients write.

What a peer sent is never trusted: output is bounded by `bytes_max`, and anything that does not
decompress is a CorruptBatchError.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum

import cramjam

from streamkit.common.errors import CorruptBatchError

Buffer = bytes | bytearray | memoryview

DECOMPRESSED_BYTES_MAX = 128 * 1024 * 1024
"""A batch that grows beyond this is refused: a bomb, or nothing a client of ours could hold."""

XERIAL_HEADER = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
XERIAL_BLOCK_BYTES = 32 * 1024
LZ4_MAGIC = b"\x04\x22\x4d\x18"
LZ4_BLOCK_BYTES = 64 * 1024
# Version 01, independent blocks, no sizes, no checksums; 64 KiB blocks. The last byte is the
# checksum of the two before it, constant as they are (Kafka's readers refuse linked blocks).
LZ4_FRAME_HEADER = LZ4_MAGIC + b"\x60\x40\x82"
LZ4_STORED = 0x80000000
GZIP_LEVEL, LZ4_LEVEL_FAST, ZSTD_LEVEL = 6, 9, 3
INT32_BE = struct.Struct(">i")
UINT32_LE = struct.Struct("<I")
# cramjam's message when its output buffer is too small; it has no exception class of its own.
NO_ROOM = "whole buffer"


class Compression(IntEnum):
    """The codec's number in the low three bits of a batch's attributes."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


def compression_of(name: str) -> Compression:
    """The codec of a `compression.type`. Raises ValueError naming the ones there are."""
    try:
        return Compression[name.upper()]
    except KeyError:
        known = ", ".join(codec.name.lower() for codec in Compression)
        raise ValueError(f"unknown compression type {name!r}; known are {known}") from None


def compress(codec: int, data: Buffer, level: int | None = None) -> Buffer:
    """Compress a batch's records. Raises ValueError for an unknown codec.

    `level` is Kafka's (KIP-390): 1 to 9 or -1 for gzip, 1 to 17 for lz4, where 9 is its fast
    compressor, and -131072 to 22 for zstd.
    """
    if codec == Compression.NONE:
        return data
    if codec == Compression.GZIP:
        gzip_level = GZIP_LEVEL if level is None or level < 0 else level
        return memoryview(cramjam.gzip.compress(data, level=gzip_level))
    if codec == Compression.SNAPPY:
        return _compress_xerial(data)
    if codec == Compression.LZ4:
        return _compress_lz4(data, LZ4_LEVEL_FAST if level is None else level)
    if codec == Compression.ZSTD:
        return memoryview(cramjam.zstd.compress(data, level=ZSTD_LEVEL if level is None else level))
    raise ValueError(f"unknown compression codec {codec}")


def decompress(codec: int, data: Buffer, *, bytes_max: int = DECOMPRESSED_BYTES_MAX) -> Buffer:
    """Undo `compress`, or any other writer's. Raises CorruptBatchError."""
    if codec == Compression.NONE:
        return data
    try:
        if codec == Compression.GZIP:
            return _decompress_into(cramjam.gzip.decompress_into, data, bytes_max)
        if codec == Compression.SNAPPY:
            return _decompress_snappy(data, bytes_max)
        if codec == Compression.LZ4:
            return _decompress_lz4(data, bytes_max)
        if codec == Compression.ZSTD:
            return _decompress_into(cramjam.zstd.decompress_into, data, bytes_max)
    except (cramjam.DecompressionError, struct.error) as error:
        raise CorruptBatchError(f"records do not decompress with codec {codec}: {error}") from None
    raise CorruptBatchError(f"unknown compression codec {codec}")


def _compress_xerial(data: Buffer) -> bytes:
    chunks = [XERIAL_HEADER]
    view = memoryview(data)
    for start in range(0, len(view), XERIAL_BLOCK_BYTES):
        block = bytes(cramjam.snappy.compress_raw(view[start : start + XERIAL_BLOCK_BYTES]))
        chunks += (INT32_BE.pack(len(block)), block)
    return b"".join(chunks)


def _compress_lz4(data: Buffer, level: int) -> bytes:
    if level != LZ4_LEVEL_FAST:
        # Blocks that are compressed with a level, and their checksums, which readers know.
        compressor = cramjam.lz4.Compressor(level=level, content_checksum=False, block_linked=False)
        compressor.compress(bytes(data))
        return bytes(compressor.finish())
    chunks = [LZ4_FRAME_HEADER]
    view = memoryview(data)
    for start in range(0, len(view), LZ4_BLOCK_BYTES):
        plain = view[start : start + LZ4_BLOCK_BYTES]
        block = bytes(cramjam.lz4.compress_block(plain, store_size=False))
        if len(block) < len(plain):
            chunks += (UINT32_LE.pack(len(block)), block)
        else:
            chunks += (UINT32_LE.pack(len(plain) | LZ4_STORED), bytes(plain))
    chunks.append(UINT32_LE.pack(0))
    return b"".join(chunks)


def _decompress_into(
    into: Callable[[Buffer, bytearray], int], data: Buffer, bytes_max: int
) -> memoryview:
    """Decompress to a buffer that grows, since neither format has to say its size."""
    room = min(bytes_max, max(4 * len(data), 64 * 1024))
    while True:
        out = bytearray(room)
        try:
            return memoryview(out)[: into(data, out)]
        except cramjam.DecompressionError as error:
            if NO_ROOM not in str(error):
                raise
        if room >= bytes_max:
            raise CorruptBatchError(f"records decompress to more than {bytes_max} bytes")
        room = min(bytes_max, room * 4)


def _decompress_snappy(data: Buffer, bytes_max: int) -> Buffer:
    view = memoryview(data)
    if view[:8] != XERIAL_HEADER[:8]:
        return _decompress_raw_snappy(view, bytes_max)
    position, chunks, total = len(XERIAL_HEADER), [], 0
    while position < len(view):
        (size,) = INT32_BE.unpack_from(view, position)
        position += INT32_BE.size
        if size < 0 or size > len(view) - position:
            raise CorruptBatchError(f"snappy block of {size} bytes does not fit at {position}")
        block = _decompress_raw_snappy(view[position : position + size], bytes_max)
        chunks.append(block)
        total += len(block)
        if total > bytes_max:
            raise CorruptBatchError(f"records decompress to more than {bytes_max} bytes")
        position += size
    return b"".join(chunks)


def _decompress_raw_snappy(block: memoryview, bytes_max: int) -> memoryview:
    size = cramjam.snappy.decompress_raw_len(block)
    if size > bytes_max:
        raise CorruptBatchError(f"a block decompresses to more than {bytes_max} bytes")
    if size > 64 * len(block) + 64:
        # A copy element makes at most 64 bytes of 2, so this length is a lie: do not allocate it.
        raise CorruptBatchError(f"snappy block of {len(block)} bytes claims {size} bytes")
    out = bytearray(size)
    return memoryview(out)[: cramjam.snappy.decompress_raw_into(block, out)]


def _decompress_lz4(data: Buffer, bytes_max: int) -> Buffer:
    """One frame of the LZ4 frame format; linked blocks and others go through cramjam's reader."""
    view = memoryview(data)
    if len(view) < len(LZ4_FRAME_HEADER) or view[:4] != LZ4_MAGIC:
        raise CorruptBatchError("records do not begin with an LZ4 frame")
    if view[: len(LZ4_FRAME_HEADER)] != LZ4_FRAME_HEADER:
        return _decompress_into(cramjam.lz4.decompress_into, view, bytes_max)
    position, out = len(LZ4_FRAME_HEADER), bytearray()
    room = bytearray(LZ4_BLOCK_BYTES)
    while True:
        (word,) = UINT32_LE.unpack_from(view, position)
        position += UINT32_LE.size
        if word == 0:
            break
        size = word & ~LZ4_STORED
        if size > LZ4_BLOCK_BYTES or size > len(view) - position:
            raise CorruptBatchError(f"LZ4 block of {size} bytes does not fit at {position}")
        block = view[position : position + size]
        position += size
        if word & LZ4_STORED:
            out += block
        else:
            plain_bytes = cramjam.lz4.decompress_block_into(block, room, output_len=len(room))
            out += memoryview(room)[:plain_bytes]
        if len(out) > bytes_max:
            raise CorruptBatchError(f"records decompress to more than {bytes_max} bytes")
    if position != len(view):
        raise CorruptBatchError(f"{len(view) - position} bytes follow the LZ4 frame")
    return out
