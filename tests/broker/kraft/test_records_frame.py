"""The frame of metadata records and their older versions."""

from __future__ import annotations

import dataclasses
from uuid import UUID

import pytest

from streamkit.broker.kraft import records as r
from streamkit.broker.kraft.frame import decode_record, encode_record
from streamkit.common.errors import FatalError

TOPIC_ID = UUID("ec209319-8c76-47d5-8dd7-3238e2678e23")
DIRECTORY = UUID("211110d4-bb38-4138-b2c8-702b479eea75")
ENDPOINT = r.Endpoint(name="PLAINTEXT", host="h", port=59092, security_protocol=2)
FEATURE = r.FeatureRange(name="f", min_supported_version=2, max_supported_version=5)

SAMPLES: list[r.MetadataRecord] = [
    r.RegisterBrokerRecord(
        broker_id=7,
        incarnation_id=TOPIC_ID,
        broker_epoch=41,
        end_points=(ENDPOINT,),
        features=(FEATURE,),
        rack="r",
        log_dirs=(DIRECTORY,),
        cordoned_log_dirs=(),
    ),
    r.UnregisterBrokerRecord(broker_id=7, broker_epoch=41),
    r.TopicRecord(name="t", topic_id=TOPIC_ID),
    r.PartitionRecord(
        partition_id=3,
        topic_id=TOPIC_ID,
        replicas=(7, 8),
        isr=(8,),
        leader=8,
        leader_recovery_state=1,
        leader_epoch=5,
        partition_epoch=6,
        directories=(DIRECTORY, None),
        eligible_leader_replicas=(7,),
    ),
    r.ConfigRecord(resource_type=2, resource_name="t", name="retention.ms", value=None),
    r.PartitionChangeRecord(partition_id=3, topic_id=TOPIC_ID, isr=(), leader=-1),
    r.FenceBrokerRecord(id=7, epoch=41),
    r.UnfenceBrokerRecord(id=7, epoch=41),
    r.RemoveTopicRecord(topic_id=TOPIC_ID),
    r.DelegationTokenRecord(
        owner="User:a",
        requester="User:b",
        renewers=("User:c",),
        issue_timestamp=11,
        max_timestamp=12,
        expiration_timestamp=13,
        token_id="i",
    ),
    r.UserScramCredentialRecord(
        name="u", mechanism=2, salt=b"s", stored_key=b"k", server_key=b"v", iterations=4096
    ),
    r.FeatureLevelRecord(name="streams.version", feature_level=1),
    r.ClientQuotaRecord(
        entity=(r.QuotaEntity(entity_type="user", entity_name=None),),
        key="producer_byte_rate",
        value=1.5,
        remove=True,
    ),
    r.ProducerIdsRecord(broker_id=7, broker_epoch=41, next_producer_id=3000),
    r.BrokerRegistrationChangeRecord(broker_id=7, broker_epoch=41, fenced=-1),
    r.AccessControlEntryRecord(
        id=TOPIC_ID,
        resource_type=2,
        resource_name="t",
        pattern_type=3,
        principal="User:a",
        host="*",
        operation=3,
        permission_type=3,
    ),
    r.RemoveAccessControlEntryRecord(id=TOPIC_ID),
    r.NoOpRecord(),
    r.ZkMigrationStateRecord(zk_migration_state=4),
    r.RemoveUserScramCredentialRecord(name="u", mechanism=2),
    r.BeginTransactionRecord(name="b"),
    r.EndTransactionRecord(),
    r.AbortTransactionRecord(reason="why"),
    r.RemoveDelegationTokenRecord(token_id="i"),
    r.RegisterControllerRecord(
        controller_id=7, incarnation_id=TOPIC_ID, end_points=(ENDPOINT,), features=(FEATURE,)
    ),
    r.ClearElrRecord(topic_name="t"),
]


def test_samples_cover_every_type() -> None:
    assert {type(each) for each in SAMPLES} == set(r.RECORD_TYPES)


@pytest.mark.parametrize("record", SAMPLES, ids=lambda each: type(each).__name__)
def test_record_round_trips(record: r.MetadataRecord) -> None:
    assert decode_record(encode_record(record)) == record


@pytest.mark.parametrize(
    ("change", "version"),
    [
        ({"fenced": 1}, 0),
        ({"in_controlled_shutdown": 1}, 1),
        ({"log_dirs": (DIRECTORY,)}, 2),
        ({"cordoned_log_dirs": ()}, 3),
    ],
)
def test_registration_change_is_written_at_the_lowest_version_that_holds_it(
    change: dict[str, object], version: int
) -> None:
    base = r.BrokerRegistrationChangeRecord(broker_id=7, broker_epoch=41)
    record = dataclasses.replace(base, **change)  # type: ignore[arg-type]  # by parameter
    assert encode_record(record)[:3] == bytes([1, 17, version])
    assert decode_record(encode_record(record)) == record


def test_older_version_reads_as_newest_with_defaults() -> None:
    # A version 0 PartitionRecord, as a 3.3 controller wrote it: no directories, no ELR.
    body = b"".join(
        (
            (3).to_bytes(4),
            TOPIC_ID.bytes,
            b"\x02" + (7).to_bytes(4),
            b"\x02" + (7).to_bytes(4),
            b"\x01\x01",
            (7).to_bytes(4),
            (5).to_bytes(4),
            (6).to_bytes(4),
            b"\x00",
        )
    )
    assert decode_record(b"\x01\x03\x00" + body) == r.PartitionRecord(
        partition_id=3,
        topic_id=TOPIC_ID,
        replicas=(7,),
        isr=(7,),
        leader=7,
        leader_epoch=5,
        partition_epoch=6,
    )


@pytest.mark.parametrize("value", [b"\x02\x03\x00", b"\x01\x63\x00", b"\x01\x0c\x09", b"\x01", b""])
def test_unknown_frame_type_or_version_is_refused(value: bytes) -> None:
    with pytest.raises(FatalError):
        decode_record(value)
