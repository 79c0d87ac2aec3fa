"""Many logs on one disk: clean and unclean starts, checkpoints, deletion, the lock."""

from __future__ import annotations

import random
from uuid import UUID

import pytest

from streamkit.broker.log.checkpoint import (
    format_epochs,
    format_offsets,
    format_partition_metadata,
    parse_epochs,
    parse_offsets,
    parse_partition_metadata,
)
from streamkit.broker.log.directory import LogDirectory, parse_folder
from streamkit.broker.log.log import Log
from streamkit.broker.log.settings import LogSettings
from streamkit.common.errors import StorageError, UsageError
from streamkit.common.model import TopicPartition
from streamkit.records import encode
from streamkit.testing.disk import MemoryDisk

NOW_MS = 1_700_000_000_000
ORDERS = UUID("12345678-1234-5678-1234-567812345678")
SETTINGS = LogSettings(segment_bytes=400)


def opened(disk: MemoryDisk) -> LogDirectory:
    return LogDirectory.open(disk, "/data", lambda topic: SETTINGS, lambda: NOW_MS)


def fill(log: Log, count: int) -> None:
    for _ in range(count):
        log.append_as_leader(encode([(b"k", b"v" * 50, NOW_MS, ())]), 5, NOW_MS)
    log.update_high_watermark(log.log_end_offset)


def test_a_clean_restart_opens_every_log_as_it_was() -> None:
    disk = MemoryDisk()
    directory = opened(disk)
    for partition in range(3):
        fill(directory.get_or_create("orders", partition, ORDERS, SETTINGS), 5 + partition)
    directory.logs[TopicPartition("orders", 2)].advance_log_start(2)
    directory.close(broker_epoch=77)
    assert disk.read("/data/.kafka_cleanshutdown") == b'{"version":0,"brokerEpoch":77}'
    assert disk.read("/data/log-start-offset-checkpoint") == b"0\n1\norders 2 2\n"
    directory = opened(disk)
    assert directory.is_clean_start
    assert not disk.exists("/data/.kafka_cleanshutdown")
    assert [
        (log.log_start_offset, log.high_watermark, log.log_end_offset, log.topic_id)
        for _, log in sorted(directory.logs.items())
    ] == [(0, 5, 5, ORDERS), (0, 6, 6, ORDERS), (2, 7, 7, ORDERS)]


def test_an_unclean_restart_recovers_every_log() -> None:
    for seed in range(30):
        disk = MemoryDisk()
        directory = opened(disk)
        log = directory.get_or_create("orders", 7, ORDERS, SETTINGS)
        fill(log, 9)
        log.flush()
        directory.checkpoint()
        fill(log, 9)
        disk.crash(random.Random(seed))
        directory = opened(disk)
        assert not directory.is_clean_start
        again = directory.logs[TopicPartition("orders", 7)]
        assert 9 <= again.log_end_offset <= 18
        assert again.high_watermark == 9


@pytest.mark.parametrize("size", [1, 213, 214, 249])
def test_a_topic_of_any_name_is_deleted_and_made_again(size: int) -> None:
    disk = MemoryDisk()
    directory = opened(disk)
    topic = "t" * size
    log = directory.get_or_create(topic, 0, ORDERS, SETTINGS)
    remove = directory.delete(log)
    again = directory.get_or_create(topic, 0, UUID(int=5), SETTINGS)
    assert again.log_end_offset == 0
    directory.set_stray_aside(again)
    directory.close()
    directory = opened(disk)
    assert directory.logs == {}
    assert f"/{topic}-0.{ORDERS.hex}-delete"[:50] not in "".join(disk.list("/data"))
    with pytest.raises(FileNotFoundError):
        remove()


def test_a_directory_has_one_owner() -> None:
    disk = MemoryDisk()
    directory = opened(disk)
    with pytest.raises(UsageError, match="in use by another broker"):
        opened(disk)
    directory.close()
    opened(disk)


def test_a_deleted_log_stays_away_even_after_a_crash() -> None:
    for seed in range(20):
        disk = MemoryDisk()
        directory = opened(disk)
        log = directory.get_or_create("orders", 7, ORDERS, SETTINGS)
        fill(log, 5)
        log.flush()
        directory.delete(log)()
        assert directory.logs == {}
        disk.crash(random.Random(seed))
        assert opened(disk).logs == {}
        assert not [name for name in disk.list("/data") if "orders" in name]


