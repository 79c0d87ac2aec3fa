"""The framings of the five compressions, bombs, and readers of other writers' output."""

from __future__ import annotations

import gzip
import struct

import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamkit.common.errors import CorruptBatchError
from streamkit.records.compression import (
    LZ4_FRAME_HEADER,
    XERIAL_HEADER,
    Compression,
    compress,
    compression_of,
    decompress,
)

CODECS = [codec for codec in Compression if codec]


@settings(deadline=None)
@given(st.binary(max_size=3000), st.integers(1, 60), st.sampled_from(CODECS))
def test_round_trip_over_block_borders(unit: bytes, times: int, codec: Compression) -> None:
    plain = unit * times
    assert bytes(decompress(codec, compress(codec, plain))) == plain


def test_large_and_incompressible_data(  # more than one block of each framing
) -> None:
    plain = b"".join(
        struct.pack(">q", (i * 0x9E3779B97F4A7C15) & (2**63 - 1)) for i in range(30000)
    )
    for codec in CODECS:
        assert bytes(decompress(codec, compress(codec, plain))) == plain


def test_gzip_is_one_rfc_1952_stream() -> None:
    assert gzip.decompress(compress(Compression.GZIP, b"records" * 9)) == b"records" * 9
    assert bytes(decompress(Compression.GZIP, gzip.compress(b"records", 9))) == b"records"


def test_snappy_is_xerial_framed_in_blocks_of_32_kib() -> None:
    framed = bytes(compress(Compression.SNAPPY, b"x" * 70_000))
    assert framed.startswith(XERIAL_HEADER)
    sizes, position = [], len(XERIAL_HEADER)
    while position < len(framed):
        (size,) = struct.unpack_from(">i", framed, position)
        block = framed[position + 4 : position + 4 + size]
        sizes.append(len(bytes(cramjam.snappy.decompress_raw(block))))
        position += 4 + size
    assert sizes == [32768, 32768, 70_000 - 65536]


def test_a_raw_snappy_block_is_accepted() -> None:
    raw = bytes(cramjam.snappy.compress_raw(b"records" * 50))
    assert bytes(decompress(Compression.SNAPPY, raw)) == b"records" * 50


def test_lz4_blocks_are_independent_and_the_frame_is_read_by_others() -> None:
    plain = b"0123456789" * 20_000
    frame = bytes(compress(Compression.LZ4, plain))
    assert frame.startswith(LZ4_FRAME_HEADER)
    assert frame[4] & 0x20, "the block-independence bit"
    assert frame.endswith(bytes(4))
    assert bytes(cramjam.lz4.decompress(frame)) == plain


def test_lz4_frames_with_checksums_and_linked_blocks_are_read() -> None:
    plain = b"0123456789" * 20_000
    assert bytes(decompress(Compression.LZ4, bytes(cramjam.lz4.compress(plain)))) == plain


def test_zstd_frames_without_a_content_size_are_read() -> None:
    compressor = cramjam.zstd.Compressor()
    compressor.compress(b"records" * 5000)
    assert bytes(decompress(Compression.ZSTD, bytes(compressor.finish()))) == b"records" * 5000


@pytest.mark.parametrize("codec", CODECS)
def test_a_bomb_stops_at_the_limit(codec: Compression) -> None:
    bomb = bytes(compress(codec, bytes(3_000_000)))
    with pytest.raises(CorruptBatchError, match="more than 1000000 bytes"):
        decompress(codec, bomb, bytes_max=1_000_000)
    assert len(decompress(codec, bomb, bytes_max=3_000_000)) == 3_000_000


def test_a_snappy_length_that_lies_is_not_allocated() -> None:
    for raw in (b"\xff\xff\xff\x3f\x00", b"\xff\xff\xff\xff\x0f\x00"):
        with pytest.raises(CorruptBatchError):
            decompress(Compression.SNAPPY, raw)


@pytest.mark.parametrize("codec", CODECS)
def test_truncated_data_is_an_error(codec: Compression) -> None:
    whole = bytes(compress(codec, b"some records" * 40))
    for size in range(len(whole)):
        try:
            found = bytes(decompress(codec, whole[:size]))
        except CorruptBatchError:
            continue
        assert found != b"some records" * 40


def test_unknown_codecs_are_errors() -> None:
    with pytest.raises(CorruptBatchError, match="codec 6"):
        decompress(6, b"x")
    with pytest.raises(ValueError, match="codec 6"):
        compress(6, b"x")
    with pytest.raises(ValueError, match="known are none, gzip, snappy, lz4, zstd"):
        compression_of("brotli")
    assert compression_of("zstd") is Compression.ZSTD


@pytest.mark.parametrize(
    ("codec", "low", "high"),
    [(Compression.GZIP, 1, 9), (Compression.LZ4, 9, 17), (Compression.ZSTD, -5, 19)],
)
def test_levels_trade_time_for_size(codec: Compression, low: int, high: int) -> None:
    data = b"".join(b"%d is a number of %d\n" % (n * 7919 % 1009, n % 13) for n in range(3000))
    small, large = (len(compress(codec, data, level)) for level in (high, low))
    assert small < large
    for level in (low, high, None, 9):
        assert bytes(decompress(codec, compress(codec, memoryview(data), level))) == data
