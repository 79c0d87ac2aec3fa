# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: nonecheck=False, cdivision=True
"""Record batches, format version 2: checked and decoded (`batch` has the records), filled.

The hot loop of everything, so this module is compiled by Cython and also runs as plain Python with
the same results: C integers wrap at 64 bits, so the plain path masks. Its types for mypy stand in
`codec.pyi`.

Nothing that a peer sent is trusted: each length is checked against the bytes that are left before
anything is allocated for it, and whatever does not fit is a CorruptBatchError.
"""

from __future__ import annotations

import struct

import crc32c
import cython

from streamkit.common.direct import as_bytes
from streamkit.common.errors import CorruptBatchError
from streamkit.records.batch import DecodedBatch
from streamkit.records.compression import compress, decompress

if cython.compiled:
    from cython.cimports.cpython.bytearray import PyByteArray_AS_STRING
    from cython.cimports.libc.string import memcpy

COMPILED = cython.compiled
HEADER = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES = 61
LOG_OVERHEAD = 12
CRC_START = 21
CRC_FIELD = struct.Struct(">I")
CRC_POSITION = 17
RECORD_BYTES_MIN = 7
MAGIC = 2

COMPRESSION_MASK = 0x07
LOG_APPEND_TIME = 0x08
TRANSACTIONAL = 0x10
CONTROL = 0x20
DELETE_HORIZON = 0x40

INT64_MAX = 0x7FFFFFFFFFFFFFFF
INT32_MAX = 0x7FFFFFFF
RECORD_BYTES_MAX = INT32_MAX - 1024
BUILDER_BYTES_INITIAL = 1024
# The most that a record's own fields can take: attributes, two varints, two lengths, a count.
RECORD_OVERHEAD_MAX = 1 + 10 + 5 + 5 + 5 + 5 + 5


@cython.final
@cython.cclass
class BatchHeader:
    """The 61 bytes in front of a batch's records, and where in its buffer it begins."""

    position = cython.declare(cython.Py_ssize_t, visibility="readonly")
    base_offset = cython.declare(cython.longlong, visibility="readonly")
    length = cython.declare(cython.longlong, visibility="readonly")
    leader_epoch = cython.declare(cython.longlong, visibility="readonly")
    magic = cython.declare(cython.longlong, visibility="readonly")
    crc = cython.declare(cython.longlong, visibility="readonly")
    attributes = cython.declare(cython.longlong, visibility="readonly")
    last_offset_delta = cython.declare(cython.longlong, visibility="readonly")
    base_timestamp = cython.declare(cython.longlong, visibility="readonly")
    max_timestamp = cython.declare(cython.longlong, visibility="readonly")
    producer_id = cython.declare(cython.longlong, visibility="readonly")
    producer_epoch = cython.declare(cython.longlong, visibility="readonly")
    base_sequence = cython.declare(cython.longlong, visibility="readonly")
    count = cython.declare(cython.longlong, visibility="readonly")

    @property
    def size(self):
        return self.length + LOG_OVERHEAD

    @property
    def last_offset(self):
        return self.base_offset + self.last_offset_delta

    @property
    def compression(self):
        return self.attributes & COMPRESSION_MASK

    @property
    def is_log_append_time(self):
        return (self.attributes & LOG_APPEND_TIME) != 0

    @property
    def is_transactional(self):
        return (self.attributes & TRANSACTIONAL) != 0

    @property
    def is_control(self):
        return (self.attributes & CONTROL) != 0

    @property
    def last_sequence(self):
        """The last record's sequence; sequences go from 2147483647 on to 0."""
        if self.base_sequence < 0:
            return -1
        return (self.base_sequence + self.last_offset_delta) & INT32_MAX

    def __repr__(self):
        return (
            f"BatchHeader(position={self.position}, base_offset={self.base_offset}, "
            f"last_offset={self.last_offset}, size={self.size}, count={self.count}, "
            f"leader_epoch={self.leader_epoch}, attributes={self.attributes:#x}, "
            f"producer_id={self.producer_id}, producer_epoch={self.producer_epoch}, "
            f"base_sequence={self.base_sequence})"
        )


