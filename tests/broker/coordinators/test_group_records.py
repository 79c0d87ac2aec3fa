"""The records of `__consumer_offsets`: the bytes are those that Apache Kafka 4.3.1 wrote."""

from __future__ import annotations

import pytest

from streamkit.broker.coordinators.group import records as rec

WRITTEN_BY_KAFKA = {
    "offset commit with topic id": (
        "0001000361707000047465787400000000",
        "00040000000000000005ffffffff026d000001a1fc1d473c0100106d9682b1b8e24ea0a348095f47438fb7",
    ),
    "streams group": (
        "00110003676739",
        "00000000000e2d6534454c6663ff02000400000005011902156e756d2e7374616e6462792e7265706c6963617"
        "3023000",
    ),
    "streams member": (
        "00130003676739000161",
        "000000000670726f62650b2f3132372e302e302e31000493e00000000504702d61ff0100",
    ),
    "streams member that left": ("00130003676739000165", None),
    "streams target": ("00140003676739", "00000000000e010008000001a1fc2df92a"),
    "streams member's target": (
        "00150003676739000161",
        "0000030230050000000000000001000000020000000300023105000000000000000100000002000000030001"
        "0100",
    ),
    "streams member, stable": (
        "00160003676739000161",
        "000000000004000000000101010101010100",
    ),
    "streams member, unrevoked tasks": (
        "00160003676739000161",
        "0000000000020000000202030230030000000000000001010009030000000200000002023102000000000100"
        "05020000000201010302300300000002000000030100090300000002000000020231040000000100000002000"
        "0000301000d04000000020000000200000002010100",
    ),
    "streams member, unreleased tasks": (
        "0016000361707000056d656d2d62",
        "000000000004000000040301010101010100",
    ),
    "streams topology": (
        "00170003676739",
        "000000000005030230020574657874010102126170702d722d7265706172746974696f6e010100023101010210"
        "6170702d632d6368616e67656c6f67000000000000020f636c65616e75702e706f6c69637908636f6d7061637"
        "400000102126170702d722d7265706172746974696f6e0000000000000100010000",
    ),
}


@pytest.mark.parametrize("name", WRITTEN_BY_KAFKA)
def test_kafkas_bytes_are_read_and_written_again(name: str) -> None:
    key_hex, value_hex = WRITTEN_BY_KAFKA[name]
    key = bytes.fromhex(key_hex)
    value = None if value_hex is None else bytes.fromhex(value_hex)
    record = rec.decode(key, value)
    assert record is not None
    assert rec.encode_key(record.key) == key
    assert rec.encode_value(record) == value


def test_epochs_of_revoked_tasks_are_read() -> None:
    key, value = WRITTEN_BY_KAFKA["streams member, unrevoked tasks"]
    assert value is not None
    record = rec.decode(bytes.fromhex(key), bytes.fromhex(value))
    assert record is not None
    assert record.value is not None
    revoked = record.value.active_tasks_pending_revocation
    assert [(each.subtopology_id, each.partitions) for each in revoked] == [
        ("0", (2, 3)),
        ("1", (1, 2, 3)),
    ]
    assert revoked[0].assignment_epochs == (2, 2)


@pytest.mark.parametrize("version", range(5))
def test_offset_of_every_version_is_read(version: int) -> None:
    value = version.to_bytes(2, "big") + (77).to_bytes(8, "big")
    value += (9).to_bytes(4, "big") if version >= 3 else b""
    value += b"\x02m" if version >= 4 else b"\0\1m"
    value += (55).to_bytes(8, "big") + ((66).to_bytes(8, "big") if version == 1 else b"")
    value += b"\0" if version >= 4 else b""
    key = rec.encode_key(rec.OffsetCommitKey(group="g-1", topic="t-1", partition=3))
    record = rec.decode(key, value)
    assert record is not None
    assert record.value == rec.OffsetCommitValue(
        offset=77,
        leader_epoch=9 if version >= 3 else -1,
        metadata="m",
        commit_timestamp=55,
        expire_timestamp=66 if version == 1 else -1,
    )


def test_offset_is_written_at_version_4_with_or_without_topic_id() -> None:
    # As Kafka 4.3 does: offsets that come in a transaction have no topic id.
    key = rec.OffsetCommitKey(group="g-1", topic="t-1", partition=3)
    value = rec.OffsetCommitValue(offset=77, metadata="m", commit_timestamp=55)
    written = rec.encode_value(rec.Record(key, value))
    assert written is not None
    assert written[:2] == b"\0\4"


MEMBER_KEY = b"\0\5\0\3g-1\0\3m-1"
CLASSIC_MEMBER = (
    b"\x00\x00\x00\x00\x04c-7\x0b/127.0.0.1\x02\x05data\x01\x00\x04\x93\xe0\x00\x01\x00\x0f"
    b"\x01\x00\x00\xaf\xc8\x02\x06range\x01\x00\x00"
)
NEW_MEMBER = (
    b"\x00\x00\tstatic-8\x00\x04c-7\x0b/127.0.0.1\x02\x05data\x01\x00\x04\x93\xe0\x00"
    b"\x01\x00\x01\x00"
)


@pytest.mark.parametrize(("value", "timeout_ms"), [(CLASSIC_MEMBER, 45000), (NEW_MEMBER, None)])
def test_consumer_member_has_kafkas_bytes(value: bytes, timeout_ms: int | None) -> None:
    record = rec.decode(MEMBER_KEY, value)
    assert record is not None
    assert record.value is not None
    classic = record.value.classic_member_metadata
    assert (classic and classic.session_timeout_ms) == timeout_ms
    assert rec.encode_value(record) == value


def test_classic_group_survives_a_round_trip() -> None:
    member = rec.ClassicMember(
        member_id="m-1",
        client_id="c-1",
        client_host="/h-1",
        rebalance_timeout=7,
        session_timeout=5,
        subscription=b"s",
        assignment=b"a",
    )
    value = rec.GroupMetadataValue(
        protocol_type="consumer",
        generation=4,
        protocol="range",
        leader="m-1",
        current_state_timestamp=99,
        members=(member,),
    )
    record = rec.Record(rec.GroupMetadataKey(group="g-1"), value)
    assert rec.decode(rec.encode_key(record.key), rec.encode_value(record)) == record


def test_record_of_newer_software_is_skipped() -> None:
    assert rec.decode(b"\0\x63\0\3abc", b"\0\0abc") is None
    key = rec.encode_key(rec.StreamsGroupMetadataKey(group_id="g-1"))
    assert rec.decode(key, b"\0\x09") is None


def test_old_record_type_of_offsets_is_read_as_the_new_one() -> None:
    key = rec.encode_key(rec.OffsetCommitKey(group="g-1", topic="t-1", partition=3))
    record = rec.decode(b"\0\0" + key[2:], None)
    assert record is not None
    assert record.key == rec.OffsetCommitKey(group="g-1", topic="t-1", partition=3)
