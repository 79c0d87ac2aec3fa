"""Requests gone wrong: a seeded stream of frames, mutated from captured and generated ones."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import crc32c

from streamkit.broker.handlers import SERVED
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.messages import encode_request, request_type
from tests.broker.fuzzing.captured import captured
from tests.protocol.conftest import make_message

HEADER = struct.Struct(">hhi")
SIZE = struct.Struct(">i")
GENERATED_OF_EACH = 4
KEPT_SHARE = 5
"""Sound frames are so many times as frequent as any mutation."""

MAGIC_AT, MAGIC, CRC_AT = 16, 2, 17
"""Of a record batch."""

PLACE_MAX = 4
"""At most so many places of a frame are changed at once."""

TOPICS = ("in", "__consumer_offsets", "__transaction_state")
PLAUSIBLE: dict[str, tuple[Any, ...]] = {
    "topic": TOPICS,
    "name": (*TOPICS, "group.version", "retention.ms", "max.connections"),
    "topic_name": TOPICS,
    "group_id": ("captured-classic", "captured-consumer", "g"),
    "key": ("captured-classic", "captured"),
    "key_type": (0, 1, 2),
    "transactional_id": ("captured", "t"),
    "protocol_type": ("consumer", "connect"),
    "partition": (0, 1, -1),
    "partition_index": (0, 1, -1),
    "index": (0, 1),
    "current_leader_epoch": (-1, 0),
    "leader_epoch": (-1, 0),
    "replica_id": (-1,),
    "session_id": (0,),
    "session_epoch": (-1, 0),
    "fetch_offset": (0, 1),
    "acks": (-1, 1),
    "member_epoch": (0, -1, -2, 1),
    "generation_id": (-1, 0, 1),
    "generation_id_or_member_epoch": (-1, 0, 1),
    "producer_id": (-1, 0, 1),
    "producer_epoch": (-1, 0),
    "num_partitions": (-1, 1, 2),
    "replication_factor": (-1, 1),
    "resource_type": (2, 4, 32),
    "resource_name": ("in", "", "1", "g"),
    "configs": (None,),
}
"""Values by field: topics, groups and numbers that a broker under attack knows or may take."""

ABSURD_INTS = (
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\x00\xff\xff\xff",
    b"\xff\xff\xff\xff\x07",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x7f\xff",
    b"\xff\xff",
    b"\x80\x00",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x80\x00\x00\x00\x00\x00\x00\x00",
)
"""Lengths, counts and numbers at the ends of their ranges."""


@dataclass(frozen=True, slots=True)
class Case:
    """One request on the wire: its frame, with the size that is told in front."""

    kind: str
    frame: bytes
    size_told: int

    @property
    def wire(self) -> bytes:
        return SIZE.pack(self.size_told) + self.frame

    @property
    def is_whole(self) -> bool:
        """Whether the server can tell where the frame ends."""
        return self.size_told == len(self.frame)

    @property
    def api_key(self) -> int:
        return int(HEADER.unpack_from(self.frame)[0]) if len(self.frame) >= HEADER.size else -1


def corpus(rng: random.Random) -> list[bytes]:
    """Frames that are sound: what clients said, and random messages of everything served."""
    frames = [frame for _, _, _, frame in captured()]
    for api, served in sorted(SERVED.items()):
        low, high = served.versions
        for version in range(low, high + 1):
            for _ in range(GENERATED_OF_EACH):
                message = plausible(make_message(request_type(api, version), rng), rng)
                frames.append(encode_request(rng.randrange(1 << 31), "generated", message))
    return frames


def plausible(message: Any, rng: random.Random) -> Any:
    """The message, with names and numbers in it that lead further than random ones."""
    changes: dict[str, Any] = {}
    for each in fields(message):
        value = getattr(message, each.name)
        if is_dataclass(value):
            changes[each.name] = plausible(value, rng)
        elif isinstance(value, tuple) and value and is_dataclass(value[0]):
            changes[each.name] = tuple(plausible(item, rng) for item in value)
        elif each.name in PLAUSIBLE and rng.random() < 0.8:
            choice = rng.choice(PLAUSIBLE[each.name])
            if type(choice) is type(value):
                changes[each.name] = choice
    return replace(message, **changes) if changes else message


def cases(seed: int, count: int) -> Iterator[Case]:
    """So many requests gone wrong."""
    rng = random.Random(seed)
    frames = corpus(rng)
    kinds = [*sorted(MUTATIONS), *["keep"] * KEPT_SHARE]
    for _ in range(count):
        kind = rng.choice(kinds)
        frame = MUTATIONS[kind](rng, bytearray(rng.choice(frames)), frames)
        size = _lie(rng, len(frame)) if rng.random() < 0.05 else len(frame)
        yield Case(kind, bytes(frame), size)


def _lie(rng: random.Random, size: int) -> int:
    return rng.choice((-1, -(1 << 31), (1 << 31) - 1, 104_857_601, 104_857_600, size + 5, 0))


Mutation = Callable[[random.Random, bytearray, list[bytes]], bytearray]


def keep(_rng: random.Random, frame: bytearray, _frames: list[bytes]) -> bytearray:
    return frame


def flip_bits(rng: random.Random, frame: bytearray, _frames: list[bytes]) -> bytearray:
    for _ in range(1 + rng.randrange(PLACE_MAX)):
        frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
    return frame


def absurd_numbers(rng: random.Random, frame: bytearray, _frames: list[bytes]) -> bytearray:
    number = rng.choice(ABSURD_INTS)
    position = rng.randrange(HEADER.size, len(frame) + 1)
    frame[position : position + len(number)] = number
    return frame


def truncate(rng: random.Random, frame: bytearray, _frames: list[bytes]) -> bytearray:
    return frame[: rng.randrange(len(frame))]


def extend(rng: random.Random, frame: bytearray, _frames: list[bytes]) -> bytearray:
    return frame + rng.randbytes(rng.randrange(200))


def insert(rng: random.Random, frame: bytearray, _frames: list[bytes]) -> bytearray:
    position = rng.randrange(HEADER.size, len(frame) + 1)
    frame[position:position] = rng.randbytes(1 + rng.randrange(8))
    return frame


def cut(rng: random.Random, frame: bytearray, _frames: list[bytes]) -> bytearray:
    position = rng.randrange(HEADER.size, len(frame) + 1)
    del frame[position : position + 1 + rng.randrange(8)]
    return frame


def repeat(rng: random.Random, frame: bytearray, _frames: list[bytes]) -> bytearray:
    start = rng.randrange(HEADER.size, len(frame) + 1)
    piece = frame[start : start + 1 + rng.randrange(40)]
    frame[start:start] = piece * (1 + rng.randrange(50))
    return frame


def splice(rng: random.Random, frame: bytearray, frames: list[bytes]) -> bytearray:
    other = rng.choice(frames)
    return frame[: rng.randrange(HEADER.size, len(frame) + 1)] + other[rng.randrange(len(other)) :]


def another_header(rng: random.Random, frame: bytearray, _frames: list[bytes]) -> bytearray:
    api = rng.choice((rng.choice(list(ApiKey)), rng.randrange(-(1 << 15), 1 << 15)))
    version = rng.choice((rng.randrange(20), rng.randrange(-(1 << 15), 1 << 15)))
    HEADER.pack_into(frame, 0, api, version, rng.randrange(1 << 31))
    return frame


def damage_batch(rng: random.Random, frame: bytearray, frames: list[bytes]) -> bytearray:
    """A batch whose crc is right and whose records are not."""
    batches = [each for each in frames if _batch_at(each) >= 0]
    frame = bytearray(rng.choice(batches))
    start = _batch_at(frame)
    (length,) = SIZE.unpack_from(frame, start + 8)
    end = start + 12 + length
    for _ in range(1 + rng.randrange(PLACE_MAX)):
        frame[rng.randrange(start + CRC_AT + 4, end)] = rng.choice((0, 1, 2, 0x7F, 0x80, 0xFF))
    crc = crc32c.crc32c(bytes(frame[start + CRC_AT + 4 : end]))
    struct.pack_into(">I", frame, start + CRC_AT, crc)
    return frame


def _batch_at(frame: bytes | bytearray) -> int:
    """Where a Produce request's first batch begins; -1 in other frames."""
    if HEADER.unpack_from(frame)[0] != ApiKey.PRODUCE:
        return -1
    for start in range(HEADER.size, len(frame) - CRC_AT):
        (length,) = SIZE.unpack_from(frame, start + 8)
        is_batch = frame[start : start + 8] == bytes(8) and frame[start + MAGIC_AT] == MAGIC
        if is_batch and CRC_AT < length <= len(frame) - start - 12:
            return start
    return -1


def noise(rng: random.Random, _frame: bytearray, _frames: list[bytes]) -> bytearray:
    return bytearray(rng.randbytes(rng.randrange(300)))


MUTATIONS: dict[str, Mutation] = {
    each.__name__: each
    for each in (
        keep, flip_bits, absurd_numbers, truncate, extend, insert, cut, repeat, splice,
        another_header, damage_batch, noise,
    )
}  # fmt: skip