def test_a_log_of_an_earlier_topic_is_set_aside() -> None:
    disk = MemoryDisk()
    directory = opened(disk)
    fill(directory.get_or_create("orders", 7, ORDERS, SETTINGS), 5)
    log = directory.get_or_create("orders", 7, UUID(int=99), SETTINGS)
    assert log.log_end_offset == 0
    assert f"orders-7.{ORDERS.hex}-stray" in disk.list("/data")
    directory.close()
    assert list(opened(disk).logs) == [TopicPartition("orders", 7)]


def test_get_or_create_gives_the_log_that_is_there_its_settings() -> None:
    directory = opened(MemoryDisk())
    log = directory.get_or_create("orders", 7, ORDERS, SETTINGS)
    again = directory.get_or_create("orders", 7, ORDERS, LogSettings(retention_ms=5))
    assert again is log
    assert log.settings.retention_ms == 5


def test_other_folders_and_the_metadata_log_are_left_alone() -> None:
    assert parse_folder("a-b.c_d-12") == TopicPartition("a-b.c_d", 12)
    for name in ("orders", "orders-", "orders-x", "orders-7.0a-delete", "meta.properties", "-1x"):
        assert parse_folder(name) is None
    disk = MemoryDisk()
    disk.make_dirs("/data/__cluster_metadata-0")
    disk.make_dirs("/data/lost+found")
    assert opened(disk).logs == {}


def test_checkpoint_texts_are_kafkas() -> None:
    offsets = {TopicPartition("b", 10): 7, TopicPartition("a", 2): 2**40}
    assert format_offsets(offsets) == b"0\n2\na 2 1099511627776\nb 10 7\n"
    assert parse_offsets(format_offsets(offsets)) == offsets
    assert format_epochs([(3, 0), (7, 70)]) == b"0\n2\n3 0\n7 70\n"
    assert parse_epochs(format_epochs([(3, 0), (7, 70)])) == [(3, 0), (7, 70)]
    text = format_partition_metadata(ORDERS)
    assert text == b"version: 0\ntopic_id: EjRWeBI0VngSNFZ4EjRWeA"
    assert parse_partition_metadata(text) == ORDERS


@pytest.mark.parametrize(
    "data", [b"", b"0", b"1\n0\n", b"0\n2\na 1 2\n", b"0\n1\na 1\n", b"0\n1\na x 2\n", b"\xff\xfe"]
)
def test_damaged_checkpoints_are_errors(data: bytes) -> None:
    with pytest.raises(StorageError):
        parse_offsets(data)
    with pytest.raises(StorageError):
        parse_partition_metadata(data)


def test_settings_come_from_topic_configurations() -> None:
    settings = LogSettings.from_configs(
        {
            "max.message.bytes": "2000",
            "cleanup.policy": "compact, delete",
            "message.timestamp.type": "LogAppendTime",
            "segment.bytes": 5000,
            "min.insync.replicas": 1,
        }
    )
    assert settings == LogSettings(
        message_bytes_max=2000,
        cleanup_policy=("compact", "delete"),
        timestamp_type="LogAppendTime",
        segment_bytes=5000,
    )
    assert settings.is_compacted
    assert settings.is_deleted
    assert settings.is_log_append_time


def test_making_a_log_waits_for_no_disk() -> None:
    disk = MemoryDisk()
    directory = opened(disk)
    before = disk.syncs
    log = directory.get_or_create("orders", 7, ORDERS, SETTINGS)
    fill(log, 40)
    assert len(log.segments) > 2
    assert disk.syncs == before
    log.flush()
    assert disk.syncs > before


def test_a_log_that_lost_its_topic_id_belongs_to_the_topic_of_its_name() -> None:
    for seed in range(20):
        disk = MemoryDisk()
        directory = opened(disk)
        fill(directory.get_or_create("orders", 7, ORDERS, SETTINGS), 5)
        disk.crash(random.Random(seed))
        directory = opened(disk)
        log = directory.get_or_create("orders", 7, ORDERS, SETTINGS)
        assert log.topic_id == ORDERS
        log.flush()
        disk.crash(random.Random(seed))
        assert opened(disk).logs[TopicPartition("orders", 7)].topic_id == ORDERS
        assert not [name for name in disk.list("/data") if name.endswith("-stray")]
