"""A disk that is full: an error that says so, and everything that was written stays."""

from __future__ import annotations

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from streamkit.common.errors import StorageError
from streamkit.state.rocks import RocksBackend

SIZE_MAX = 1 << 20
FAMILIES = ["rows", "offsets"]


@contextmanager
def full_at(size: int) -> Iterator[None]:
    """No file grows beyond this, which fails as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def chunk(number):
    return [("rows", b"%03d-%03d" % (number, each), b"x" * 100) for each in range(100)]


def written_until_full(backend):
    for number in range(1_000):
        try:
            backend.write(chunk(number))
        except StorageError as error:
            return number, str(error)
    raise AssertionError("the disk was never full")


def test_full_disk_is_told_and_loses_nothing(tmp_path, caplog):
    path = str(tmp_path / "rocksdb")
    backend = RocksBackend(path, FAMILIES)
    with full_at(SIZE_MAX):
        chunks, said = written_until_full(backend)
        with caplog.at_level(logging.WARNING):
            backend.close()
    assert path in said
    assert "File too large" in said
    assert "closed without its last flush" in caplog.text
    again = RocksBackend(path, FAMILIES)
    assert sum(1 for _ in again.scan("rows", None, None)) == 100 * chunks > 1_000
    again.write([("rows", b"more", b"room")])
    assert again.reader("rows")(b"more") == b"room"
    again.close()


def test_load_into_a_full_disk_is_told_and_comes_again(tmp_path):
    path = str(tmp_path / "rocksdb")
    backend = RocksBackend(path, FAMILIES)
    entries = {b"%06d" % number: number.to_bytes(200, "big") for number in range(20_000)}
    with full_at(1 << 14), pytest.raises(StorageError, match="cannot load the state in"):
        backend.load("rows", sorted(entries), entries)
    backend.load("rows", sorted(entries), entries)
    assert sum(1 for _ in backend.scan("rows", None, None)) == len(entries)
    backend.close()
