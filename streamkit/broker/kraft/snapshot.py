"""Snapshots of the metadata log: `<end offset>-<epoch>.checkpoint`, as bytes (KIP-630).

A snapshot holds what the log says below its end offset: a header, which also carries the voters,
the records that make the image, and a footer. It is written under `.part` and renamed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from streamkit.broker.kraft import records as r
from streamkit.broker.kraft.control_records import (
    ControlRecord,
    QuorumChange,
    control_types,
    kraft_version,
    kraft_voters,
    read_quorum_change,
    snapshot_footer,
    snapshot_header,
)
from streamkit.broker.kraft.features import KRAFT_VERSION, METADATA_VERSION
from streamkit.broker.kraft.frame import decode_record, encode_record
from streamkit.broker.kraft.image import MetadataImage, TopicImage
from streamkit.broker.kraft.voters import VoterSet
from streamkit.common.errors import CorruptBatchError, StorageError
from streamkit.records import (
    ControlType,
    DecodedBatch,
    build_control,
    decode,
    encode,
    scan,
)

RECORDS_PER_BATCH = 1000
_NAME = re.compile(r"(\d{20})-(\d{10})\.checkpoint")


class SnapshotId(NamedTuple):
    """Everything below `end_offset` is in the snapshot; `epoch` wrote its last record."""

    end_offset: int
    epoch: int

    @property
    def file_name(self) -> str:
        """The name in the metadata log's directory."""
        return f"{self.end_offset:020d}-{self.epoch:010d}.checkpoint"


BOOTSTRAP_ID = SnapshotId(0, 0)
"""The snapshot that a format writes: the voters, and no records."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot's content."""

    records: tuple[r.MetadataRecord, ...]
    quorum: QuorumChange


def parse_snapshot_name(name: str) -> SnapshotId | None:
    """The id in a file's name; None when it is no finished snapshot."""
    found = _NAME.fullmatch(name)
    return None if found is None else SnapshotId(int(found[1]), int(found[2]))


def encode_snapshot(
    records: Iterable[r.MetadataRecord],
    *,
    epoch: int,
    now_ms: int,
    last_timestamp_ms: int,
    level: int = 0,
    voters: VoterSet | None = None,
) -> Iterator[bytes]:
    """The batches of a snapshot, in order."""
    first: list[ControlRecord] = [snapshot_header(last_timestamp_ms)]
    if voters is not None and level > 0:
        first += [kraft_version(level), kraft_voters(voters)]
    yield build_control(first, timestamp=now_ms, base_offset=0, leader_epoch=epoch)
    offset = len(first)
    remaining = iter(records)
    while batch := list(islice(remaining, RECORDS_PER_BATCH)):
        yield encode_records(batch, base_offset=offset, epoch=epoch, now_ms=now_ms)
        offset += len(batch)
    footer = [snapshot_footer()]
    yield build_control(footer, timestamp=now_ms, base_offset=offset, leader_epoch=epoch)


def encode_records(
    records: Iterable[r.MetadataRecord], *, base_offset: int, epoch: int, now_ms: int
) -> bytes:
    """One batch of metadata records, as the log and snapshots hold them: values, no keys."""
    return encode(
        ((None, encode_record(each), now_ms, ()) for each in records),
        base_offset=base_offset,
        leader_epoch=epoch,
    )


def decode_records(batch: DecodedBatch) -> list[r.MetadataRecord]:
    """The metadata records of a batch."""
    return [decode_record(value) for value in batch.values if value is not None]


def decode_snapshot(data: bytes, *, where: str) -> Snapshot:
    """Read a snapshot. Raises StorageError when it is damaged or was not finished."""
    records: list[r.MetadataRecord] = []
    quorum = QuorumChange()
    is_finished = False
    try:
        for header in scan(data):
            batch = decode(data, header)
            if header.is_control:
                quorum = _merged(quorum, read_quorum_change(batch))
                is_finished = ControlType.SNAPSHOT_FOOTER in control_types(batch)
            else:
                records += decode_records(batch)
    except CorruptBatchError as error:
        raise StorageError(f"snapshot {where} is damaged: {error}") from None
    if not is_finished:
        raise StorageError(f"snapshot {where} has no footer: it was not finished")
    return Snapshot(tuple(records), quorum)


def image_records(image: MetadataImage) -> Iterator[r.MetadataRecord]:
    """The records that make this image from an empty one (MetadataImage.write)."""
    names = sorted(
        image.features.keys() - {KRAFT_VERSION}, key=lambda it: (it != METADATA_VERSION, it)
    )
    for name in names:
        yield r.FeatureLevelRecord(name=name, feature_level=image.features[name])
    yield from _cluster_records(image)
    for topic in image.topics.values():
        yield from _topic_records(topic)
    for resource, values in image.configs.items():
        for name, value in values.items():
            yield r.ConfigRecord(
                resource_type=resource.type, resource_name=resource.name, name=name, value=value
            )
    if image.next_producer_id > 0:
        yield r.ProducerIdsRecord(broker_id=-1, next_producer_id=image.next_producer_id)
    yield from image.kept.values()


def _cluster_records(image: MetadataImage) -> Iterator[r.MetadataRecord]:
    for broker in image.brokers.values():
        yield r.RegisterBrokerRecord(
            broker_id=broker.id,
            incarnation_id=broker.incarnation_id,
            broker_epoch=broker.epoch,
            end_points=broker.endpoints,
            features=broker.features,
            rack=broker.rack,
            fenced=broker.fenced,
            in_controlled_shutdown=broker.in_controlled_shutdown,
            log_dirs=broker.directories,
            cordoned_log_dirs=broker.cordoned_directories,
        )
    yield from image.controllers.values()


def _topic_records(topic: TopicImage) -> Iterator[r.MetadataRecord]:
    yield r.TopicRecord(name=topic.name, topic_id=topic.id)
    for index, partition in topic.partitions.items():
        yield r.PartitionRecord(
            partition_id=index,
            topic_id=topic.id,
            replicas=partition.replicas,
            isr=partition.isr,
            removing_replicas=partition.removing_replicas,
            adding_replicas=partition.adding_replicas,
            leader=partition.leader,
            leader_recovery_state=partition.leader_recovery_state,
            leader_epoch=partition.leader_epoch,
            partition_epoch=partition.partition_epoch,
            directories=partition.directories,
            eligible_leader_replicas=partition.elr or None,
            last_known_elr=partition.last_known_elr or None,
        )


def _merged(before: QuorumChange, change: QuorumChange) -> QuorumChange:
    return QuorumChange(
        before.kraft_version if change.kraft_version is None else change.kraft_version,
        before.voters if change.voters is None else change.voters,
    )
