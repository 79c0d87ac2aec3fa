"""We read what Apache Kafka wrote, internal topics and the metadata log, and it reads our groups.

One node lives through everything that makes a record: groups of each kind, transactions of each
version and outcome, and what an administrator can do without security. Each record is decoded here
and encoded again; both times the bytes must be Kafka's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import confluent_kafka
import pytest

from streamkit.broker.coordinators.group import records as group
from streamkit.broker.coordinators.transaction import records as transaction
from streamkit.broker.coordinators.transaction.model import TransactionState
from streamkit.broker.kraft import frame
from streamkit.broker.kraft.image import MetadataImage
from streamkit.broker.kraft.snapshot import decode_snapshot
from streamkit.records import DecodedBatch, decode, scan
from streamkit.testing.broker import Broker
from tests.foreign import ASK_TIMEOUT_S, ApacheKafka, create_topics, produce_lines, until_answered
from tests.harness import wait_for
from tests.judges import test_offsets_log as streams
from tests.judges.conftest import KafkaTool
from tests.judges.test_java_tools import Tools

pytestmark = pytest.mark.judge

GROUP_SETTINGS = {
    **streams.SETTINGS,
    # Static members stay in their group when they close, until their session ends.
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "500",
}
SETTINGS = {
    **GROUP_SETTINGS,
    "transactional.id.expiration.ms": "15000",
    "transaction.remove.expired.transaction.cleanup.interval.ms": "500",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    "metadata.log.max.record.bytes.between.snapshots": "4000",
}
COUNT = 60
LATE_MS = 1500

GROUP_TYPES = {
    1: "an offset",
    2: "a classic group",
    3: "a consumer group",
    4: "a consumer group's topics, which are deleted only",
    5: "a consumer group's member",
    6: "a consumer group's target",
    7: "a consumer member's target",
    8: "a consumer member's assignment",
    16: "a consumer group's regular expression",
    17: "a streams group",
    19: "a streams group's member",
    20: "a streams group's target",
    21: "a streams member's target",
    22: "a streams member's assignment",
    23: "a streams group's topology",
}
"""Key 0 was written by older versions only, 18 by none; 9 to 15 are of share groups."""

METADATA_RECORDS = {
    "BrokerRegistrationChangeRecord",
    "BeginTransactionRecord",
    "ClearElrRecord",
    "ClientQuotaRecord",
    "ConfigRecord",
    "EndTransactionRecord",
    "FeatureLevelRecord",
    "NoOpRecord",
    "PartitionChangeRecord",
    "PartitionRecord",
    "ProducerIdsRecord",
    "RegisterBrokerRecord",
    "RegisterControllerRecord",
    "RemoveTopicRecord",
    "RemoveUserScramCredentialRecord",
    "TopicRecord",
    "UnregisterBrokerRecord",
    "UserScramCredentialRecord",
}
"""The others belong to access control, delegation tokens, ZooKeeper, or several brokers."""


class Load:
    """What is done to the node."""

    def __init__(self, bootstrap: str, tools: Tools, kafka_tool: KafkaTool) -> None:
        self.bootstrap = bootstrap
        self._tools = tools
        self._kafka_tool = kafka_tool

    def tool(self, command: str) -> None:
        """Run one of Kafka's tools, successfully."""
        status, *said = self._tools.run(self.bootstrap, command)
        assert status == "exit 0", f"{command}: {said}"

    def member(self, name: str, topic: str, **config: object) -> confluent_kafka.Consumer:
        """A member of a group that has read all records and committed."""
        base = {"bootstrap.servers": self.bootstrap, "group.id": name, "client.id": "c-7"}
        more = {"auto.offset.reset": "earliest", "enable.auto.commit": False}
        consumer = confluent_kafka.Consumer({**base, **more, **config})
        consumer.subscribe([topic])
        return consumer

    def read(self, *consumers: confluent_kafka.Consumer) -> None:
        """Have them read everything between them, and commit."""
        seen = 0

        def is_done() -> bool:
            nonlocal seen
            for each in consumers:
                seen += len([m for m in each.consume(COUNT, 0.1) if m.error() is None])
            return seen >= COUNT and all(each.assignment() for each in consumers)

        wait_for(is_done, 90, f"every record of {len(consumers)} members")
        for each in consumers:
            (place, *_) = each.position(each.assignment())
            place = confluent_kafka.TopicPartition(place.topic, place.partition, 7, "metadata")
            each.commit(offsets=[place], asynchronous=False)

    def wait_coordinator(self, name: str) -> None:
        """Wait until the coordinator of a group has loaded."""
        consumer = confluent_kafka.Consumer({"bootstrap.servers": self.bootstrap, "group.id": name})
        at = [confluent_kafka.TopicPartition("data", 0)]
        until_answered(lambda: consumer.committed(at, ASK_TIMEOUT_S))
        consumer.close()

    def delete_group(self, name: str, *before: str) -> None:
        """Delete a group as soon as its last member is gone."""
        states = "consumer-groups --list --state empty"
        wait_for(lambda: any(name in line for line in self._tools.run(self.bootstrap, states)))
        for command in (*before, "consumer-groups --delete"):
            self.tool(f"{command} --group {name}")

    def prepare(self) -> None:
        """Make the topics, and the records of one of them."""
        create_topics(self.bootstrap, 3, "data", "target")
        create_topics(self.bootstrap, streams.PARTITIONS, *streams.TOPICS)
        produce_lines(self.bootstrap, "data", [f"line {n}" for n in range(COUNT)], 3)

    def groups(self) -> None:
        """A group of each kind."""
        self.classic_group()
        self.streams_group()
        self.consumer_group()

    def delete_groups(self) -> None:
        """Delete the groups, once the last static member is gone."""
        self.delete_group("classic", "consumer-groups --delete-offsets --topic data:0")
        self.delete_group("consumer")

    def classic_group(self) -> None:
        first = self.member("classic", "data")
        static = {"group.instance.id": "static-7", "session.timeout.ms": 6000}
        second = self.member("classic", "data", **static)
        self.read(first, second)
        first.close()
        second.close()

    def consumer_group(self) -> None:
        new = {"group.protocol": "consumer"}
        first = self.member("consumer", "^da.a$", **new, **{"client.rack": "r-7"})
        # Were the classic member the first, the group would be another one's: a classic one that is
        # converted, which leaves other records, and which Kafka may fail to convert just then.
        list_new = "consumer-groups --list --type consumer"

        def is_there() -> bool:
            lines = self._tools.run(self.bootstrap, list_new)
            return any(line.split()[:1] == ["consumer"] for line in lines)

        wait_for(is_there)
        second = self.member("consumer", "data", **new, **{"group.instance.id": "static-8"})
        old = self.member("consumer", "data")
        self.read(first, second, old)
        for each in (old, first, second):
            each.close()

    def streams_group(self) -> None:
        """Two members share the tasks, hand some over, commit and leave."""
        self.wait_coordinator(streams.GROUP)
        run = streams.Run(self.bootstrap)
        for name in "a", "a", "b", "b", "a", "a", "b", "b", "a":
            if name in run.members:
                run.beat(name)
            else:
                run.join(name)
        run.commit("a", run.members["a"].member_epoch, 0)
        for name in "a", "b":
            run.members[name].leave(run.now_ms)
            run.beat(name)
        run.connection.close()
        at = ("--bootstrap-server", self.bootstrap, "--group", streams.GROUP)
        self._kafka_tool("streams-groups", *at, "--delete")

    def transactions(self, name: str) -> None:
        """A producer that commits and aborts, and one that is too late."""
        config = {"bootstrap.servers": self.bootstrap}
        producer = confluent_kafka.Producer({**config, "transactional.id": name})
        producer.init_transactions(60)
        for end in (producer.commit_transaction, producer.abort_transaction):
            producer.begin_transaction()
            producer.produce("target", b"x", partition=1)
            consumer = confluent_kafka.Consumer({**config, "group.id": "in-transactions"})
            offsets = [confluent_kafka.TopicPartition("data", 2, 7)]
            metadata = consumer.consumer_group_metadata()
            producer.send_offsets_to_transaction(offsets, metadata, 60)
            producer.flush(60)
            consumer.close()
            end(60)
        late = {"transactional.id": f"{name}-late", "transaction.timeout.ms": LATE_MS}
        producer = confluent_kafka.Producer({**config, **late})
        producer.init_transactions(60)
        producer.begin_transaction()
        producer.produce("target", b"x", partition=1)
        producer.flush(60)

    def copier(self) -> None:
        """Java's client, which knows transaction.version 2."""
        self._kafka_tool(
            "transactional-copier", "--broker-list", self.bootstrap, "--input-topic", "data",
            "--output-topic", "target", "--input-partition", "0", "--consumer-group", "copiers",
            "--transactional-id", "new", "--max-messages", "20", "--transaction-size", "4",
            "--enable-random-aborts",
        )  # fmt: skip

    def administration(self) -> None:
        for command in ADMINISTRATION.strip().splitlines():
            self.tool(command)


