# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The walk through a message's bytes before it is decoded, so that no length in it can lie.

kio reserves memory for an array as soon as it has read its length: four hostile bytes end the
process. So every length is checked against what is really there first. And kio refuses tagged
fields that it does not know, where KIP-482 says to skip them: the walk cuts them out. A `Shape`
is what the walk needs to know of an entity; `shapes` makes them from kio's classes. Compiled
where there is a C compiler; its types for mypy stand in `walk.pyi`.
"""

from __future__ import annotations

import cython

from streamkit.protocol.errors import MalformedMessage

# What a step is: so many bytes; an int16 length and its bytes; an int32 length and its bytes; a
# varint length + 1 and its bytes; an int32 count and its items; a varint count + 1 and its items;
# an entity, after an int8 marker where it is nullable; a section of tagged fields. A nullable
# entity in a tagged field has a varint in front instead, 0 for null, which kio does not read.
FIXED = 0
SHORT_TEXT = 1
LONG_BYTES = 2
COMPACT_BYTES = 3
ARRAY = 4
COMPACT_ARRAY = 5
ENTITY = 6
TAGS = 7

UNLIMITED = 2**62
"""More items than any message has."""

COMPILED = cython.compiled


@cython.final
@cython.cclass
class Step:
    """One field, or several of fixed size in a row."""

    op = cython.declare(cython.int, visibility="readonly")
    size = cython.declare(cython.longlong, visibility="readonly")
    nullable = cython.declare(cython.bint, visibility="readonly")
    name = cython.declare(object, visibility="readonly")
    shape = cython.declare(object, visibility="readonly")
    tags = cython.declare(object, visibility="readonly")

    def __init__(self, op, name, size=0, nullable=False, shape=None, tags=None):
        self.op = op
        self.name = name
        self.size = size
        self.nullable = nullable
        self.shape = shape
        self.tags = tags


@cython.final
@cython.cclass
class Shape:
    """The steps of one entity; `size` is its length in bytes where that is fixed, else -1."""

    steps = cython.declare(list, visibility="readonly")
    size = cython.declare(cython.longlong, visibility="readonly")

    def __init__(self, steps):
        self.steps = steps
        self.size = -1
        if not steps:
            self.size = 0
        elif len(steps) == 1 and steps[0].op == FIXED:
            self.size = steps[0].size


def walk(shape, buffer, position):
    """The position behind the entity. Raises MalformedMessage when the bytes do not hold it."""
    walker: Walker = Walker(buffer, position)
    walker.entity(shape)
    return walker.position


def checked(shape, buffer, position, items_max=UNLIMITED):
    """The buffer, without the unknown tagged fields of the entity at the position.

    Raises MalformedMessage when the bytes do not hold the entity, or its arrays hold more than
    `items_max` items together: an item of one byte becomes an object of a hundred.
    """
    walker: Walker = Walker(buffer, position)
    walker.items_left = items_max
    walker.entity(shape)
    if walker.edits is None:
        return buffer
    pieces = []
    start = 0
    for edit_start, edit_stop, replacement in sorted(walker.edits):
        pieces += (buffer[start:edit_start], replacement)
        start = edit_stop
    pieces.append(buffer[start:])
    return b"".join(pieces)


def encode_uvarint(value):
    """An unsigned varint's bytes."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


