"""Appends to real files: whole, in pieces, and when the system takes less than it is given."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from streamkit.common.errors import StorageError
from streamkit.common.files import IOV_MAX, PIECE_BYTES, SystemDisk, SystemFile


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "file")


@pytest.mark.parametrize("size", [0, 1, 2 * PIECE_BYTES, 2 * PIECE_BYTES + 1, 1_000_061])
def test_what_was_appended_is_read(path: str, size: int) -> None:
    file = SystemDisk().open(path, create=True)
    data = os.urandom(size)
    assert file.append([b"odd"]) == 3
    assert file.append([data[:61], memoryview(data)[61:]]) == size
    assert file.append([bytearray(b"end")]) == 3
    assert file.size() == size + 6
    assert Path(path).read_bytes() == b"odd" + data + b"end"


def test_large_appends_end_at_multiples_of_a_piece(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[int] = []
    write = os.pwrite

    def noting(descriptor: int, data: bytes, position: int) -> int:
        written = write(descriptor, data, position)
        ends.append(position + written)
        return written

    file = SystemDisk().open(path, create=True)
    file.append([b"x" * 77])
    monkeypatch.setattr(os, "pwrite", noting)
    file.append([b"y" * (3 * PIECE_BYTES)])
    assert ends == [PIECE_BYTES, 2 * PIECE_BYTES, 3 * PIECE_BYTES, 3 * PIECE_BYTES + 77]


@pytest.mark.parametrize("count", [2, IOV_MAX + 5])
def test_what_a_call_leaves_over_is_written(
    path: str, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    writev, write = os.pwritev, os.pwrite

    def short(write_some: Callable[[int, bytes, int], int]) -> Callable[[int, bytes, int], int]:
        return lambda descriptor, data, position: write_some(descriptor, data[:3], position)

    monkeypatch.setattr(os, "pwritev", lambda fd, data, at: writev(fd, data[:1], at))
    monkeypatch.setattr(os, "pwrite", short(write))
    chunks = [str(index).encode() for index in range(count)]
    file = SystemDisk().open(path, create=True)
    file.append([b"0123456789"])
    file.append(chunks)
    assert Path(path).read_bytes() == b"0123456789" + b"".join(chunks)


@pytest.mark.parametrize("size", [10, 4 * PIECE_BYTES])
def test_a_failed_append_leaves_nothing(
    path: str, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    file = SystemDisk().open(path, create=True)
    file.append([b"kept"])
    write = os.pwrite

    def full(descriptor: int, data: bytes, position: int) -> int:
        if position > 4:
            raise OSError(28, "No space left on device")
        write(descriptor, data[:1], position)
        return 1

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError, match="No space left"):
        file.append([b"z" * size])
    assert Path(path).read_bytes() == b"kept"
    assert file.size() == 4


def test_what_is_in_memory_is_read_without_waiting(path: str) -> None:
    file = SystemDisk().open(path, create=True)
    data = os.urandom(10_000)
    file.append([data])
    for position, size in ((0, 10_000), (9_990, 10), (9_990, 500), (10_000, 7), (12_000, 7)):
        found = file.read_cached(position, size)
        assert found is not None
        assert bytes(found) == data[position : position + size] == file.read_at(position, size)


def test_a_read_that_would_wait_says_so(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def partly(_fd: int, buffers: tuple[bytearray, ...], _at: int, _flags: int) -> int:
        return len(buffers[0]) - 1

    def cold(*_: object) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    file = SystemDisk().open(path, create=True)
    file.append([b"records"])
    for read in (cold, partly):
        monkeypatch.setattr(os, "preadv", read)
        assert file.read_cached(2, 5) is None


def test_a_file_system_that_cannot_say_is_read(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> int:
        raise OSError(95, "Operation not supported")

    file = SystemDisk().open(path, create=True)
    file.append([b"records"])
    monkeypatch.setattr(os, "preadv", unknown)
    assert file.read_cached(2, 5) == b"cords"


@pytest.mark.parametrize(
    "use",
    [
        lambda file: file.sync(),
        lambda file: file.append([b"x"]),
        lambda file: file.read_at(0, 1),
        lambda file: file.read_cached(0, 1),
        lambda file: file.write_at(0, b"x"),
        lambda file: file.truncate(0),
    ],
)
def test_a_file_that_another_thread_closed_is_a_storage_error(
    path: str, use: Callable[[SystemFile], object]
) -> None:
    file = SystemDisk().open(path, create=True)
    file.append([b"some"])
    file.close()
    with pytest.raises(StorageError):
        use(file)
