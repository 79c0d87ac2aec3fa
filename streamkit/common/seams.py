"""The seams: everything that a program takes from outside, as protocols.

Shells get a `Seams` and use nothing else for time, chance, files, sockets, threads and
processes. `common/system.py` holds the adapters to the real machine; the simulation puts its
own in their place.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar
from uuid import UUID

T = TypeVar("T")
Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class FileSlice:
    """Bytes of a file that are in memory: a socket can be sent them without reading them."""

    file: File
    position: int
    size: int

    def __len__(self) -> int:
        return self.size

    def read(self) -> Bytes:
        """The bytes. Raises StorageError."""
        return self.file.read_at(self.position, self.size)


Piece = Bytes | FileSlice


class Clock(Protocol):
    """Wall time and elapsed time, in milliseconds."""

    def now_ms(self) -> int: ...

    def monotonic_ms(self) -> float: ...


class Random(Protocol):
    """Chance; seeded in the simulation."""

    def random(self) -> float: ...

    def randrange(self, stop: int) -> int: ...

    def uuid4(self) -> UUID: ...


class File(Protocol):
    """An open file. Writes land in the operating system's cache until `sync` returns."""

    def append(self, chunks: Sequence[Bytes]) -> int:
        """Write all chunks at the end; returns the bytes written. Raises StorageError."""

    def read_at(self, position: int, size: int) -> bytes:
        """Up to `size` bytes from `position`; fewer only at the end of the file."""

    def read_cached(self, position: int, size: int) -> Bytes | None:
        """As `read_at`, but None when the disk would have to be waited for."""

    def slice_cached(self, position: int, size: int) -> Piece | None:
        """As `read_cached`, to be sent; a slice where that is cheaper, which is not closed."""

    def write_at(self, position: int, data: Bytes) -> None: ...

    def truncate(self, size: int) -> None: ...

    def size(self) -> int: ...

    def sync(self) -> None: ...

    def close(self) -> None: ...


class Disk(Protocol):
    """A file system. Paths are texts; a missing file raises FileNotFoundError."""

    def open(self, path: str, *, create: bool = False) -> File: ...

    def exists(self, path: str) -> bool: ...

    def list(self, path: str) -> list[str]:
        """The names in a directory, sorted."""

    def make_dirs(self, path: str) -> None: ...

    def rename(self, source: str, target: str) -> None:
        """Rename a file or directory, replacing a file that is there."""

    def remove(self, path: str) -> None: ...

    def remove_tree(self, path: str) -> None: ...

    def sync_dir(self, path: str) -> None: ...

    def read(self, path: str) -> bytes: ...

    def write_atomic(self, path: str, data: bytes) -> None:
        """Write to a temporary name, sync, rename, sync the directory."""

    def usage(self, path: str) -> tuple[int, int]:
        """The bytes of the file system that holds a path: all of them, and those still usable."""

    def modified_ms(self, path: str) -> int:
        """When a file in a folder was last written, in ms since 1970; 0 when that is not known."""

    def lock(self, path: str) -> Callable[[], None]:
        """Take an exclusive lock on a file, give back its release. Raises BlockingIOError."""


class Listener(Protocol):
    """A listening socket."""

    @property
    def port(self) -> int: ...

    async def close(self) -> None: ...


class Sender(Protocol):
    """Writes to one transport."""

    def send(self, pieces: Sequence[Piece]) -> None:
        """Write the pieces, slices of files from where they are. Raises StorageError."""

    def close(self) -> None:
        """The connection is lost: let go of what belongs to its transport."""


class Network(Protocol):
    """Sockets in asyncio's protocol style: the callee's `asyncio.Protocol` gets the bytes."""

    async def listen(
        self,
        factory: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
    ) -> Listener: ...

    async def dial(
        self,
        factory: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> asyncio.Transport: ...

    def sender(self, transport: asyncio.Transport) -> Sender:
        """What writes pieces to this transport; closed when the connection is lost."""


class Thread(Protocol):
    """A started thread."""

    def join(self, timeout_s: float | None = None) -> None: ...

    def is_alive(self) -> bool: ...


class Child(Protocol):
    """A started child process; it is sent SIGTERM when its parent dies."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""

    def terminate(self) -> None: ...

    def kill(self) -> None: ...

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for its end; None when the time is up first."""


class Spawn(Protocol):
    """Threads and processes."""

    def thread(self, target: Callable[[], None], name: str) -> Thread: ...

    def in_thread(self, work: Callable[[], T]) -> Awaitable[T]:
        """Run blocking work off the event loop."""

    def process(self, argv: Sequence[str], *, new_session: bool = False) -> Child: ...


@dataclass(frozen=True, slots=True)
class Seams:
    """All seams together, as shells receive them."""

    clock: Clock
    random: Random
    disk: Disk
    network: Network
    spawn: Spawn