ADMINISTRATION = """
topics --create --topic gone --partitions 2 --config retention.ms=77000
topics --alter --topic gone --partitions 4
configs --entity-type topics --entity-name gone --alter --add-config min.insync.replicas=2
configs --entity-type topics --entity-name gone --alter --delete-config retention.ms
topics --delete --topic gone
configs --entity-type brokers --entity-name 1 --alter --add-config log.retention.ms=7777777
configs --entity-type brokers --entity-default --alter --add-config min.insync.replicas=1
configs --entity-type groups --entity-name g --alter --add-config streams.num.standby.replicas=1
configs --entity-type client-metrics --entity-name m --alter --add-config interval.ms=10000
configs --entity-type users --entity-name u --alter --add-config producer_byte_rate=1024
configs --entity-type users --entity-default --alter --add-config consumer_byte_rate=2048
configs --entity-type clients --entity-name c --alter --add-config request_percentage=50
configs --entity-type ips --entity-name 127.0.0.9 --alter --add-config connection_creation_rate=9
configs --entity-type clients --entity-name c --alter --delete-config request_percentage
configs --entity-type users --entity-name u --alter --add-config SCRAM-SHA-512=[password=secret]
configs --entity-type users --entity-name u --alter --delete-config SCRAM-SHA-512
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, kafka_tool: KafkaTool) -> Iterator[Path]:
    """The directory that Kafka leaves after such a life."""
    settings = [f"{key}={value}" for key, value in SETTINGS.items()]
    with ApacheKafka(tmp_path_factory.mktemp("kafka"), *settings) as kafka:
        tools = Tools()
        load = Load(kafka.bootstrap, tools, kafka_tool)
        load.prepare()
        load.groups()
        load.copier()
        load.transactions("version-2")
        load.tool("features downgrade --feature transaction.version=0")
        load.transactions("version-0")
        load.administration()
        load.delete_groups()
        kafka.stop()
        kafka.start()
        wait_for(lambda: has_tombstone(kafka.data), 60, "transactional ids that expire")
        load.tool("cluster unregister --id 1")
        tools.close()
        kafka.kill()
        yield kafka.data


def batches(data: Path, topic: str) -> Iterator[DecodedBatch]:
    """The batches of a topic's logs, control batches left out."""
    for path in sorted(data.glob(f"{topic}-*/*.log")):
        stored = path.read_bytes()
        for header in scan(stored):
            if not header.is_control:
                yield decode(stored, header)


