"""A disk in memory that loses what was not flushed.

It stands for a journaling file system: names (created, renamed, removed) become durable in the
order they were made, all of them with the next `sync` or `sync_dir`; data becomes durable with
its file's `sync`. `crash` keeps what is durable and tears the rest: a part of the later names, and
of each file's later bytes some, as written or as zeros.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence

from streamkit.common.errors import StorageError
from streamkit.common.seams import Bytes, Random

SECTOR_BYTES = 512
PAGE_BYTES = 4096
UNLIMITED_BYTES = 1 << 40
NAME_BYTES_MAX = 255
"""The longest name that file systems take."""


class _Content:
    """A file's bytes, and how to get back to what is durable."""

    __slots__ = ("cold", "data", "synced_size", "undo")

    def __init__(self) -> None:
        self.data = bytearray()
        self.cold: set[int] = set()
        self.synced_size = 0
        self.undo: list[tuple[int, bytes]] = []

    def save(self, position: int, size: int) -> None:
        """Remember durable bytes that are about to change."""
        end = min(position + size, self.synced_size, len(self.data))
        if position < end:
            self.undo.append((position, bytes(self.data[position:end])))

    def sync(self) -> None:
        self.synced_size = len(self.data)
        self.undo.clear()

    def crash(self, random: Random) -> None:
        if self.undo and random.random() < 0.5:
            for position, old in reversed(self.undo):
                if len(self.data) < position + len(old):
                    self.data.extend(bytes(position + len(old) - len(self.data)))
                self.data[position : position + len(old)] = old
        lost_from = min(self.synced_size, len(self.data))
        size = lost_from + random.randrange(len(self.data) - lost_from + 1)
        del self.data[size:]
        for start in range(lost_from, size, SECTOR_BYTES):
            end = min(start + SECTOR_BYTES, size)
            if random.random() < 0.2:
                self.data[start:end] = bytes(end - start)
        self.sync()


