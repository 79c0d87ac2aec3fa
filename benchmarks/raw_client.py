"""A client that is never the bottleneck: requests encoded beforehand, answers looked at little.

Each connection is a thread of its own that keeps some requests in flight, as producers do; a fetch
waits for its answer, as consumers do. Both brokers get the same bytes.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID

from streamkit.protocol.apis import ApiKey
from streamkit.protocol.messages import Message, decode_response, encode_request, request_type
from streamkit.protocol.versions import fill
from streamkit.records import encode

PRODUCE_VERSION, FETCH_VERSION = 10, 16
IN_FLIGHT = 5
CONNECTIONS = 4
WAIT = timedelta(seconds=30)
SIZE = struct.Struct(">i")
RECEIVE_TIMEOUT = struct.pack("ll", 60, 0)


@dataclass(frozen=True)
class Load:
    """What is written to a topic, and read again."""

    bootstrap: str
    topic: str
    topic_id: UUID
    partitions: int
    batch: bytes
    records_per_batch: int
    batches_per_partition: int

    @property
    def batches(self) -> int:
        return self.partitions * self.batches_per_partition

    @property
    def megabytes(self) -> float:
        return self.batches * len(self.batch) / 1e6


def make_batch(record_bytes: int, batch_bytes: int) -> tuple[bytes, int]:
    """A batch of at most so many bytes with random values, and how many records are in it."""
    now_ms = int(time.time() * 1000)
    count = batch_bytes // (record_bytes + 12)
    while True:
        rows = [(None, os.urandom(record_bytes), now_ms, ()) for _ in range(count)]
        batch = bytes(encode(rows))
        if len(batch) <= batch_bytes:
            return batch, count
        count -= 1


def produce(load: Load) -> float:
    """Append all batches with acks=all; the seconds it took."""
    request = fill(
        request_type(ApiKey.PRODUCE, PRODUCE_VERSION),
        {
            "acks": -1,
            "timeout": WAIT,
            "topic_data": [
                {
                    "name": load.topic,
                    "partition_data": [
                        {"index": index, "records": load.batch} for index in range(load.partitions)
                    ],
                }
            ],
        },
    )
    frame = framed(request)
    shares = [
        len(range(each, load.batches_per_partition, CONNECTIONS)) for each in range(CONNECTIONS)
    ]
    return in_threads([partial(_pipeline, load, [frame] * share) for share in shares])


def fetch(load: Load, bytes_max: int) -> float:
    """Read everything, `bytes_max` of one partition at a time; the seconds it took."""
    batches = max(1, bytes_max // len(load.batch))
    frames = [
        framed(_fetch_request(load, partition, first * load.records_per_batch, bytes_max))
        for first in range(0, load.batches_per_partition, batches)
        for partition in range(load.partitions)
    ]
    shares = [frames[each::CONNECTIONS] for each in range(CONNECTIONS)]
    return in_threads([partial(_one_by_one, load, share) for share in shares])


def _fetch_request(load: Load, partition: int, offset: int, bytes_max: int) -> Message:
    return fill(
        request_type(ApiKey.FETCH, FETCH_VERSION),
        {
            "max_wait": WAIT,
            "min_bytes": 1,
            "max_bytes": 50_000_000,
            "session_epoch": -1,
            "topics": [
                {
                    "topic_id": load.topic_id,
                    "partitions": [
                        {
                            "partition": partition,
                            "fetch_offset": offset,
                            "partition_max_bytes": bytes_max,
                        }
                    ],
                }
            ],
        },
    )


def framed(request: Message) -> bytes:
    """A request with its size in front."""
    body = encode_request(1, "raw", request)
    return SIZE.pack(len(body)) + body


def in_threads(works: list[Callable[[], None]]) -> float:
    """Run all at once; the seconds until the last is done. Raises what the first of them raised."""
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return time.perf_counter() - started


def _pipeline(load: Load, frames: list[bytes]) -> None:
    with _Wire(load.bootstrap) as wire:
        for sent, frame in enumerate(frames):
            if sent >= IN_FLIGHT:
                _check_produced(wire.receive())
            wire.send(frame)
        for _ in range(min(IN_FLIGHT, len(frames))):
            _check_produced(wire.receive())


def _check_produced(answer: memoryview) -> None:
    _, message = decode_response(ApiKey.PRODUCE, PRODUCE_VERSION, answer)
    for topic in message.responses:
        for partition in topic.partition_responses:
            if partition.error_code:
                raise RuntimeError(f"produce: {partition.error_code}")


def _one_by_one(load: Load, frames: list[bytes]) -> None:
    with _Wire(load.bootstrap) as wire:
        for frame in frames:
            wire.send(frame)
            size = len(wire.receive())
            if size < len(load.batch):
                raise RuntimeError(f"a fetch of {load.topic} gave {size} bytes")


class _Wire:
    """A blocking connection."""

    def __init__(self, bootstrap: str) -> None:
        host, _, port = bootstrap.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel waits for all of an answer: this thread wakes up once.
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, RECEIVE_TIMEOUT)
        self._buffer = bytearray(1 << 21)

    def __enter__(self) -> _Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, frame: bytes) -> None:
        self._socket.sendall(frame)

    def receive(self) -> memoryview:
        """The next answer; it lies in a buffer that the next call uses again."""
        (size,) = SIZE.unpack(self._exactly(4))
        return self._exactly(size)

    def _exactly(self, size: int) -> memoryview:
        view = memoryview(self._buffer)[:size]
        done = 0
        while done < size:
            got = self._socket.recv_into(view[done:], size - done, socket.MSG_WAITALL)
            if not got:
                raise ConnectionError("the broker closed the connection")
            done += got
        return view.toreadonly()