def rows(data: Path, topic: str) -> Iterator[tuple[bytes, bytes | None]]:
    """Keys and values of a topic."""
    for batch in batches(data, topic):
        for key, value in zip(batch.keys, batch.values, strict=True):
            yield key or b"", value


def has_tombstone(data: Path) -> bool:
    return any(value is None for _, value in rows(data, "__transaction_state"))


def version_of(value: bytes | None) -> int:
    return -1 if value is None else int.from_bytes(value[:2], "big")


def test_every_kind_of_group_record(data: Path) -> None:
    seen: set[tuple[int, int]] = set()
    for key, value in rows(data, "__consumer_offsets"):
        record = group.decode(key, value)
        assert record is not None, key
        assert (group.encode_key(record.key), group.encode_value(record)) == (key, value)
        seen.add((int.from_bytes(key[:2], "big"), version_of(value)))
    assert {number for number, _ in seen} == GROUP_TYPES.keys()
    assert {number for number, version in seen if version < 0} == GROUP_TYPES.keys()


def test_every_kind_of_transaction_record(data: Path) -> None:
    seen: set[tuple[int, str]] = set()
    for key, value in rows(data, "__transaction_state"):
        record = transaction.decode(key, value)
        assert record is not None, key
        assert transaction.encode(record, max(version_of(value), 0)) == (key, value)
        state = record.transaction.state.name if record.transaction else "forgotten"
        seen.add((version_of(value), state))
    states = {state.name for state in TransactionState} - {"DEAD", "PREPARE_EPOCH_FENCE"}
    assert {state for version, state in seen if version == 1} == states
    assert {state for version, state in seen if version == 0} == states
    assert (-1, "forgotten") in seen


