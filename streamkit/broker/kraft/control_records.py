"""The quorum's own records: who leads, which kraft.version, who votes, where a snapshot begins.

They are control records of the metadata log and of snapshots; their values are protocol messages.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streamkit.broker.kraft.voters import ReplicaKey, Voter, VoterEndpoint, VoterSet
from streamkit.protocol import kio_import as _kio_import  # noqa: F401  # before any of kio
from streamkit.records import ControlType, DecodedBatch, parse_control_key

# isort: split
from kio.schema.k_raft_version_record.v0 import data as kraft_version_v0
from kio.schema.leader_change_message.v0 import data as leader_change_v0
from kio.schema.snapshot_footer_record.v0 import data as footer_v0
from kio.schema.snapshot_header_record.v0 import data as header_v0
from kio.schema.types import BrokerId
from kio.schema.voters_record.v0 import data as voters_v0
from kio.serial import entity_writer
from kio.static.primitive import i16, i32, i64, u16

from streamkit.protocol.entities import checked_reader

ControlRecord = tuple[ControlType, bytes]

_V0 = i16(0)


@dataclass(frozen=True, slots=True)
class QuorumChange:
    """What the control records of one batch say; None where they say nothing."""

    kraft_version: int | None = None
    voters: VoterSet | None = None


def leader_change(
    leader_id: int, voters: VoterSet, granting: Sequence[ReplicaKey]
) -> ControlRecord:
    """The first record of an epoch. Kafka 4.3 writes version 0 in dynamic quorums as well."""

    def voter(each: ReplicaKey) -> leader_change_v0.Voter:
        return leader_change_v0.Voter(voter_id=i32(each.id))

    message = leader_change_v0.LeaderChangeMessage(
        version=_V0,
        leader_id=BrokerId(leader_id),
        voters=tuple(voter(each) for each in voters.keys),
        granting_voters=tuple(voter(each) for each in granting),
    )
    return ControlType.LEADER_CHANGE, _encoded(message)


def kraft_version(level: int) -> ControlRecord:
    """The level of kraft.version from here on."""
    message = kraft_version_v0.KRaftVersionRecord(version=_V0, k_raft_version=i16(level))
    return ControlType.KRAFT_VERSION, _encoded(message)


def kraft_voters(voters: VoterSet) -> ControlRecord:
    """The voter set from here on."""
    message = voters_v0.VotersRecord(
        version=_V0,
        voters=tuple(
            voters_v0.Voter(
                voter_id=BrokerId(each.key.id),
                voter_directory_id=each.key.directory_id,
                endpoints=tuple(
                    voters_v0.Endpoint(name=where.name, host=where.host, port=u16(where.port))
                    for where in each.endpoints
                ),
                k_raft_version_feature=voters_v0.KRaftVersionFeature(
                    min_supported_version=i16(each.kraft_version_min),
                    max_supported_version=i16(each.kraft_version_max),
                ),
            )
            for each in voters.voters.values()
        ),
    )
    return ControlType.KRAFT_VOTERS, _encoded(message)


def snapshot_header(last_contained_log_timestamp_ms: int) -> ControlRecord:
    """The first record of a snapshot."""
    message = header_v0.SnapshotHeaderRecord(
        version=_V0, last_contained_log_timestamp=i64(last_contained_log_timestamp_ms)
    )
    return ControlType.SNAPSHOT_HEADER, _encoded(message)


def snapshot_footer() -> ControlRecord:
    """The last record of a snapshot; one without it was not finished."""
    return ControlType.SNAPSHOT_FOOTER, _encoded(footer_v0.SnapshotFooterRecord(version=_V0))


def control_types(batch: DecodedBatch) -> list[ControlType | None]:
    """The type of each record of a control batch; None for one that is not known."""
    return [parse_control_key(key) for key in batch.keys]


def read_quorum_change(batch: DecodedBatch) -> QuorumChange:
    """What a control batch changes in the quorum."""
    level: int | None = None
    voters: VoterSet | None = None
    for kind, value in zip(control_types(batch), batch.values, strict=True):
        if kind is ControlType.KRAFT_VERSION and value is not None:
            level = _decoded(kraft_version_v0.KRaftVersionRecord, value).k_raft_version
        elif kind is ControlType.KRAFT_VOTERS and value is not None:
            voters = _voter_set(_decoded(voters_v0.VotersRecord, value))
    return QuorumChange(level, voters)


def _voter_set(message: voters_v0.VotersRecord) -> VoterSet:
    return VoterSet.of(
        *(
            Voter(
                ReplicaKey(each.voter_id, each.voter_directory_id),
                tuple(VoterEndpoint(at.name, at.host, at.port) for at in each.endpoints),
                each.k_raft_version_feature.min_supported_version,
                each.k_raft_version_feature.max_supported_version,
            )
            for each in message.voters
        )
    )


def _encoded(message: Any) -> bytes:
    buffer = io.BytesIO()
    entity_writer(type(message))(buffer, message)
    return buffer.getvalue()


def _decoded(cls: Any, value: bytes) -> Any:
    entity, _ = checked_reader(cls)(value, 0)
    return entity
