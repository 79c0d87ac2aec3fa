"""The `Disk` of the real machine: files by descriptor, positions explicit, errors typed."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from streamkit.common.errors import StorageError
from streamkit.common.page_cache import is_cached
from streamkit.common.seams import Bytes, FileSlice, Piece

IOV_MAX = 1024
"""The most buffers that one writev takes."""

NO_WAIT: int | None = getattr(os, "RWF_NOWAIT", None)
"""Linux' flag for a read that does not wait for the disk."""

_CANNOT_SAY = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""The file system, or the kernel, does not know it."""

PIECE_BYTES = 64 * 1024
"""Large appends are written in pieces that end at multiples of this.

For one large write Linux takes large folios, of memory that nobody used lately. On a virtual
machine whose free memory goes back to its host, each page of those is a fault in the host: 2 ms
for 1 MB in place of 0.2 ms.
"""

SLICE_BYTES_MIN = 64 * 1024
"""Less than this is read: the system calls that a slice takes would cost more."""


class SystemFile:
    """One open file; `append` goes to the end that this object knows, in one system call."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size

    def append(self, chunks: Sequence[Bytes]) -> int:
        wanted = sum(len(chunk) for chunk in chunks)
        try:
            if wanted > 2 * PIECE_BYTES:
                self._write_pieces(chunks, self._size)
            elif len(chunks) == 1:
                self._finish(chunks, os.pwrite(self._descriptor, chunks[0], self._size), wanted)
            else:
                written = os.pwritev(self._descriptor, chunks[:IOV_MAX], self._size)
                self._finish(chunks, written, wanted)
        except OSError as error:
            self._cut_back()
            raise StorageError(f"cannot append to {self._path}: {error.strerror}") from error
        self._size += wanted
        return wanted

    def _finish(self, chunks: Sequence[Bytes], written: int, wanted: int) -> None:
        if written != wanted:
            self._write_pieces((b"".join(chunks)[written:],), self._size + written)

    def _write_pieces(self, chunks: Sequence[Bytes], position: int) -> None:
        for chunk in chunks:
            view = memoryview(chunk).cast("B")
            while view:
                size = PIECE_BYTES - position % PIECE_BYTES
                written = os.pwrite(self._descriptor, view[:size], position)
                view = view[written:]
                position += written

    def _cut_back(self) -> None:
        """Drop what a failed append left, so that the file ends where this object believes."""
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError as error:
            raise StorageError(f"cannot truncate {self._path}: {error.strerror}") from error

    def read_at(self, position: int, size: int) -> bytes:
        try:
            return os.pread(self._descriptor, size, position)
        except OSError as error:
            raise StorageError(f"cannot read {self._path}: {error.strerror}") from error

    def read_cached(self, position: int, size: int) -> Bytes | None:
        if NO_WAIT is None:
            return self.read_at(position, size)
        wanted = self._there(position, size)
        buffer = bytearray(wanted)
        try:
            count = os.preadv(self._descriptor, (buffer,), position, NO_WAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in _CANNOT_SAY:
                return self.read_at(position, size)
            raise StorageError(f"cannot read {self._path}: {error.strerror}") from error
        # Less than there is means that the rest is not in memory.
        return buffer if count == wanted else None

    def slice_cached(self, position: int, size: int) -> Piece | None:
        if size < SLICE_BYTES_MIN:
            return self.read_cached(position, size)
        wanted = self._there(position, size)
        if wanted < SLICE_BYTES_MIN:
            return self.read_cached(position, size)
        known = is_cached(self._descriptor, position, wanted)
        if known is None:
            return self.read_cached(position, size)
        # What is being read ahead counts as cached: its end comes last.
        if not known or self.read_cached(position + wanted - 1, 1) is None:
            return None
        return FileSlice(self, position, wanted)

    def _there(self, position: int, size: int) -> int:
        """How many of so many bytes the file has."""
        left = self._size - position
        return size if size <= left else max(0, left)

    def send_to(self, descriptor: int, position: int, size: int) -> int:
        """Pass bytes to a socket; how many it took. Raises OSError, and StorageError at the end."""
        sent = os.sendfile(descriptor, self._descriptor, position, size)
        if sent == 0:
            raise StorageError(f"{self._path} ends before {position + size}")
        return sent

    def write_at(self, position: int, data: Bytes) -> None:
        try:
            os.pwrite(self._descriptor, data, position)
        except OSError as error:
            raise StorageError(f"cannot write {self._path}: {error.strerror}") from error
        self._size = max(self._size, position + len(data))

    def truncate(self, size: int) -> None:
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            raise StorageError(f"cannot truncate {self._path}: {error.strerror}") from error
        self._size = size

    def size(self) -> int:
        return self._size

    def sync(self) -> None:
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise StorageError(f"cannot flush {self._path}: {error.strerror}") from error
        except ValueError:
            # Another thread closed it meanwhile: that number is refused before the system sees it.
            raise StorageError(f"cannot flush {self._path}: it is closed") from None

    def close(self) -> None:
        # A slice may outlive its file: it must not meet another one under the same number.
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)


class SystemDisk:
    """The machine's file system."""

    def open(self, path: str, *, create: bool = False) -> SystemFile:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        return SystemFile(path, _opened(path, flags))

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def list(self, path: str) -> list[str]:
        with _storage_errors("list", path):
            return sorted(os.listdir(path))

    def make_dirs(self, path: str) -> None:
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make {path}: {error.strerror}") from error

    def rename(self, source: str, target: str) -> None:
        with _storage_errors("rename", source):
            os.replace(source, target)

    def remove(self, path: str) -> None:
        with _storage_errors("remove", path):
            os.remove(path)

    def remove_tree(self, path: str) -> None:
        with _storage_errors("remove", path):
            shutil.rmtree(path)

    def sync_dir(self, path: str) -> None:
        descriptor = _opened(path, os.O_RDONLY)
        try:
            with _storage_errors("flush", path):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, path: str) -> bytes:
        with _storage_errors("read", path):
            return Path(path).read_bytes()

    def write_atomic(self, path: str, data: bytes) -> None:
        temporary = f"{path}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        descriptor = _opened(temporary, flags)
        try:
            done = 0
            while done < len(data):
                done += os.write(descriptor, data[done:])
            os.fsync(descriptor)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}") from error
        finally:
            os.close(descriptor)
        self.rename(temporary, path)
        self.sync_dir(os.path.dirname(path) or ".")

    def usage(self, path: str) -> tuple[int, int]:
        with _storage_errors("ask about", path):
            found = os.statvfs(path)
        return found.f_frsize * found.f_blocks, found.f_frsize * found.f_bavail

    def modified_ms(self, path: str) -> int:
        with _storage_errors("ask about", path):
            found = (
                os.stat(os.path.join(folder, name)).st_mtime_ns
                for folder, _, names in os.walk(path)
                for name in names
            )
            return max(found, default=0) // 1_000_000

    def lock(self, path: str) -> Callable[[], None]:
        descriptor = _opened(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        return lambda: os.close(descriptor)


@contextmanager
def _storage_errors(what: str, path: str) -> Iterator[None]:
    """A missing file stays what it is; whatever else the system says is a StorageError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"cannot {what} {path}: {error.strerror}") from error


def _opened(path: str, flags: int) -> int:
    try:
        return os.open(path, flags, 0o644)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"cannot open {path}: {error.strerror}") from error


def temporary_directory(prefix: str) -> str:
    """Make a new directory that nobody else has; the caller removes it."""
    return tempfile.mkdtemp(prefix=prefix)
