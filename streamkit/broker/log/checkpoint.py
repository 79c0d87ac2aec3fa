"""The small text files beside the segments, in Kafka's formats.

Offset checkpoints (one per log directory, a line per partition), the leader epochs of one log,
and the id of the topic that a log belongs to. All are replaced atomically.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from uuid import UUID

from streamkit.common.errors import StorageError
from streamkit.common.model import TopicPartition
from streamkit.common.seams import Disk

RECOVERY_POINTS = "recovery-point-offset-checkpoint"
HIGH_WATERMARKS = "replication-offset-checkpoint"
LOG_STARTS = "log-start-offset-checkpoint"
CLEANED = "cleaner-offset-checkpoint"
LEADER_EPOCHS = "leader-epoch-checkpoint"
PARTITION_METADATA = "partition.metadata"
VERSION = 0


def format_offsets(offsets: Mapping[TopicPartition, int]) -> bytes:
    """`0`, the count, then `topic partition offset` lines."""
    lines = [f"{tp.topic} {tp.partition} {offset}" for tp, offset in sorted(offsets.items())]
    return _format(lines)


def parse_offsets(data: bytes) -> dict[TopicPartition, int]:
    """Raises StorageError when the text is not an offset checkpoint."""
    offsets = {}
    for topic, partition, offset in _parse(data, 3):
        offsets[TopicPartition(topic, _number(partition))] = _number(offset)
    return offsets


def format_epochs(epochs: Sequence[tuple[int, int]]) -> bytes:
    """`0`, the count, then `epoch start-offset` lines."""
    return _format([f"{epoch} {start}" for epoch, start in epochs])


def parse_epochs(data: bytes) -> list[tuple[int, int]]:
    """Raises StorageError when the text is not a leader epoch checkpoint."""
    return [(_number(epoch), _number(start)) for epoch, start in _parse(data, 2)]


def format_partition_metadata(topic_id: UUID) -> bytes:
    """The topic's id as Kafka writes ids: base64, URL-safe, without padding."""
    text = base64.urlsafe_b64encode(topic_id.bytes).decode().rstrip("=")
    return f"version: 0\ntopic_id: {text}".encode()


def parse_partition_metadata(data: bytes) -> UUID:
    """Raises StorageError when the text is not a partition.metadata."""
    values = {}
    for line in data.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        values[name.strip()] = value.strip()
    try:
        return UUID(bytes=base64.urlsafe_b64decode(values["topic_id"] + "=="))
    except (KeyError, ValueError) as error:
        raise StorageError(f"partition.metadata is damaged: {error!r}") from None


def write_unsynced(disk: Disk, path: str, data: bytes) -> None:
    """Replace a file whose loss or damage in a crash is noticed and made good by its reader."""
    temporary = f"{path}.tmp"
    file = disk.open(temporary, create=True)
    try:
        file.truncate(0)
        file.append([data])
    finally:
        file.close()
    disk.rename(temporary, path)


def read_offsets(disk: Disk, path: str) -> dict[TopicPartition, int]:
    """The offsets of a checkpoint file; none when it is missing or damaged.

    A damaged one is no reason to stop: the recovery point only saves work, and the others are
    lower bounds that the log itself corrects.
    """
    if not disk.exists(path):
        return {}
    try:
        return parse_offsets(disk.read(path))
    except StorageError:
        return {}


def _format(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in (str(VERSION), str(len(lines)), *lines)).encode()


def _parse(data: bytes, columns: int) -> list[list[str]]:
    lines = data.decode("utf-8", "replace").splitlines()
    if len(lines) < 2 or _number(lines[0]) != VERSION or _number(lines[1]) != len(lines) - 2:
        raise StorageError(f"checkpoint begins with {lines[:2]} and has {len(lines)} lines")
    rows = [line.split() for line in lines[2:]]
    if any(len(row) != columns for row in rows):
        raise StorageError(f"checkpoint has a line without {columns} columns")
    return rows


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise StorageError(f"checkpoint has {text!r} where a number belongs") from None