@cython.final
@cython.cclass
class Walker:
    """A position in a message's bytes."""

    data: cython.const[cython.uchar][:]
    position = cython.declare(cython.longlong, visibility="readonly")
    end = cython.declare(cython.longlong, visibility="readonly")
    items_left = cython.declare(cython.longlong, visibility="public")
    edits = cython.declare(object, visibility="readonly")

    def __init__(self, buffer, position):
        self.edits = None
        self.items_left = UNLIMITED
        self.data = buffer
        self.position = position
        self.end = len(buffer)

    @cython.ccall
    @cython.locals(shape=Shape, step=Step, op=cython.int)
    @cython.exceptval(-1)
    def entity(self, shape) -> cython.int:
        """Walk all fields of an entity."""
        for item in shape.steps:
            step = item
            op = step.op
            if op == FIXED:
                self.advance(step.size, step.name)
            elif op <= COMPACT_BYTES:
                self.advance(self.length(op, step), step.name)
            elif op <= COMPACT_ARRAY:
                self.array(op, step)
            elif op == TAGS:
                self.tagged(step)
            elif not step.nullable or self.marker(step.name):
                self.entity(step.shape)
        return 0

    @cython.cfunc
    @cython.locals(step=Step, shape=Shape, count=cython.longlong)
    @cython.exceptval(-1)
    def array(self, op: cython.int, step) -> cython.int:
        """Walk the items of an array."""
        count = self.length(op, step)
        if count == 0:
            return 0
        self.items_left -= count
        if self.items_left < 0:
            raise MalformedMessage(f"{step.name}: {count} items are too many for one message")
        shape = step.shape
        if shape.size >= 0:
            self.advance(count * shape.size, step.name)
            return 0
        if count > self.end - self.position:
            raise self.beyond(step.name)
        while count > 0:
            self.entity(shape)
            count -= 1
        return 0

    @cython.cfunc
    @cython.locals(step=Step, count=cython.longlong, _index=cython.longlong, start=cython.longlong)
    @cython.exceptval(-1)
    def tagged(self, step) -> cython.int:
        """Walk a section of tagged fields, and count anew when some are to be cut out."""
        start = self.position
        count = self.uvarint(step.name)
        behind = self.position
        cut = 0
        for _index in range(count):
            cut += self.tagged_field(step)
        if cut:
            self.edit(start, behind, encode_uvarint(count - cut))
        return 0

    @cython.cfunc
    @cython.locals(
        step=Step,
        first=Step,
        start=cython.longlong,
        sized=cython.longlong,
        begin=cython.longlong,
        stop=cython.longlong,
        marker=cython.longlong,
    )
    @cython.exceptval(-1)
    def tagged_field(self, step) -> cython.int:
        """Walk one tagged field; 1 when it is to be cut out: unknown, or a null entity."""
        start = self.position
        tag = self.uvarint(step.name)
        sized = self.position
        size = self.uvarint(step.name)
        begin = self.position
        stop = begin + size
        if stop > self.end:
            raise self.beyond(step.name)
        shape = step.tags.get(tag)
        if shape is None:
            self.position = stop
            self.edit(start, stop, b"")
            return 1
        before = 0 if self.edits is None else len(self.edits)
        first = shape.steps[0]
        if first.op == ENTITY and first.nullable:
            marker = self.uvarint(step.name)
            if marker == 0:
                self.position = stop
                self.edit(start, stop, b"")
                return 1
            if marker != 1:
                raise MalformedMessage(f"{first.name}: marker {marker} at byte {begin}")
            shape = first.shape
        self.entity(shape)
        if self.position != stop:
            raise MalformedMessage(f"{step.name}: tag {tag} is not {size} bytes long")
        if self.edits is not None and len(self.edits) > before:
            saved = sum([end - at - len(new) for at, end, new in self.edits[before:]])
            self.edit(sized, begin, encode_uvarint(size - saved))
        return 0

    @cython.cfunc
    def edit(self, start, stop, replacement):
        """Note that these bytes are to be replaced."""
        if self.edits is None:
            self.edits = []
        self.edits.append((start, stop, replacement))

    @cython.cfunc
    @cython.locals(step=Step, value=cython.longlong)
    @cython.exceptval(-1)
    def length(self, op: cython.int, step) -> cython.longlong:
        """The length of a text, byte string or array; 0 for a null that is allowed."""
        if op == SHORT_TEXT:
            value = self.signed(2, step.name)
        elif op in (LONG_BYTES, ARRAY):
            value = self.signed(4, step.name)
        else:
            value = self.uvarint(step.name) - 1
        if value >= 0:
            return value
        if value == -1 and step.nullable:
            return 0
        raise MalformedMessage(f"{step.name}: length {value} at byte {self.position}")

    @cython.cfunc
    @cython.exceptval(-1)
    def advance(self, size: cython.longlong, name) -> cython.int:
        """Go on by so many bytes."""
        if size > self.end - self.position:
            raise self.beyond(name)
        self.position += size
        return 0

    @cython.cfunc
    @cython.locals(value=cython.longlong)
    @cython.exceptval(-1)
    def marker(self, name) -> cython.int:
        """Whether a nullable entity follows (KIP-893); kio takes no other markers than these."""
        value = self.signed(1, name)
        if value not in (-1, 1):
            raise MalformedMessage(f"{name}: marker {value} at byte {self.position}")
        return value == 1

    @cython.cfunc
    @cython.locals(
        value=cython.longlong, start=cython.longlong, index=cython.int, half=cython.longlong
    )
    @cython.exceptval(-1, check=True)
    def signed(self, size: cython.int, name) -> cython.longlong:
        """A big-endian integer with a sign, of at most four bytes."""
        start = self.position
        self.advance(size, name)
        value = 0
        for index in range(size):
            value = value * 256 + self.data[start + index]
        half = cython.cast(cython.longlong, 1) << (size * 8 - 1)
        return value - 2 * half if value >= half else value

    @cython.cfunc
    @cython.locals(value=cython.longlong, byte=cython.longlong, shift=cython.int)
    @cython.exceptval(-1)
    def uvarint(self, name) -> cython.longlong:
        """An unsigned varint of at most 31 bits."""
        value = 0
        for shift in range(0, 35, 7):
            if self.position >= self.end:
                raise self.beyond(name)
            byte = self.data[self.position]
            self.position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value > 0x7FFFFFFF:
                    break
                return value
        raise MalformedMessage(f"{name}: varint beyond 31 bits at byte {self.position}")

    @cython.cfunc
    def beyond(self, name):
        """The error of a field that goes beyond the end."""
        return MalformedMessage(f"{name}: {self.end} bytes are too few, at byte {self.position}")