def test_every_kind_of_metadata_record(data: Path) -> None:
    seen: dict[str, int] = {}
    image = MetadataImage()
    for batch in batches(data, "__cluster_metadata"):
        records = [frame.decode_record(value or b"") for value in batch.values]
        assert [frame.encode_record(record) for record in records] == list(batch.values)
        for record in records:
            seen[type(record).__name__] = seen.get(type(record).__name__, 0) + 1
        header = batch.header
        image, _ = image.apply(records, offset=header.last_offset, epoch=header.leader_epoch)
    assert seen.keys() == METADATA_RECORDS
    assert "target" in image.topics
    assert "gone" not in image.topics


def test_snapshots(data: Path) -> None:
    paths = sorted((data / "__cluster_metadata-0").glob("*.checkpoint"))
    assert len(paths) >= 2
    snapshots = [decode_snapshot(path.read_bytes(), where=path.name) for path in paths]
    names = {type(record).__name__ for snapshot in snapshots for record in snapshot.records}
    assert names >= {"TopicRecord", "PartitionRecord", "ConfigRecord", "RegisterBrokerRecord"}


DUMPED = re.compile(r"key: (\{.*?\}\}) payload: (.*)$")


def shapes(kafka_tool: KafkaTool, data: Path) -> set[tuple[str, str | None, tuple[str, ...]]]:
    """What Kafka's tool reads: types, versions of values, and names of their fields."""
    files = [str(path) for path in data.glob("__consumer_offsets-*/*.log") if path.stat().st_size]
    said = kafka_tool("dump-log", "--offsets-decoder", "--files", ",".join(files))
    assert "isvalid: false" not in said
    found = set()
    for line in said.splitlines():
        match = DUMPED.search(line)
        if match is None:
            continue
        value = None if match[2] == "<DELETE>" else json.loads(match[2])
        names = () if value is None else tuple(sorted(value["data"]))
        version = None if value is None else value["version"]
        found.add((json.loads(match[1])["type"], version, names))
    return found


def test_kafka_reads_our_groups_as_its_own(
    data: Path, kafka_tool: KafkaTool, tmp_path: Path
) -> None:
    with Broker(str(tmp_path), GROUP_SETTINGS) as broker:
        tools = Tools()
        load = Load(broker.bootstrap, tools, kafka_tool)
        load.prepare()
        load.groups()
        load.copier()
        load.transactions("ours")
        load.delete_groups()
        tools.close()
        broker.stop()
        ours = shapes(kafka_tool, tmp_path)
        broker.start()
    assert ours == shapes(kafka_tool, data)
