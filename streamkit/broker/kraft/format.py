"""Format a data directory for the quorum, or check the one that is there (StorageTool format).

meta.properties is written last: a format that was cut off is done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from streamkit.broker.kraft import meta_properties
from streamkit.broker.kraft.features import KRAFT_VERSION_LATEST, initial_levels
from streamkit.broker.kraft.ids import id_text
from streamkit.broker.kraft.meta_properties import MetaProperties
from streamkit.broker.kraft.records import FeatureLevelRecord, MetadataRecord
from streamkit.broker.kraft.snapshot import BOOTSTRAP_ID, decode_snapshot, encode_snapshot
from streamkit.broker.kraft.voters import ReplicaKey, Voter, VoterEndpoint, VoterSet
from streamkit.common.errors import UsageError
from streamkit.common.seams import Seams

BOOTSTRAP_FILE = "bootstrap.checkpoint"
METADATA_DIR = "__cluster_metadata-0"


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Who formats: a cluster id of None takes a new random one."""

    node_id: int
    cluster_id: str | None
    endpoints: tuple[VoterEndpoint, ...]


def open_data_dir(seams: Seams, path: str, identity: NodeIdentity) -> MetaProperties:
    """Format `path` when nothing is there; its meta.properties.

    Raises UsageError, in one line, when it belongs to another cluster or node, or has data and
    no meta.properties.
    """
    where = f"{path}/{meta_properties.FILE_NAME}"
    disk = seams.disk
    if disk.exists(where):
        properties = MetaProperties.decode(disk.read(where), where=where)
        properties.check(identity.cluster_id, identity.node_id, where=path)
        return properties
    log_dir = f"{path}/{METADATA_DIR}"
    if disk.exists(log_dir) and any(name.endswith(".log") for name in disk.list(log_dir)):
        raise UsageError(f"{path} has a metadata log but no {meta_properties.FILE_NAME}")
    return _format(seams, path, identity)


def read_bootstrap_records(seams: Seams, path: str) -> tuple[MetadataRecord, ...]:
    """The records with which the first controller begins a new cluster."""
    where = f"{path}/{BOOTSTRAP_FILE}"
    if not seams.disk.exists(where):
        return bootstrap_records()
    return decode_snapshot(seams.disk.read(where), where=where).records


def bootstrap_records() -> tuple[MetadataRecord, ...]:
    """The feature levels of a new cluster."""
    return tuple(
        FeatureLevelRecord(name=name, feature_level=level)
        for name, level in initial_levels().items()
    )


def _format(seams: Seams, path: str, identity: NodeIdentity) -> MetaProperties:
    disk = seams.disk
    properties = MetaProperties(
        identity.cluster_id or id_text(_new_id(seams)), identity.node_id, _new_id(seams)
    )
    now_ms = seams.clock.now_ms()
    voters = VoterSet.of(
        Voter(ReplicaKey(identity.node_id, properties.directory_id), identity.endpoints)
    )
    log_dir = f"{path}/{METADATA_DIR}"
    disk.make_dirs(log_dir)
    disk.write_atomic(
        f"{path}/{BOOTSTRAP_FILE}",
        _joined(bootstrap_records(), now_ms=now_ms, last_timestamp_ms=0),
    )
    disk.write_atomic(
        f"{log_dir}/{BOOTSTRAP_ID.file_name}",
        _joined(
            (),
            now_ms=now_ms,
            last_timestamp_ms=now_ms,
            level=KRAFT_VERSION_LATEST,
            voters=voters,
        ),
    )
    disk.write_atomic(f"{path}/{meta_properties.FILE_NAME}", properties.encode())
    return properties


def _joined(
    records: Sequence[MetadataRecord],
    *,
    now_ms: int,
    last_timestamp_ms: int,
    level: int = 0,
    voters: VoterSet | None = None,
) -> bytes:
    return b"".join(
        encode_snapshot(
            records,
            epoch=BOOTSTRAP_ID.epoch,
            now_ms=now_ms,
            last_timestamp_ms=last_timestamp_ms,
            level=level,
            voters=voters,
        )
    )


def _new_id(seams: Seams) -> UUID:
    while True:
        value = seams.random.uuid4()
        # An id that begins with a dash is taken for an option on command lines.
        if not id_text(value).startswith("-"):
            return value
