"""The disk in memory and the machine's disk keep the same contract."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from streamkit.common.errors import StorageError
from streamkit.common.seams import Disk
from streamkit.common.system import SystemDisk
from streamkit.testing.disk import MemoryDisk


@pytest.fixture(params=["memory", "machine"])
def disk(request: pytest.FixtureRequest) -> Disk:
    return MemoryDisk() if request.param == "memory" else SystemDisk()


@pytest.fixture
def folder(disk: Disk, tmp_path: Path) -> str:
    path = str(tmp_path / "data")
    disk.make_dirs(path)
    return path


def test_append_goes_to_the_end_in_order(disk: Disk, folder: str) -> None:
    file = disk.open(f"{folder}/a", create=True)
    assert file.append([b"one", memoryview(b"two"), bytearray(b"three")]) == 11
    assert file.append([b"4"]) == 1
    assert file.size() == 12
    assert disk.read(f"{folder}/a") == b"onetwothree4"


def test_read_at_gives_fewer_bytes_only_at_the_end(disk: Disk, folder: str) -> None:
    file = disk.open(f"{folder}/a", create=True)
    file.append([b"0123456789"])
    assert file.read_at(3, 4) == b"3456"
    assert file.read_at(8, 40) == b"89"
    assert file.read_at(33, 4) == b""


def test_write_at_and_truncate_change_what_is_there(disk: Disk, folder: str) -> None:
    file = disk.open(f"{folder}/a", create=True)
    file.append([b"0123456789"])
    file.write_at(2, b"xy")
    file.truncate(5)
    file.append([b"end"])
    assert disk.read(f"{folder}/a") == b"01xy4end"
    file.write_at(10, b"z")
    assert disk.read(f"{folder}/a") == b"01xy4end\0\0z"


def test_a_file_opened_again_ends_where_it_ended(disk: Disk, folder: str) -> None:
    disk.open(f"{folder}/a", create=True).append([b"abc"])
    again = disk.open(f"{folder}/a")
    again.append([b"def"])
    assert disk.read(f"{folder}/a") == b"abcdef"


def test_missing_files_and_folders_are_not_found(disk: Disk, folder: str) -> None:
    for act in (disk.open, disk.read, disk.list, disk.remove, disk.remove_tree, disk.sync_dir):
        with pytest.raises(FileNotFoundError):
            act(f"{folder}/none")  # type: ignore[operator]
    with pytest.raises(FileNotFoundError):
        disk.rename(f"{folder}/none", f"{folder}/other")
    with pytest.raises(FileNotFoundError):
        disk.open(f"{folder}/none/inside", create=True)


def test_list_is_sorted_and_of_one_folder(disk: Disk, folder: str) -> None:
    disk.make_dirs(f"{folder}/z/deep")
    for name in ("b", "a", "z/inside"):
        disk.open(f"{folder}/{name}", create=True)
    assert disk.list(folder) == ["a", "b", "z"]
    assert disk.exists(f"{folder}/z/inside")
    assert not disk.exists(f"{folder}/c")


def test_rename_replaces_a_file_and_moves_a_folder(disk: Disk, folder: str) -> None:
    disk.write_atomic(f"{folder}/a", b"new")
    disk.write_atomic(f"{folder}/b", b"old")
    disk.rename(f"{folder}/a", f"{folder}/b")
    assert disk.read(f"{folder}/b") == b"new"
    disk.make_dirs(f"{folder}/d")
    disk.write_atomic(f"{folder}/d/x", b"inside")
    disk.rename(f"{folder}/d", f"{folder}/e")
    assert disk.list(folder) == ["b", "e"]
    assert disk.read(f"{folder}/e/x") == b"inside"
    disk.remove_tree(f"{folder}/e")
    assert disk.list(folder) == ["b"]


def test_a_removed_file_can_still_be_read_by_who_has_it_open(disk: Disk, folder: str) -> None:
    file = disk.open(f"{folder}/a", create=True)
    file.append([b"abc"])
    disk.remove(f"{folder}/a")
    assert file.read_at(0, 3) == b"abc"
    assert not disk.exists(f"{folder}/a")


def test_write_atomic_replaces(disk: Disk, folder: str) -> None:
    disk.write_atomic(f"{folder}/a", b"a longer text")
    disk.write_atomic(f"{folder}/a", b"short")
    assert disk.read(f"{folder}/a") == b"short"
    assert disk.list(folder) == ["a"]


def test_a_lock_has_one_holder_at_a_time(disk: Disk, folder: str) -> None:
    release = disk.lock(f"{folder}/.lock")
    with pytest.raises(BlockingIOError):
        disk.lock(f"{folder}/.lock")
    release()
    disk.lock(f"{folder}/.lock")()


def test_a_crash_keeps_what_was_flushed() -> None:
    for seed in range(50):
        disk = MemoryDisk()
        disk.make_dirs("/data")
        file = disk.open("/data/a", create=True)
        file.append([b"durable"])
        file.sync()
        file.append([b"x" * 2000])
        disk.open("/data/b", create=True)
        disk.crash(random.Random(seed))
        data = disk.read("/data/a")
        assert data.startswith(b"durable")
        assert set(data[7:]) <= {0, ord("x")}
        with pytest.raises(StorageError, match="crashed"):
            file.append([b"more"])


def test_crashes_differ_by_seed_and_repeat_with_it() -> None:
    def crashed(seed: int) -> bytes:
        disk = MemoryDisk()
        disk.make_dirs("/data")
        file = disk.open("/data/a", create=True)
        file.sync()
        file.append([b"x" * 5000])
        disk.crash(random.Random(seed))
        return disk.read("/data/a")

    assert [crashed(seed) for seed in range(9)] == [crashed(seed) for seed in range(9)]
    assert len({crashed(seed) for seed in range(30)}) > 10


def test_overwritten_durable_bytes_come_back_or_stay_changed() -> None:
    seen = set()
    for seed in range(40):
        disk = MemoryDisk()
        disk.make_dirs("/data")
        file = disk.open("/data/a", create=True)
        file.append([b"0123456789"])
        file.sync()
        file.write_at(4, b"x")
        file.truncate(6)
        disk.crash(random.Random(seed))
        seen.add(disk.read("/data/a"))
    assert b"0123456789" in seen
    assert all(data in (b"0123456789", b"0123x5") for data in seen)


def test_a_full_disk_refuses_the_append() -> None:
    disk = MemoryDisk(bytes_max=10)
    disk.make_dirs("/data")
    file = disk.open("/data/a", create=True)
    file.append([b"12345678"])
    with pytest.raises(StorageError, match="no space"):
        file.append([b"abc"])
    assert disk.read("/data/a") == b"12345678"