def read_header(buffer, position: cython.Py_ssize_t = 0):
    """The header at `position`, which needs its 61 bytes only. Raises CorruptBatchError."""
    header: BatchHeader = BatchHeader()
    if position < 0 or len(buffer) - position < HEADER_BYTES:
        raise CorruptBatchError(f"no whole batch header at {position} of {len(buffer)} bytes")
    header.position = position
    (
        header.base_offset,
        header.length,
        header.leader_epoch,
        header.magic,
        header.crc,
        header.attributes,
        header.last_offset_delta,
        header.base_timestamp,
        header.max_timestamp,
        header.producer_id,
        header.producer_epoch,
        header.base_sequence,
        header.count,
    ) = HEADER.unpack_from(buffer, position)
    if header.magic != MAGIC:
        raise CorruptBatchError(f"batch at {position} has magic {header.magic}, not {MAGIC}")
    if header.length < HEADER_BYTES - LOG_OVERHEAD:
        raise CorruptBatchError(f"batch at {position} has length {header.length}")
    if header.count < 0 or header.last_offset_delta < 0 or header.base_offset < 0:
        raise CorruptBatchError(
            f"batch at {position} has {header.count} records, base offset "
            f"{header.base_offset} and last offset delta {header.last_offset_delta}"
        )
    if header.base_offset > INT64_MAX - header.last_offset_delta:
        raise CorruptBatchError(f"batch at {position} has offsets beyond 64 bits")
    return header


def scan(buffer, position: cython.Py_ssize_t = 0):
    """The headers of all whole batches; an incomplete one at the end is left out."""
    headers: list = []
    size: cython.Py_ssize_t = len(buffer)
    header: BatchHeader
    while size - position >= HEADER_BYTES:
        header = read_header(buffer, position)
        if header.length + LOG_OVERHEAD > size - position:
            break
        headers.append(header)
        position += cython.cast(cython.Py_ssize_t, header.length + LOG_OVERHEAD)
    return headers


def verify_crc(buffer, header: BatchHeader):
    """Raises CorruptBatchError when the batch is not all there or its checksum differs."""
    view = _whole(buffer, header)
    crc = crc32c.crc32c(view[CRC_START:])
    if crc != header.crc:
        raise CorruptBatchError(
            f"batch at offset {header.base_offset} has crc {crc:#010x}, "
            f"its header says {header.crc:#010x}"
        )


def _whole(buffer, header: BatchHeader):
    end = header.position + header.length + LOG_OVERHEAD
    if end > len(buffer):
        raise CorruptBatchError(
            f"batch at offset {header.base_offset} ends at {end}, there are {len(buffer)} bytes"
        )
    return memoryview(buffer)[header.position : end]


@cython.final
@cython.cclass
class _Reader:
    """A position in bytes; a read that does not fit sets `is_bad` and gives 0."""

    data = cython.declare(cython.p_uchar)
    position = cython.declare(cython.Py_ssize_t)
    end = cython.declare(cython.Py_ssize_t)
    is_bad = cython.declare(cython.bint)
    owner = cython.declare(object)

    def __init__(self, buffer):
        view = cython.declare(cython.const[cython.uchar][::1], buffer)
        self.owner = buffer
        self.position = 0
        self.end = len(buffer)
        self.is_bad = False
        if cython.compiled:
            self.data = cython.cast(cython.p_uchar, cython.address(view[0]))
        else:
            self.data = bytes(view)

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def varint(self) -> cython.longlong:
        """A zig-zag varint of up to 64 bits."""
        if self.position < self.end:
            byte: cython.ulonglong = self.data[self.position]
            if byte < 0x80:
                self.position += 1
                return cython.cast(cython.longlong, byte >> 1) ^ -cython.cast(
                    cython.longlong, byte & 1
                )
        return self.long_varint()

    @cython.cfunc
    @cython.exceptval(check=False)
    def long_varint(self) -> cython.longlong:
        value: cython.ulonglong = 0
        shift: cython.int = 0
        byte: cython.ulonglong
        while self.position < self.end and shift < 70:
            byte = self.data[self.position]
            self.position += 1
            value |= (byte & 0x7F) << shift if shift < 63 else (byte & 1) << 63
            if byte < 0x80:
                return cython.cast(cython.longlong, value >> 1) ^ -cython.cast(
                    cython.longlong, value & 1
                )
            shift += 7
        self.is_bad = True
        return 0

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def skip_piece(self) -> cython.Py_ssize_t:
        """Go past a length and that many bytes; the length, -1 for null."""
        size: cython.longlong = self.varint()
        if size < -1 or size > self.end - self.position:
            self.is_bad = True
            return -1
        if size > 0:
            self.position += cython.cast(cython.Py_ssize_t, size)
        return cython.cast(cython.Py_ssize_t, size)

    @cython.cfunc
    @cython.inline
    def nullable(self):
        """A length and that many bytes; None for length -1."""
        size: cython.longlong = self.varint()
        start: cython.Py_ssize_t = self.position
        if size < 0:
            if size != -1:
                self.is_bad = True
            return None
        if size > self.end - start:
            self.is_bad = True
            return None
        self.position = start + cython.cast(cython.Py_ssize_t, size)
        return (
            cython.cast(cython.p_char, self.data)[start : self.position]
            if (cython.compiled)
            else self.data[start : self.position]
        )

    @cython.cfunc
    def record_headers(self, count: cython.longlong):
        # A header takes two bytes at least, so no count can ask for more than is there.
        if count == 0:
            return ()
        if count < 0 or count > (self.end - self.position) // 2:
            self.is_bad = True
            return ()
        found: list = []
        while count > 0 and not self.is_bad:
            name = self.nullable()
            if name is None:
                self.is_bad = True
                break
            found.append((name.decode("utf-8", "replace"), self.nullable()))
            count -= 1
        return tuple(found)


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _add64(left: cython.longlong, right: cython.longlong) -> cython.longlong:
    """The sum, wrapped to a signed 64-bit integer as Java's long does."""
    if cython.compiled:
        return cython.cast(
            cython.longlong,
            cython.cast(cython.ulonglong, left) + cython.cast(cython.ulonglong, right),
        )
    return ((left + right + 0x8000000000000000) & 0xFFFFFFFFFFFFFFFF) - 0x8000000000000000


