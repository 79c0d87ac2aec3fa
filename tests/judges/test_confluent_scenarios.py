"""What confluent-kafka's documentation offers, on our broker: producer, consumer, admin."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)

from streamkit.testing.broker import Broker
from tests.foreign import create_topics, produce_lines
from tests.harness import wait_for

pytestmark = pytest.mark.judge

NOW_MS = 1_700_000_000_000
PROTOCOLS = ["classic", "consumer"]
Message = confluent_kafka.Message


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker(config={"group.min.session.timeout.ms": "1000"}) as running:
        yield running


@pytest.fixture(scope="module")
def admin(broker: Broker) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap})


def new_topic(admin: AdminClient, name: str, partitions: int = 1, **config: str) -> str:
    settings = {key.replace("_", "."): value for key, value in config.items()}
    (made,) = admin.create_topics([NewTopic(name, partitions, 1, config=settings)]).values()
    made.result(30)
    return name


def producer(broker: Broker, **config: object) -> confluent_kafka.Producer:
    return confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap, **config})


def send(client: confluent_kafka.Producer, *records: dict[str, Any]) -> list[Message]:
    """Send records; their delivery reports, each a message or the error it failed with."""
    reports: list[Any] = []
    for record in records:
        client.produce(
            **record, on_delivery=lambda error, message: reports.append(error or message)
        )
    assert client.flush(30) == 0
    return reports


def consumer(broker: Broker, group: str, **config: object) -> confluent_kafka.Consumer:
    base = {"bootstrap.servers": broker.bootstrap, "group.id": group, "enable.auto.commit": False}
    return confluent_kafka.Consumer({**base, "auto.offset.reset": "earliest", **config})


def take(client: confluent_kafka.Consumer, count: int) -> list[Message]:
    """The next records, exactly so many."""
    found: list[Message] = []

    def is_done() -> bool:
        for message in client.consume(count - len(found), 0.2):
            assert message.error() is None, message.error()
            found.append(message)
        return len(found) == count

    wait_for(is_done, what=f"{count} records")
    return found


def values(messages: list[Message]) -> list[bytes]:
    return [message.value() for message in messages]


def refusal(future: Any) -> int:
    """The error code that a future of the admin client ends with."""
    with pytest.raises(confluent_kafka.KafkaException) as caught:
        future.result(30)
    return int(caught.value.args[0].code())


def test_keys_values_headers_and_times_come_back(broker: Broker, admin: AdminClient) -> None:
    topic = new_topic(admin, "whole")
    headers = [("name", b"x"), ("name", b"again"), ("none", None), ("empty", b"")]
    records: list[dict[str, Any]] = [
        {"key": b"k", "value": b"v", "headers": headers, "timestamp": NOW_MS},
        {"key": b"", "value": b"", "timestamp": NOW_MS + 1},
        {"key": None, "value": None, "timestamp": NOW_MS + 2},
    ]
    reports = send(producer(broker), *({"topic": topic, **record} for record in records))
    assert [report.offset() for report in reports] == [0, 1, 2]
    client = consumer(broker, "whole")
    client.assign([TopicPartition(topic, 0, 0)])
    found = take(client, 3)
    client.close()
    assert [(each.key(), each.value()) for each in found] == [
        (b"k", b"v"),
        (b"", b""),
        (None, None),
    ]
    assert found[0].headers() == headers
    assert [each.timestamp() for each in found] == [
        (TIMESTAMP_CREATE_TIME, NOW_MS + number) for number in range(3)
    ]


def test_broker_stamps_records_of_a_topic_that_wants_it(broker: Broker, admin: AdminClient) -> None:
    topic = new_topic(admin, "stamped", message_timestamp_type="LogAppendTime")
    before_ms = int(time.time() * 1000)
    (report,) = send(producer(broker), {"topic": topic, "value": b"v", "timestamp": NOW_MS})
    kind, stamped_ms = report.timestamp()
    assert kind == TIMESTAMP_LOG_APPEND_TIME
    assert before_ms <= stamped_ms <= time.time() * 1000


def test_keys_find_their_partitions(broker: Broker, admin: AdminClient) -> None:
    topic = new_topic(admin, "keyed", 5)
    client = producer(broker, partitioner="murmur2_random")
    keys = [b"key-%d" % number for number in range(50)]
    first = send(client, *({"topic": topic, "key": key, "value": b"1"} for key in keys))
    again = send(client, *({"topic": topic, "key": key, "value": b"2"} for key in keys))
    places = [{each.key(): each.partition() for each in reports} for reports in (first, again)]
    assert places[0] == places[1]
    assert set(places[0].values()) == set(range(5))


def test_broker_refuses_what_is_too_large_or_has_no_key(broker: Broker, admin: AdminClient) -> None:
    small = new_topic(admin, "small", max_message_bytes="1000")
    client = producer(broker)
    (large,) = send(client, {"topic": small, "value": b"v" * 2000})
    (fits,) = send(client, {"topic": small, "value": b"v"})
    assert large.code() == confluent_kafka.KafkaError.MSG_SIZE_TOO_LARGE
    assert fits.offset() == 0
    compact = new_topic(admin, "compact", cleanup_policy="compact")
    (report,) = send(client, {"topic": compact, "value": b"no key"})
    assert report.code() == confluent_kafka.KafkaError.INVALID_RECORD


def test_positions_watermarks_times_and_seeks(broker: Broker, admin: AdminClient) -> None:
    topic = new_topic(admin, "placed")
    send(
        producer(broker),
        *({"topic": topic, "value": b"%d" % n, "timestamp": NOW_MS + 10 * n} for n in range(20)),
    )
    client = consumer(broker, "placed")
    assert client.get_watermark_offsets(TopicPartition(topic, 0), 10) == (0, 20)
    (found,) = client.offsets_for_times([TopicPartition(topic, 0, NOW_MS + 45)], 10)
    assert found.offset == 5
    (found,) = client.offsets_for_times([TopicPartition(topic, 0, NOW_MS + 4500)], 10)
    assert found.offset == confluent_kafka.OFFSET_END
    client.assign([TopicPartition(topic, 0, confluent_kafka.OFFSET_BEGINNING)])
    assert values(take(client, 2)) == [b"0", b"1"]
    client.seek(TopicPartition(topic, 0, 17))
    assert values(take(client, 3)) == [b"17", b"18", b"19"]
    (place,) = client.position([TopicPartition(topic, 0)])
    assert place.offset == 20
    client.pause([TopicPartition(topic, 0)])
    client.seek(TopicPartition(topic, 0, 3))
    assert client.consume(5, 0.3) == []
    client.resume([TopicPartition(topic, 0)])
    client.seek(TopicPartition(topic, 0, 3))
    assert values(take(client, 1)) == [b"3"]
    client.close()


def test_offset_out_of_range_is_reset_or_told(broker: Broker, admin: AdminClient) -> None:
    topic = new_topic(admin, "ranged")
    produce_lines(broker.bootstrap, topic, ["a", "b"], 1)
    client = consumer(broker, "ranged")
    client.assign([TopicPartition(topic, 0, 77)])
    assert values(take(client, 2)) == [b"a", b"b"]
    client.close()
    strict = consumer(broker, "ranged", **{"auto.offset.reset": "error"})
    strict.assign([TopicPartition(topic, 0, 77)])
    message = wait_for(lambda: strict.poll(0.2), what="an error")
    assert message.error().code() == confluent_kafka.KafkaError._AUTO_OFFSET_RESET
    strict.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pattern_finds_topics_that_are_made_later(
    broker: Broker, admin: AdminClient, protocol: str
) -> None:
    new_topic(admin, f"pattern-{protocol}-1")
    more = {"topic.metadata.refresh.interval.ms": 200, "group.protocol": protocol}
    client = consumer(broker, f"pattern-{protocol}", **more)
    client.subscribe([f"^pattern-{protocol}-[0-9]$"])

    def owned() -> set[str]:
        client.poll(0.1)
        return {each.topic for each in client.assignment()}

    wait_for(lambda: owned() == {f"pattern-{protocol}-1"}, what="the first topic")
    new_topic(admin, f"pattern-{protocol}-2")
    wait_for(lambda: len(owned()) == 2, what="the second topic")
    client.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_static_member_comes_back_to_its_partitions(
    broker: Broker, admin: AdminClient, protocol: str
) -> None:
    topic = new_topic(admin, f"static-{protocol}", 4)
    revoked: list[TopicPartition] = []

    def member(name: str) -> confluent_kafka.Consumer:
        static = {"group.instance.id": name, "group.protocol": protocol}
        client = consumer(broker, topic, **static)
        client.subscribe([topic], on_revoke=lambda _, parts: revoked.extend(parts))
        return client

    stays, leaves = member("stays"), member("leaves")

    def halves(*clients: confluent_kafka.Consumer) -> bool:
        for each in clients:
            each.poll(0.1)
        return [len(each.assignment()) for each in clients] == [2, 2]

    wait_for(lambda: halves(stays, leaves), 60, "two halves")
    before = {each.partition for each in leaves.assignment()}
    leaves.close()
    revoked.clear()
    back = member("leaves")
    wait_for(lambda: halves(stays, back), 60, "two halves again")
    assert {each.partition for each in back.assignment()} == before
    assert revoked == []
    back.close()
    stays.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_stored_offsets_are_committed_with_their_metadata(
    broker: Broker, admin: AdminClient, protocol: str
) -> None:
    topic = new_topic(admin, f"stored-{protocol}")
    produce_lines(broker.bootstrap, topic, [str(number) for number in range(10)], 1)
    settings = {"enable.auto.offset.store": False, "group.protocol": protocol}
    client = consumer(broker, topic, **settings)
    client.subscribe([topic])
    messages = take(client, 10)
    client.store_offsets(message=messages[3])
    client.commit(asynchronous=False)
    client.commit(offsets=[TopicPartition(topic, 0, 5, "so far")], asynchronous=False)
    (found,) = client.committed([TopicPartition(topic, 0)], 10)
    assert (found.offset, found.metadata) == (5, "so far")
    client.close()
    heir = consumer(broker, topic, **{"group.protocol": protocol})
    heir.subscribe([topic])
    assert values(take(heir, 1)) == [b"5"]
    heir.close()


def test_automatic_commits_are_made_on_close(broker: Broker, admin: AdminClient) -> None:
    topic = new_topic(admin, "automatic")
    produce_lines(broker.bootstrap, topic, ["a", "b", "c"], 1)
    client = consumer(broker, topic, **{"enable.auto.commit": True})
    client.subscribe([topic])
    take(client, 2)
    client.close()
    (found,) = consumer(broker, topic).committed([TopicPartition(topic, 0)], 10)
    assert found.offset in {2, 3}


def test_topics_are_made_checked_and_refused(broker: Broker, admin: AdminClient) -> None:
    error = confluent_kafka.KafkaError
    checked = admin.create_topics([NewTopic("checked", 2, 1)], validate_only=True)
    checked["checked"].result(30)
    assert "checked" not in admin.list_topics(timeout=30).topics
    wanted = [
        NewTopic("good", 2, 1),
        NewTopic("wide", 2, 3),
        NewTopic("bad name!", 1, 1),
        NewTopic("odd", 1, 1, config={"bogus": "1"}),
        NewTopic("placed-by-hand", 3, replica_assignment=[[1], [1], [1]]),
    ]
    made = admin.create_topics(wanted)
    made["good"].result(30)
    made["placed-by-hand"].result(30)
    assert refusal(made["wide"]) == error.INVALID_REPLICATION_FACTOR
    assert refusal(made["bad name!"]) == error.TOPIC_EXCEPTION
    assert refusal(made["odd"]) == error.INVALID_CONFIG
    assert refusal(admin.create_topics([NewTopic("good", 2, 1)])["good"]) == (
        error.TOPIC_ALREADY_EXISTS
    )
    assert len(admin.list_topics("placed-by-hand", 30).topics["placed-by-hand"].partitions) == 3
    more = admin.create_partitions([NewPartitions("good", 5)])
    more["good"].result(30)
    fewer = admin.create_partitions([NewPartitions("good", 4), NewPartitions("absent", 4)])
    assert refusal(fewer["good"]) == error.INVALID_PARTITIONS
    assert refusal(fewer["absent"]) == error.UNKNOWN_TOPIC_OR_PART
    asked = confluent_kafka.TopicCollection(["good"])

    def leaders() -> list[int]:
        described = admin.describe_topics(asked)["good"].result(30)
        return [each.leader.id for each in described.partitions]

    wait_for(lambda: leaders() == [1] * 5, what="five partitions")
    gone = admin.delete_topics(["good", "absent"])
    gone["good"].result(30)
    assert refusal(gone["absent"]) == error.UNKNOWN_TOPIC_OR_PART


def test_configs_are_set_appended_and_subtracted(broker: Broker, admin: AdminClient) -> None:
    new_topic(admin, "tuned", retention_ms="77000")

    def change(name: str, op: AlterConfigOpType, value: str | None) -> Any:
        entry = ConfigEntry(name, value, incremental_operation=op)
        resource = ConfigResource("topic", "tuned", incremental_configs=[entry])
        return admin.incremental_alter_configs([resource])[resource]

    def found(name: str) -> ConfigEntry:
        resource = ConfigResource("topic", "tuned")
        return admin.describe_configs([resource])[resource].result(30)[name]

    change("cleanup.policy", AlterConfigOpType.APPEND, "compact").result(30)
    assert found("cleanup.policy").value == "delete,compact"
    change("cleanup.policy", AlterConfigOpType.SUBTRACT, "delete").result(30)
    assert found("cleanup.policy").value == "compact"
    change("retention.ms", AlterConfigOpType.DELETE, None).result(30)
    assert found("retention.ms").is_default
    assert refusal(change("retention.ms", AlterConfigOpType.SET, "x")) == (
        confluent_kafka.KafkaError.INVALID_CONFIG
    )
    assert refusal(change("retention.ms", AlterConfigOpType.APPEND, "7")) == (
        confluent_kafka.KafkaError.INVALID_CONFIG
    )


def test_offsets_are_listed_and_records_deleted(broker: Broker, admin: AdminClient) -> None:
    topic = new_topic(admin, "listed")
    times = [NOW_MS, NOW_MS + 500, NOW_MS + 100]
    send(producer(broker), *({"topic": topic, "value": b"v", "timestamp": at} for at in times))
    part = TopicPartition(topic, 0)

    def offset(spec: OffsetSpec) -> int:
        return int(admin.list_offsets({part: spec})[part].result(30).offset)

    assert [offset(OffsetSpec.earliest()), offset(OffsetSpec.latest())] == [0, 3]
    assert offset(OffsetSpec.max_timestamp()) == 1
    assert offset(OffsetSpec.for_timestamp(NOW_MS + 50)) == 1
    deleted = admin.delete_records([TopicPartition(topic, 0, 2)])
    (result,) = deleted.values()
    assert result.result(30).low_watermark == 2
    assert offset(OffsetSpec.earliest()) == 2
    (result,) = admin.delete_records([TopicPartition(topic, 0, 99)]).values()
    assert refusal(result) == confluent_kafka.KafkaError.OFFSET_OUT_OF_RANGE


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_groups_are_described_altered_and_deleted(
    broker: Broker, admin: AdminClient, protocol: str
) -> None:
    topic = group = f"administered-{protocol}"
    new_topic(admin, topic)
    produce_lines(broker.bootstrap, topic, ["a", "b"], 1)
    config = {"group.protocol": protocol, "client.id": "its-client"}
    client = consumer(broker, group, **config)
    client.subscribe([topic])
    take(client, 2)
    client.commit(asynchronous=False)
    listed = {each.group_id: each for each in admin.list_consumer_groups().result(30).valid}
    assert listed[group].state.name == "STABLE"
    assert listed[group].type.name == protocol.upper()
    described = admin.describe_consumer_groups([group])[group].result(30)
    (member,) = described.members
    assert member.client_id == "its-client"
    assert member.assignment.topic_partitions == [TopicPartition(topic, 0)]
    assert described.coordinator.id == 1
    error = confluent_kafka.KafkaError
    assert refusal(admin.delete_consumer_groups([group])[group]) == error.NON_EMPTY_GROUP
    client.close()
    wanted = confluent_kafka.ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 1)])
    admin.alter_consumer_group_offsets([wanted])[group].result(30)
    asked = confluent_kafka.ConsumerGroupTopicPartitions(group)
    (place,) = admin.list_consumer_group_offsets([asked])[group].result(30).topic_partitions
    assert place.offset == 1
    admin.delete_consumer_groups([group])[group].result(30)
    assert refusal(admin.delete_consumer_groups([group])[group]) == error.GROUP_ID_NOT_FOUND


def test_cluster_is_described(broker: Broker, admin: AdminClient) -> None:
    described = admin.describe_cluster().result(30)
    assert [f"{each.host}:{each.port}" for each in described.nodes] == [broker.bootstrap]
    assert described.controller.id == 1
    assert described.cluster_id == admin.list_topics(timeout=30).cluster_id


def test_commit_within_a_group_of_another_member_is_refused(
    broker: Broker, admin: AdminClient
) -> None:
    topic = new_topic(admin, "owned")
    produce_lines(broker.bootstrap, topic, ["a"], 1)
    client = consumer(broker, "owned")
    client.subscribe([topic])
    take(client, 1)
    stranger = consumer(broker, "owned")
    with pytest.raises(confluent_kafka.KafkaException) as caught:
        stranger.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
    assert caught.value.args[0].code() == confluent_kafka.KafkaError.UNKNOWN_MEMBER_ID
    stranger.close()
    client.close()


def test_topic_that_nobody_made_is_made_by_producing(broker: Broker, admin: AdminClient) -> None:
    (report,) = send(producer(broker), {"topic": "made-by-use", "value": b"v"})
    assert (report.partition(), report.offset()) == (0, 0)
    create_topics(broker.bootstrap, 1, "made-on-purpose")
    assert {"made-by-use", "made-on-purpose"} <= admin.list_topics(timeout=30).topics.keys()
