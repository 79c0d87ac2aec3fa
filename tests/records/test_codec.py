"""Record batches: round trips, limits and damage, compiled and interpreted."""

from __future__ import annotations

import random
import struct
from types import ModuleType

import crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamkit.common.errors import CorruptBatchError
from streamkit.records import codec as installed
from streamkit.records.batch import DecodedBatch

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
COMPRESSIONS = range(5)

timestamps = st.integers(INT64_MIN, INT64_MAX) | st.sampled_from(
    [INT64_MIN, INT64_MIN + 1, -1, 0, 1, 2**31, 2**62, INT64_MAX - 1, INT64_MAX]
)
data = st.none() | st.binary(max_size=200)
header_names = st.text(st.characters(codec="utf-8"), max_size=8)
headers = st.lists(st.tuples(header_names, data), max_size=3).map(tuple)
records = st.lists(st.tuples(data, data, timestamps, headers), min_size=1, max_size=20)


def contents(batch: DecodedBatch) -> list[tuple[object, ...]]:
    return list(zip(batch.keys, batch.values, batch.timestamps, batch.headers, strict=True))


def refreshed(batch: bytes | bytearray) -> bytes:
    """The same bytes with a right crc, so that what lies behind it is reached."""
    out = bytearray(batch)
    out[17:21] = struct.pack(">I", crc32c.crc32c(bytes(out[21:])))
    return bytes(out)


def test_the_two_forms_are_what_they_say(compiled: ModuleType, interpreted: ModuleType) -> None:
    assert compiled.COMPILED, "the codec is not compiled: run make setup"
    assert not interpreted.COMPILED


@settings(deadline=None)
@given(records, st.sampled_from(COMPRESSIONS), st.integers(0, INT64_MAX - 100))
def test_round_trip(form: ModuleType, wanted, compression, base_offset) -> None:
    encoded = form.encode(wanted, compression=compression, base_offset=base_offset)
    header = form.read_header(encoded)
    batch = form.decode(encoded, header)
    assert contents(batch) == wanted
    assert batch.offsets == range(base_offset, base_offset + len(wanted))
    assert header.size == len(encoded)
    assert header.compression == compression
    assert header.base_timestamp == wanted[0][2]
    assert header.max_timestamp == max(record[2] for record in wanted)
    assert form.check_records(encoded, header)[2] == next(
        (index for index, record in enumerate(wanted) if record[0] is None), -1
    )


@settings(deadline=None)
@given(records, st.integers(0, 20))
def test_a_field_alone_is_what_the_columns_have(form: ModuleType, wanted, dropped) -> None:
    batch = form.decode(encoded := form.encode(wanted, base_offset=7), form.read_header(encoded))
    batch.drop_before(7 + dropped)
    assert len(batch) == len(batch.offsets) == max(len(wanted) - dropped, 0)
    for i in range(len(batch)):
        key, value, time, pairs = wanted[dropped + i]
        assert (batch.key_at(i), batch.value_at(i)) == (key, value)
        assert (batch.time_at(i), batch.headers_at(i)) == (time, pairs)
        assert (batch.value_mark_at(i) is None) == (value is None)
    assert contents(batch) == wanted[dropped:]
    for i in (-1, len(batch)):
        for field in (batch.key_text_at, batch.headers_at):
            with pytest.raises(IndexError, match="there is no record"):
                field(i)


def test_text_is_read_where_it_lies(form: ModuleType) -> None:
    wanted = [("Z\u00fcrich".encode(), b"", 5, ()), (None, None, 6, ()), (b"\xff", b"plain", 7, ())]
    batch = form.decode(encoded := form.encode(wanted), form.read_header(encoded))
    assert [batch.key_text_at(i) for i in range(2)] == ["Z\u00fcrich", None]
    assert [batch.value_text_at(i) for i in range(3)] == ["", None, "plain"]
    with pytest.raises(UnicodeDecodeError):
        batch.key_text_at(2)