class MemoryFile:
    """An open file of a `MemoryDisk`; dead after a crash of its disk."""

    def __init__(self, disk: MemoryDisk, content: _Content) -> None:
        self._disk = disk
        self._content = content
        self._life = disk.life

    def append(self, chunks: Sequence[Bytes]) -> int:
        data = b"".join(chunks)
        self._check_room(len(data))
        self._content.data += data
        return len(data)

    def read_at(self, position: int, size: int) -> bytes:
        self._check_alive()
        self._content.cold.difference_update(self._pages(position, size))
        return bytes(self._content.data[position : position + size])

    def read_cached(self, position: int, size: int) -> bytes | None:
        """None for what was not read since `cool`."""
        self._check_alive()
        is_cold = not self._content.cold.isdisjoint(self._pages(position, size))
        return None if is_cold else self.read_at(position, size)

    def slice_cached(self, position: int, size: int) -> bytes | None:
        """The bytes: there is no socket to pass a slice to."""
        return self.read_cached(position, size)

    def _pages(self, position: int, size: int) -> range:
        end = min(position + size, len(self._content.data))
        return range(position // PAGE_BYTES, -(-end // PAGE_BYTES))

    def write_at(self, position: int, data: Bytes) -> None:
        content = self._content
        self._check_room(max(0, position + len(data) - len(content.data)))
        content.save(position, len(data))
        if position > len(content.data):
            content.data.extend(bytes(position - len(content.data)))
        content.data[position : position + len(data)] = data

    def truncate(self, size: int) -> None:
        self._check_alive()
        content = self._content
        content.save(size, len(content.data))
        if size > len(content.data):
            content.data.extend(bytes(size - len(content.data)))
        del content.data[size:]

    def size(self) -> int:
        return len(self._content.data)

    def sync(self) -> None:
        self._check_alive()
        self._disk.sync_names()
        self._content.sync()

    def close(self) -> None:
        """Nothing to give back."""

    def _check_alive(self) -> None:
        if self._life != self._disk.life:
            raise StorageError("the file was open when its disk crashed")

    def _check_room(self, size: int) -> None:
        self._check_alive()
        self._disk.check_room(size)


class MemoryDisk:
    """An in-memory `seams.Disk`. `bytes_max` makes it full."""

    def __init__(self, bytes_max: int | None = None) -> None:
        self.bytes_max = bytes_max
        self.life = 0
        self.syncs = 0
        self._files: dict[str, _Content] = {}
        self._dirs: set[str] = {"/", "."}
        self._durable: tuple[dict[str, _Content], set[str]] = ({}, {"/", "."})
        self._journal: list[Callable[[dict[str, _Content], set[str]], None]] = []
        self._locks: set[str] = set()

    def cool(self) -> None:
        """Let nothing be in memory any more: what is read next waits for the disk."""
        for content in self._files.values():
            content.cold = set(range(-(-len(content.data) // PAGE_BYTES)))

    def open(self, path: str, *, create: bool = False) -> MemoryFile:
        path = posixpath.normpath(path)
        content = self._files.get(path)
        if content is None:
            if not create or posixpath.dirname(path) not in self._dirs | {""}:
                raise FileNotFoundError(path)
            _check_name(path)
            content = _Content()
            self._change(_put(path, content))
        return MemoryFile(self, content)

    def exists(self, path: str) -> bool:
        path = posixpath.normpath(path)
        return path in self._files or path in self._dirs

    def list(self, path: str) -> list[str]:
        path = posixpath.normpath(path)
        if path not in self._dirs:
            raise FileNotFoundError(path)
        return sorted(
            posixpath.basename(name)
            for name in [*self._files, *self._dirs]
            if posixpath.dirname(name) == path and name != path
        )

    def make_dirs(self, path: str) -> None:
        path = posixpath.normpath(path)
        missing = []
        while path not in self._dirs and path:
            _check_name(path)
            missing.append(path)
            path = posixpath.dirname(path)
        for name in reversed(missing):
            self._change(_make_dir(name))

    def rename(self, source: str, target: str) -> None:
        source, target = posixpath.normpath(source), posixpath.normpath(target)
        if not self.exists(source):
            raise FileNotFoundError(source)
        _check_name(target)
        self._change(_rename(source, target))

    def remove(self, path: str) -> None:
        path = posixpath.normpath(path)
        if path not in self._files:
            raise FileNotFoundError(path)
        self._change(_remove(path))

    def remove_tree(self, path: str) -> None:
        path = posixpath.normpath(path)
        if path not in self._dirs:
            raise FileNotFoundError(path)
        self._change(_remove(path))

    def sync_dir(self, path: str) -> None:
        if posixpath.normpath(path) not in self._dirs:
            raise FileNotFoundError(path)
        self.sync_names()

    def sync_names(self) -> None:
        """Make every name durable."""
        self.syncs += 1
        self._journal.clear()
        self._durable = (dict(self._files), set(self._dirs))

    def read(self, path: str) -> bytes:
        path = posixpath.normpath(path)
        if path not in self._files:
            raise FileNotFoundError(path)
        return bytes(self._files[path].data)

    def write_atomic(self, path: str, data: bytes) -> None:
        file = self.open(f"{path}.tmp", create=True)
        file.truncate(0)
        file.append([data])
        file.sync()
        self.rename(f"{path}.tmp", path)
        self.sync_names()

    def usage(self, path: str) -> tuple[int, int]:
        total = UNLIMITED_BYTES if self.bytes_max is None else self.bytes_max
        used = sum(len(content.data) for content in self._files.values())
        return total, max(0, total - used)

    def modified_ms(self, path: str) -> int:
        return 0

    def lock(self, path: str) -> Callable[[], None]:
        path = posixpath.normpath(path)
        if path in self._locks:
            raise BlockingIOError(path)
        self.open(path, create=True)
        self._locks.add(path)
        return lambda: self._locks.discard(path)

    def check_room(self, size: int) -> None:
        """Raises StorageError when `size` more bytes are too many."""
        if self.bytes_max is None:
            return
        used = sum(len(content.data) for content in self._files.values())
        if used + size > self.bytes_max:
            raise StorageError(f"no space left on the disk of {self.bytes_max} bytes")

    def crash(self, random: Random) -> None:
        """Lose power: open files and locks are gone, and so is what was not flushed."""
        self.life += 1
        self._locks.clear()
        files, dirs = self._durable
        for change in self._journal[: random.randrange(len(self._journal) + 1)]:
            change(files, dirs)
        self._files, self._dirs = files, dirs
        for path in sorted(files):
            files[path].crash(random)
        self.sync_names()

    def _change(self, change: Callable[[dict[str, _Content], set[str]], None]) -> None:
        change(self._files, self._dirs)
        self._journal.append(change)


def _check_name(path: str) -> None:
    if len(posixpath.basename(path).encode()) > NAME_BYTES_MAX:
        raise StorageError(f"{path}: File name too long")


def _put(path: str, content: _Content) -> Callable[[dict[str, _Content], set[str]], None]:
    def change(files: dict[str, _Content], dirs: set[str]) -> None:
        files[path] = content

    return change


def _make_dir(path: str) -> Callable[[dict[str, _Content], set[str]], None]:
    def change(files: dict[str, _Content], dirs: set[str]) -> None:
        dirs.add(path)

    return change


def _rename(source: str, target: str) -> Callable[[dict[str, _Content], set[str]], None]:
    def change(files: dict[str, _Content], dirs: set[str]) -> None:
        for path in [name for name in files if _is_within(name, source)]:
            files[target + path[len(source) :]] = files.pop(path)
        for path in [name for name in dirs if _is_within(name, source)]:
            dirs.remove(path)
            dirs.add(target + path[len(source) :])

    return change


def _remove(target: str) -> Callable[[dict[str, _Content], set[str]], None]:
    def change(files: dict[str, _Content], dirs: set[str]) -> None:
        for path in [name for name in files if _is_within(name, target)]:
            del files[path]
        for path in [name for name in dirs if _is_within(name, target)]:
            dirs.remove(path)

    return change


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