def decode(buffer, header: BatchHeader, *, check_crc=True):
    """All records of the batch, control records too. Raises CorruptBatchError.

    The batch keeps `buffer` when it is of bytes, and a copy of its own part of any other.
    """
    if check_crc:
        verify_crc(buffer, header)
    records = _plain_records(buffer, header)
    if type(buffer) is not bytes:
        records = bytes(records)  # the batch keeps them, and their owner may use its own again
    return _decode_records(_Reader(records), header)


def _plain_records(buffer, header: BatchHeader):
    """The bytes of the records, decompressed, when the header's count can be true."""
    records = _whole(buffer, header)[HEADER_BYTES:]
    codec = header.attributes & COMPRESSION_MASK
    if codec:
        records = decompress(codec, records)
    if len(records) > INT32_MAX:
        raise CorruptBatchError(
            f"batch at offset {header.base_offset} has {len(records)} bytes of records, more than "
            f"{INT32_MAX}"
        )
    if header.count > len(records) // RECORD_BYTES_MIN:
        raise CorruptBatchError(
            f"batch at offset {header.base_offset} claims {header.count} records "
            f"in {len(records)} bytes"
        )
    return records


def check_records(buffer, header: BatchHeader):
    """Go through the records without making objects of them, as a broker does before it appends.

    Returns the lowest and the highest timestamp and the index of the first record without a key
    (-1: all have one). Raises CorruptBatchError for a malformed record, and when the offset
    deltas are not 0, 1, 2, ...
    """
    return _check_records(_Reader(_plain_records(buffer, header)), header)


@cython.cfunc
def _check_records(reader: _Reader, header: BatchHeader):
    batch_end: cython.Py_ssize_t = reader.end
    index: cython.longlong = 0
    length: cython.longlong
    timestamp: cython.longlong
    headers_left: cython.longlong
    lowest: cython.longlong = INT64_MAX
    highest: cython.longlong = -1
    null_key: cython.longlong = -1
    while index < header.count:
        length = reader.varint()
        if reader.is_bad or length < 0 or length > batch_end - reader.position:
            raise _malformed(header)
        reader.end = reader.position + cython.cast(cython.Py_ssize_t, length)
        reader.position += 1
        timestamp = _add64(header.base_timestamp, reader.varint())
        lowest = min(lowest, timestamp)
        highest = max(highest, timestamp)
        if reader.varint() != index:
            raise _malformed(header)
        if reader.skip_piece() < 0 and null_key < 0:
            null_key = index
        reader.skip_piece()
        headers_left = reader.varint()
        if headers_left < 0:
            raise _malformed(header)
        while headers_left > 0 and not reader.is_bad:
            if reader.skip_piece() < 0:
                reader.is_bad = True
            reader.skip_piece()
            headers_left -= 1
        if reader.is_bad or reader.position != reader.end:
            raise _malformed(header)
        reader.end = batch_end
        index += 1
    if reader.position != batch_end:
        raise _malformed(header)
    return lowest, highest, null_key


