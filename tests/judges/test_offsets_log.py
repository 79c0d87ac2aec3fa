"""`__consumer_offsets` against Apache Kafka: the same heartbeats leave the same records.

Members of a streams group join, hand tasks over, commit and leave, on Apache Kafka and on our
broker. Kafka's tool reads both logs, we read and rewrite Kafka's byte for byte, and a broker of
ours goes on from its own log after a restart.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kio.schema.offset_commit.v9.request import OffsetCommitRequest
from kio.schema.streams_group_describe.v0.request import StreamsGroupDescribeRequest

from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.coordinator import partition_for_group
from streamkit.protocol import messages
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.versions import fill
from streamkit.rebalance.effects import Assign
from streamkit.rebalance.member import MemberState, StreamsMember
from streamkit.rebalance.rules import GroupSubtopology, GroupTopology, InternalTopic
from streamkit.records import decode, scan
from streamkit.testing.broker import Broker
from tests.harness import wait_for
from tests.judges.conftest import KAFKA, KafkaTool
from tests.ports import free_ports

pytestmark = pytest.mark.judge

GROUP = "g-judge"
PARTITIONS = 4
TOPICS = ("text", "g-judge-words-repartition", "g-judge-counts-changelog")
TOPOLOGY = GroupTopology(
    5,
    (
        GroupSubtopology("0", TOPICS[:1], (), TOPICS[1:2]),
        GroupSubtopology("1", (), (InternalTopic(TOPICS[1]),), (), (InternalTopic(TOPICS[2]),)),
    ),
)
SETTINGS = {
    "offsets.topic.num.partitions": str(PARTITIONS),
    "group.streams.initial.rebalance.delay.ms": "0",
    "group.streams.assignment.interval.ms": "0",
    "group.streams.num.standby.replicas": "1",
    "group.streams.session.timeout.ms": "45000",
}
DIFFERS = ("metadataHash", "assignmentTimestamp", "commitTimestamp", "topicId")
LINE = re.compile(r"key: (\{.*?\}\}) payload: (.*)$")


class Connection:
    """One request at a time over a plain socket."""

    def __init__(self, bootstrap: str) -> None:
        host, _, port = bootstrap.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._sent = 0

    def call(self, message: Any) -> Any:
        self._sent += 1
        frame = b"".join([messages.encode_request(self._sent, "judge", message)])
        self._socket.sendall(len(frame).to_bytes(4, "big") + frame)
        size = int.from_bytes(self._receive(4), "big")
        api, version = int(message.__api_key__), int(message.__version__)
        return messages.decode_response(api, version, self._receive(size))[1]

    def close(self) -> None:
        self._socket.close()

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self._socket.recv(size - len(data))
            assert piece, "the broker closed the connection"
            data += piece
        return data


@dataclass
class Run:
    """One group's life against one broker; time is made up, so heartbeats are always due."""

    bootstrap: str
    now_ms: float = 0.0
    members: dict[str, StreamsMember] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.connection = Connection(self.bootstrap)

    def join(self, name: str) -> None:
        member = StreamsMember(GROUP, name, f"p-{name}", TOPOLOGY, 60_000, endpoint=("h-1", 81))
        self.members[name] = member
        # The coordinator may have to be loaded first.
        wait_for(lambda: self.beat(name) or member.state is not MemberState.JOINING)

    def beat(self, name: str) -> None:
        member = self.members[name]
        self.now_ms += 100_000
        request = member.poll(self.now_ms)
        assert request is not None
        for effect in member.on_response(self.connection.call(request), self.now_ms):
            if isinstance(effect, Assign):
                member.reconciled(effect.active, effect.standby)

    def commit(self, name: str, epoch: int, partition: int) -> ErrorCode:
        offset = {"partition_index": partition, "committed_offset": 77, "committed_metadata": "m"}
        request = fill(
            OffsetCommitRequest,
            {
                "group_id": GROUP,
                "generation_id_or_member_epoch": epoch,
                "member_id": name,
                "topics": [{"name": TOPICS[0], "partitions": [offset]}],
            },
        )
        code: ErrorCode = self.connection.call(request).topics[0].partitions[0].error_code
        return code

    def describe(self) -> Any:
        request = fill(StreamsGroupDescribeRequest, {"group_ids": (GROUP,)})
        return self.connection.call(request).groups[0]