def test_first_record_after_a_time(form: ModuleType) -> None:
    wanted = [(None, b"v", time, ()) for time in (5, 3, 9, 4)]
    batch = form.decode(encoded := form.encode(wanted), form.read_header(encoded))
    assert [batch.first_after(time, 0, 4) for time in (2, 5, 9)] == [0, 2, 4]
    assert batch.first_after(5, 3, 4) == 4


def test_what_the_buffer_holds_later_is_not_read(form: ModuleType) -> None:
    buffer = bytearray(form.encode([(b"key", b"value", 5, (("h", b"x"),))]))
    batch = form.decode(buffer, form.read_header(buffer))
    buffer[:] = bytes(len(buffer) + 9)
    assert contents(batch) == [(b"key", b"value", 5, (("h", b"x"),))]


def test_ascii_texts_are_written_as_their_bytes(form: ModuleType) -> None:
    text = form.encode([("key", "value" * 40, 5, ()), ("", None, 6, ())])
    assert text == form.encode([(b"key", b"value" * 40, 5, ()), (b"", None, 6, ())])


@pytest.mark.parametrize("bad", ["Zürich", bytearray(b"v"), 7])
def test_what_is_neither_bytes_nor_ascii_leaves_the_batch_as_it_was(form: ModuleType, bad) -> None:
    builder = form.BatchBuilder(1000)
    builder.append(b"key", b"value", 5)
    for key, value in ((bad, b"v"), (b"k", bad)):
        with pytest.raises(TypeError, match="a record has bytes"):
            builder.append(key, value, 6)
    builder.append("more", None, 7)
    built = builder.build()
    wanted = [(b"key", b"value", 5, ()), (b"more", None, 7, ())]
    assert contents(form.decode(built, form.read_header(built))) == wanted


@given(records)
def test_both_forms_write_the_same_bytes(compiled: ModuleType, interpreted, wanted) -> None:
    assert compiled.encode(wanted) == interpreted.encode(wanted)


def test_header_fields_come_back(form: ModuleType) -> None:
    encoded = form.encode(
        [(b"k", b"v", 1234, ())] * 3,
        base_offset=2**40,
        leader_epoch=77,
        producer_id=2**50,
        producer_epoch=32767,
        base_sequence=2**31 - 2,
        transactional=True,
        control=True,
    )
    header = form.read_header(b"front" + encoded, 5)
    assert (header.position, header.base_offset, header.leader_epoch) == (5, 2**40, 77)
    assert (header.producer_id, header.producer_epoch) == (2**50, 32767)
    assert (header.base_sequence, header.last_sequence) == (2**31 - 2, 0)
    assert (header.count, header.last_offset, header.magic) == (3, 2**40 + 2, 2)
    assert header.is_transactional
    assert header.is_control
    assert not header.is_log_append_time


def test_offsets_up_to_the_last_of_64_bits(form: ModuleType) -> None:
    encoded = form.encode([(None, b"v", 5, ())] * 2, base_offset=INT64_MAX - 1)
    header = form.read_header(encoded)
    assert header.last_offset == INT64_MAX
    assert list(form.decode(encoded, header).offsets) == [INT64_MAX - 1, INT64_MAX]
    beyond = struct.pack(">q", INT64_MAX) + encoded[8:]
    with pytest.raises(CorruptBatchError, match="64 bits"):
        form.read_header(beyond)


def test_timestamp_deltas_wrap_at_64_bits(form: ModuleType) -> None:
    wanted = [(None, None, INT64_MIN, ()), (None, None, INT64_MAX, ()), (None, None, 0, ())]
    encoded = form.encode(wanted)
    assert contents(form.decode(encoded, form.read_header(encoded))) == wanted
    rebased = bytearray(encoded)
    rebased[27:35] = struct.pack(">q", INT64_MAX)
    rebased = refreshed(rebased)
    decoded = form.decode(rebased, form.read_header(rebased)).timestamps
    assert decoded == [INT64_MAX, INT64_MAX - 1, -1]


def test_log_append_time_is_the_time_of_every_record(form: ModuleType) -> None:
    encoded = bytearray(form.encode([(b"k", b"v", at, ()) for at in (50, 60, 70)]))
    encoded[22] |= installed.LOG_APPEND_TIME
    encoded[35:43] = struct.pack(">q", 999)
    batch = form.decode(refreshed(encoded), form.read_header(refreshed(encoded)))
    assert batch.timestamps == [999, 999, 999]