@cython.cfunc
def _decode_records(reader: _Reader, header: BatchHeader):
    batch: DecodedBatch = DecodedBatch(header, reader.owner, header.count)
    offsets: list | None = None
    headers: list | None = None
    index: cython.Py_ssize_t = 0
    first = header.base_offset  # no C integer: the end of a range may be beyond 64 bits
    base_offset: cython.longlong = header.base_offset
    base_timestamp: cython.longlong = header.base_timestamp
    is_append_time: cython.bint = (header.attributes & LOG_APPEND_TIME) != 0
    batch_end: cython.Py_ssize_t = reader.end
    length: cython.longlong
    delta: cython.longlong
    count: cython.longlong
    timestamp: cython.longlong
    key_size: cython.Py_ssize_t
    value_size: cython.Py_ssize_t
    key_end: cython.Py_ssize_t
    while index < header.count:
        length = reader.varint()
        if reader.is_bad or length < 0 or length > batch_end - reader.position:
            raise _malformed(header)
        reader.end = reader.position + cython.cast(cython.Py_ssize_t, length)
        reader.position += 1
        timestamp = _add64(base_timestamp, reader.varint())
        if is_append_time:
            timestamp = header.max_timestamp
        delta = reader.varint()
        if delta < 0 or delta > header.last_offset_delta:
            raise _malformed(header)
        if offsets is None and delta != index:
            offsets = list(range(first, first + index))
        if offsets is not None:
            offsets.append(base_offset + delta)
        key_size = reader.skip_piece()
        key_end = reader.position
        value_size = reader.skip_piece()
        batch.add(timestamp, key_end, key_size, reader.position, value_size)
        count = reader.varint()
        if count != 0 and headers is None:
            headers = [()] * index
        if headers is not None:
            headers.append(reader.record_headers(count))
        if reader.is_bad or reader.position != reader.end:
            raise _malformed(header)
        reader.end = batch_end
        index += 1
    if reader.position != batch_end:
        raise _malformed(header)
    batch.finish(range(first, first + index) if offsets is None else offsets, headers)
    return batch


@cython.cfunc
def _malformed(header: BatchHeader):
    return CorruptBatchError(f"a record of the batch at offset {header.base_offset} is malformed")


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _zigzag(value: cython.longlong) -> cython.ulonglong:
    if cython.compiled:
        return (cython.cast(cython.ulonglong, value) << 1) ^ cython.cast(
            cython.ulonglong, value >> 63
        )
    return ((value << 1) ^ (value >> 63)) & 0xFFFFFFFFFFFFFFFF


@cython.cfunc
@cython.inline
@cython.exceptval(-2, check=True)
def _size(field: object) -> cython.Py_ssize_t:
    """How long a key or a value is, -1 for null."""
    if cython.compiled:
        return plain_size(field)  # noqa: F821 - from the pxd
    plain = as_bytes(field)
    return -1 if plain is None else len(plain)


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _varint_bytes(value: cython.ulonglong) -> cython.int:
    """How many bytes a zig-zagged value takes."""
    size: cython.int = 1
    while value >= 0x80:
        value >>= 7
        size += 1
    return size