def create_topics(bootstrap: str) -> None:
    """Make the group's topics, and have the offsets topic made by asking for an offset."""
    from confluent_kafka import Consumer, TopicPartition
    from confluent_kafka.admin import AdminClient, NewTopic

    from tests.foreign import ASK_TIMEOUT_S, until_answered

    admin = AdminClient({"bootstrap.servers": bootstrap})
    for done in admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in TOPICS]).values():
        done.result(30)
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP})
    until_answered(lambda: consumer.committed([TopicPartition(TOPICS[0], 0)], ASK_TIMEOUT_S))
    consumer.close()


def live(bootstrap: str) -> list[str]:
    """A group's life; what was answered, as text."""
    create_topics(bootstrap)
    run = Run(bootstrap)
    told = []
    for name in "a", "a", "b", "b", "a", "a", "b", "b", "a":
        if name in run.members:
            run.beat(name)
        else:
            run.join(name)
        member = run.members[name]
        owned = [sorted(member.owned.active), sorted(member.owned.standby)]
        told.append(f"{name} {member.state.value} {member.member_epoch} {owned}")
    for epoch, partition in (3, 0), (2, 0), (2, 3), (1, 0), (9, 0):
        told.append(f"commit {epoch} {partition} {run.commit('a', epoch, partition).name}")
    group = run.describe()
    members = sorted((each.member_id, each.member_epoch) for each in group.members)
    told.append(f"{group.group_state} {group.group_epoch} {group.assignment_epoch} {members}")
    for name in "a", "b":
        run.members[name].leave(run.now_ms)
        run.beat(name)
    told.append(run.describe().group_state)
    run.connection.close()
    return told


def log_of(data: Path) -> Path:
    partition = partition_for_group(GROUP, PARTITIONS)
    return data / f"__consumer_offsets-{partition}" / "00000000000000000000.log"


def dumped(kafka_tool: KafkaTool, log: Path) -> list[list[tuple[Any, Any]]]:
    """The records that Kafka's tool reads, by batch, without what has to differ."""
    batches: list[list[tuple[Any, Any]]] = []
    for line in kafka_tool("dump-log", "--offsets-decoder", "--files", str(log)).splitlines():
        if line.startswith("baseOffset:"):
            assert "isvalid: true" in line
            batches.append([])
        found = LINE.search(line)
        if found is not None:
            payload = found.group(2)
            value = None if payload == "<DELETE>" else json.loads(payload)["data"]
            for name in DIFFERS if value is not None else ():
                value.pop(name, None)
            batches[-1].append((json.loads(found.group(1)), value))
    return [sorted(batch, key=str) for batch in batches]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An Apache Kafka: where it answers and where its data lies."""
    directory = tmp_path_factory.mktemp("kafka")
    port = free_ports()
    settings = [f"{key}={value}" for key, value in SETTINGS.items()]
    subprocess.run([str(KAFKA), "start", str(directory), str(port), *settings], check=True)
    yield f"127.0.0.1:{port}", directory / "data"
    subprocess.run([str(KAFKA), "stop", str(directory)], check=True)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    data = tmp_path_factory.mktemp("ours")
    with Broker(str(data), SETTINGS) as broker:
        yield broker


def test_same_heartbeats_get_the_same_answers_and_leave_the_same_records(
    kafka: tuple[str, Path], ours: Broker, kafka_tool: KafkaTool
) -> None:
    bootstrap, data = kafka
    assert live(ours.bootstrap) == live(bootstrap)
    wanted = dumped(kafka_tool, log_of(data))
    assert dumped(kafka_tool, log_of(Path(ours.data))) == wanted
    types = {record[0]["type"] for batch in wanted for record in batch}
    assert types == {"1", "17", "19", "20", "21", "22", "23"}

    rewritten = 0
    stored = log_of(data).read_bytes()
    for header in scan(stored):
        batch = decode(stored, header)
        for key, value in zip(batch.keys, batch.values, strict=True):
            record = rec.decode(key or b"", value)
            assert record is not None
            assert rec.encode_key(record.key) == key
            assert rec.encode_value(record) == value
            rewritten += 1
    assert rewritten == sum(len(batch) for batch in wanted)


def test_group_goes_on_after_a_restart_of_the_broker() -> None:
    with Broker(config=SETTINGS) as broker:
        create_topics(broker.bootstrap)
        run = Run(broker.bootstrap)
        run.join("a")
        run.beat("a")
        before = run.describe()
        broker.kill()
        broker.start()
        again = Run(broker.bootstrap, run.now_ms, run.members)
        wait_for(lambda: again.describe().error_code is ErrorCode.none)
        assert again.describe().members == before.members
        member = run.members["a"]
        owned = member.owned
        assert not owned.is_empty
        again.beat("a")
        assert (member.state, member.owned) == (MemberState.STABLE, owned)