def test_a_batch_may_be_empty_after_compaction(form: ModuleType) -> None:
    encoded = bytearray(form.encode([(b"k", b"v", 5, ())] * 4)[:61])
    encoded[8:12] = struct.pack(">i", 49)
    encoded[57:61] = struct.pack(">i", 0)
    empty = refreshed(encoded)
    batch = form.decode(empty, form.read_header(empty))
    assert len(batch) == 0
    assert batch.header.last_offset == 3


def test_offsets_have_gaps_after_compaction(form: ModuleType) -> None:
    body = b"".join(b"\x0c\x00\x00" + bytes([delta * 2]) + b"\x01\x01\x00" for delta in (2, 7))
    encoded = bytearray(form.encode([(None, None, 5, ())] * 9)[:61] + body)
    encoded[8:12] = struct.pack(">i", 49 + len(body))
    encoded[57:61] = struct.pack(">i", 2)
    gapped = refreshed(encoded)
    header = form.read_header(gapped)
    assert form.decode(gapped, header).offsets == [2, 7]
    with pytest.raises(CorruptBatchError):
        form.check_records(gapped, header)


def test_records_without_headers_share_one_empty_tuple(form: ModuleType) -> None:
    encoded = form.encode([(b"k", b"v", 5, ())] * 3)
    assert form.decode(encoded, form.read_header(encoded)).headers == [(), (), ()]


def test_header_names_that_are_not_utf8_are_read_as_java_does(form: ModuleType) -> None:
    encoded = form.encode([(None, None, 5, (("ab", b"x"),))]).replace(b"\x04ab", b"\x04\xff\xfe")
    encoded = refreshed(encoded)
    batch = form.decode(encoded, form.read_header(encoded))
    assert batch.headers == [(("��", b"x"),)]