@cython.final
@cython.cclass
class BatchBuilder:
    """One batch being filled, up to `size_max` bytes before compression.

    A record that does not fit is refused by `append`; the first always fits.
    """

    def __init__(self, size_max, compression=0):
        self.size_max = size_max
        self.compression = compression
        self.count = 0
        self.max_timestamp = -1
        self.base_timestamp = -1
        self.position = HEADER_BYTES
        self.room = BUILDER_BYTES_INITIAL
        self.data = bytearray(self.room)
        self.point()

    @cython.cfunc
    def point(self):
        if cython.compiled:
            self.out = cython.cast(cython.p_uchar, PyByteArray_AS_STRING(self.data))
        else:
            self.out = self.data

    @property
    def size(self):
        """The batch's bytes before compression, its header included."""
        return self.position

    @cython.ccall
    def append(
        self,
        key: object,
        value: object,
        timestamp: cython.longlong,
        headers: tuple = (),
    ) -> cython.bint:
        """Add a record of bytes, or of texts that are ASCII; False when the batch is full.

        `timestamp` in milliseconds.
        """
        if self.count == 0:
            self.base_timestamp = timestamp
            self.max_timestamp = timestamp
        delta: cython.ulonglong = _zigzag(_add64(timestamp, _negate(self.base_timestamp)))
        offset: cython.ulonglong = _zigzag(self.count)
        key_size: cython.Py_ssize_t = _size(key)
        value_size: cython.Py_ssize_t = _size(value)
        encoded: bytes | None = _encode_headers(headers) if headers else None
        body: cython.Py_ssize_t = 1 + _varint_bytes(delta) + _varint_bytes(offset)
        body += _varint_bytes(_zigzag(key_size)) + (key_size if key_size > 0 else 0)
        body += _varint_bytes(_zigzag(value_size)) + (value_size if value_size > 0 else 0)
        body += 1 if encoded is None else len(encoded)
        if body > RECORD_BYTES_MAX:
            raise ValueError(f"a record of {body} bytes is larger than {RECORD_BYTES_MAX}")
        total: cython.Py_ssize_t = body + _varint_bytes(_zigzag(body))
        if self.count > 0 and (self.position + total > self.size_max or self.count == INT32_MAX):
            return False
        if self.position + total > self.room:
            self.grow(self.position + total)
        self.put_varint(_zigzag(body))
        self.out[self.position] = 0
        self.position += 1
        self.put_varint(delta)
        self.put_varint(offset)
        self.put_nullable(key, key_size)
        self.put_nullable(value, value_size)
        if encoded is None:
            self.out[self.position] = 0
            self.position += 1
        else:
            self.put_raw(encoded, len(encoded))
        self.count += 1
        self.max_timestamp = max(self.max_timestamp, timestamp)
        return True

    @cython.cfunc
    def grow(self, needed: cython.Py_ssize_t):
        self.room = max(needed, 2 * self.room)
        self.data.extend(bytes(self.room - len(self.data)))
        self.point()

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def put_varint(self, value: cython.ulonglong) -> cython.void:
        while value >= 0x80:
            self.out[self.position] = (value & 0x7F) | 0x80
            self.position += 1
            value >>= 7
        self.out[self.position] = value
        self.position += 1

    @cython.cfunc
    @cython.inline
    def put_nullable(self, data: object, size: cython.Py_ssize_t):
        self.put_varint(_zigzag(size))
        if size > 0:
            self.put_raw(data, size)

    @cython.cfunc
    @cython.inline
    def put_raw(self, data: object, size: cython.Py_ssize_t):
        if cython.compiled:
            memcpy(self.out + self.position, plain_bytes(data), size)  # noqa: F821 - from the pxd
        else:
            self.data[self.position : self.position + size] = as_bytes(data)
        self.position += size

    def build(
        self,
        *,
        base_offset=0,
        leader_epoch=-1,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        transactional=False,
        control=False,
    ):
        """The batch as bytes; the builder stays as it is."""
        if self.count == 0:
            raise ValueError("a batch needs a record")
        records = memoryview(self.data)[HEADER_BYTES : self.position]
        if self.compression:
            records = compress(self.compression, records)
        attributes = self.compression
        attributes |= TRANSACTIONAL if transactional else 0
        attributes |= CONTROL if control else 0
        header = HEADER.pack(
            base_offset,
            HEADER_BYTES - LOG_OVERHEAD + len(records),
            leader_epoch,
            MAGIC,
            0,
            attributes,
            self.count - 1,
            self.base_timestamp,
            self.max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            self.count,
        )
        crc = crc32c.crc32c(records, crc32c.crc32c(header[CRC_START:]))
        return b"".join((header[:CRC_POSITION], CRC_FIELD.pack(crc), header[CRC_START:], records))


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _negate(value: cython.longlong) -> cython.longlong:
    if cython.compiled:
        return cython.cast(cython.longlong, 0 - cython.cast(cython.ulonglong, value))
    return -value


def _encode_headers(headers):
    out = bytearray()
    _extend_varint(out, len(headers))
    for name, value in headers:
        encoded = name.encode()
        _extend_varint(out, len(encoded))
        out += encoded
        _extend_varint(out, -1 if value is None else len(value))
        if value is not None:
            out += value
    return bytes(out)


def _extend_varint(out: bytearray, number: cython.longlong):
    value: cython.ulonglong = _zigzag(number)
    while value >= 0x80:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)


def encode(records, *, compression=0, **build_args):
    """One batch of (key, value, timestamp, headers) records; arguments as `BatchBuilder.build`."""
    builder = BatchBuilder(INT32_MAX, compression)
    for key, value, timestamp, headers in records:
        builder.append(key, value, timestamp, headers)
    return builder.build(**build_args)