def test_scan_stops_before_an_incomplete_batch(form: ModuleType) -> None:
    one = form.encode([(b"k", b"v", 5, ())] * 2, base_offset=70)
    two = form.encode([(b"k", b"v", 5, ())] * 3, base_offset=72)
    for cut in range(len(two)):
        found = form.scan(one + two[:cut])
        assert [header.base_offset for header in found] == [70]
    assert [header.last_offset for header in form.scan(one + two)] == [71, 74]
    assert form.scan(b"") == []
    assert [header.position for header in form.scan(memoryview(one + two), len(one))] == [len(one)]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_flipped_bit_is_found(form: ModuleType, compression: int) -> None:
    encoded = form.encode(
        [(b"key", b"value" * 3, 55, (("h", b"x"),))] * 3, compression=compression, base_offset=7
    )
    for position in range(12, len(encoded)):
        if position in range(12, 16):
            continue  # the leader epoch is not in the crc
        damaged = bytearray(encoded)
        damaged[position] ^= 1 << (position % 8)
        with pytest.raises(CorruptBatchError):
            form.decode(bytes(damaged), form.read_header(bytes(damaged)))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_truncation_is_found(form: ModuleType, compression: int) -> None:
    encoded = form.encode([(b"key", b"value", 55, ())] * 3, compression=compression)
    for size in range(len(encoded)):
        with pytest.raises(CorruptBatchError):
            form.decode(encoded[:size], form.read_header(encoded[:size]))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_damage_behind_a_right_crc_is_an_error_or_a_batch(
    form: ModuleType, compression: int
) -> None:
    encoded = form.encode([(b"key", b"value" * 3, 55, (("h", b"x"),))] * 3, compression=compression)
    chance = random.Random(7919)
    for position in range(21, len(encoded)):
        damaged = bytearray(encoded)
        damaged[position] = chance.randrange(256)
        damaged = bytearray(refreshed(damaged))
        for act in (form.decode, form.check_records):
            try:
                act(bytes(damaged), form.read_header(bytes(damaged)))
            except CorruptBatchError:
                continue


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_an_error_or_a_batch(form: ModuleType, junk: bytes) -> None:
    head = bytearray(form.encode([(None, b"v", 5, ())])[:61])
    head[8:12] = struct.pack(">i", 49 + len(junk))
    head[57:61] = struct.pack(">i", max(1, len(junk) // 9))
    batch = refreshed(bytes(head) + junk)
    try:
        decoded = form.decode(batch, form.read_header(batch))
    except CorruptBatchError:
        return
    assert len(decoded) == decoded.header.count


@pytest.mark.parametrize(
    "body",
    [
        b"\xff" * 30,
        b"\xfe\xff\xff\xff\x0f" + bytes(20),
        b"\x0c\x00\x00\x00\xfe\xff\xff\xff\x0f\x01\x00",
        b"\x0e\x00\x00\x00\x01\x01\xfe\xff\xff\xff\x0f",
        b"\x0c\x00\x00\x00\x03\x01\x00",
        b"\x0c\x00\x00\x02\x01\x01\x00",
        b"\x0e\x00\x00\x00\x01\x01\x00\x00",
        b"\x12\x00\x00\x00\x01\x01\x02\x01\x01\x00",
    ],
)
def test_lengths_that_lie_allocate_nothing(form: ModuleType, body: bytes) -> None:
    head = bytearray(form.encode([(None, b"v", 5, ())])[:61])
    head[8:12] = struct.pack(">i", 49 + len(body))
    batch = refreshed(bytes(head) + body)
    header = form.read_header(batch)
    for act in (form.decode, form.check_records):
        with pytest.raises(CorruptBatchError):
            act(batch, header)


def test_a_count_that_lies_is_refused_before_the_records_are_read(form: ModuleType) -> None:
    batch = bytearray(form.encode([(None, b"v", 5, ())]))
    batch[57:61] = struct.pack(">i", 2**31 - 1)
    batch[23:27] = struct.pack(">i", 2**31 - 1)
    with pytest.raises(CorruptBatchError, match="claims"):
        form.decode(refreshed(batch), form.read_header(refreshed(batch)))


@pytest.mark.parametrize(
    ("position", "field"),
    [(16, b"\x01"), (8, struct.pack(">i", 48)), (57, b"\xff" * 4), (23, b"\xff" * 4), (0, b"\xff")],
)
def test_impossible_headers_are_refused(form: ModuleType, position: int, field: bytes) -> None:
    batch = bytearray(form.encode([(None, b"v", 5, ())]))
    batch[position : position + len(field)] = field
    with pytest.raises(CorruptBatchError):
        form.read_header(bytes(batch))


def test_a_builder_refuses_what_does_not_fit_but_takes_a_large_first(form: ModuleType) -> None:
    builder = form.BatchBuilder(500)
    assert builder.append(b"k" * 900, b"v", 5)
    assert not builder.append(b"k", b"v", 6)
    builder = form.BatchBuilder(500)
    while builder.append(b"key", b"value", 7):
        assert builder.size <= 500
    batch = builder.build()
    assert len(batch) == builder.size
    assert form.read_header(batch).count == builder.count
    assert 500 - builder.size < 16


def test_a_refused_record_leaves_the_builder_as_it_was(form: ModuleType) -> None:
    builder = form.BatchBuilder(200)
    builder.append(b"k", b"v" * 50, 5)
    assert not builder.append(b"k", b"v" * 500, 99)
    assert (builder.count, builder.max_timestamp) == (1, 5)
    assert builder.append(b"k", b"v", 6)
    encoded = builder.build(base_offset=30)
    assert list(form.decode(encoded, form.read_header(encoded)).offsets) == [30, 31]


def test_an_empty_builder_cannot_be_built(form: ModuleType) -> None:
    with pytest.raises(ValueError, match="needs a record"):
        form.BatchBuilder(500).build()


def test_decoding_reads_any_buffer(form: ModuleType) -> None:
    encoded = form.encode([(b"k", b"v", 5, ())])
    for buffer in (
        encoded,
        bytearray(encoded),
        memoryview(encoded),
        memoryview(b"x" + encoded)[1:],
    ):
        assert form.decode(buffer, form.read_header(buffer)).keys == [b"k"]
