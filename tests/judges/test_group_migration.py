"""A group of librdkafka's classic consumers that turns into a consumer group and back, online."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing

import confluent_kafka
import pytest
from confluent_kafka import ConsumerGroupState, ConsumerGroupType
from confluent_kafka.admin import AdminClient, ConsumerGroupDescription

from streamkit.testing.broker import Broker
from tests.foreign import create_topics, produce_lines

pytestmark = pytest.mark.judge

PARTITIONS = 6
EACH = 120
TIMEOUT_S = 60
CONSUMER = {"group.protocol": "consumer"}
HEARTBEAT_MS = "500"
QUICK_HEARTBEATS = {
    "group.consumer.heartbeat.interval.ms": HEARTBEAT_MS,
    "group.consumer.min.heartbeat.interval.ms": HEARTBEAT_MS,
    "group.consumer.session.timeout.ms": "45000",
}

Member = confluent_kafka.Consumer


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker(config=QUICK_HEARTBEATS) as running:
        yield running


class Group:
    """Members that are polled in turn, and every record that one of them got."""

    def __init__(self, broker: Broker, name: str) -> None:
        self.bootstrap = broker.bootstrap
        self.name = name
        self.members: list[Member] = []
        self.got: Counter[bytes] = Counter()
        self.sent = 0
        self._admin = AdminClient({"bootstrap.servers": self.bootstrap})
        create_topics(self.bootstrap, PARTITIONS, name)

    def join(self, config: Mapping[str, str]) -> None:
        member = Member(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": self.name,
                "auto.offset.reset": "earliest",
                "auto.commit.interval.ms": 100,
                **config,
            }
        )
        member.subscribe([self.name])
        self.members.append(member)

    def leave(self, position: int) -> None:
        self.members.pop(position).close()

    def read_more(self, kind: ConsumerGroupType) -> None:
        """Send, and poll until all of it came to a settled group of this kind.

        Before every member knows the group's epoch the last one of the new protocol may not go:
        the generation of the classic group would be unknown to the others, and their commits lost.
        """
        lines = [str(self.sent + each) for each in range(EACH)]
        self.sent += EACH
        produce_lines(self.bootstrap, self.name, lines, PARTITIONS)
        deadline = time.monotonic() + TIMEOUT_S
        while len(self.got) < self.sent or not self.has_settled():
            assert time.monotonic() < deadline, (len(self.got), self.sent, self.shares())
            for member in self.members:
                for message in member.consume(100, 0.05):
                    assert message.error() is None, message.error()
                    self.got[message.value()] += 1
        assert self.described().type is kind

    def has_settled(self) -> bool:
        share = PARTITIONS // len(self.members)
        is_even = self.shares() == [share] * len(self.members)
        return is_even and self.described().state is ConsumerGroupState.STABLE

    def shares(self) -> list[int]:
        return [len(member.assignment()) for member in self.members]

    def described(self) -> ConsumerGroupDescription:
        return self._admin.describe_consumer_groups([self.name])[self.name].result(TIMEOUT_S)

    def close(self) -> None:
        while self.members:
            self.leave(0)


def classic(strategy: str) -> dict[str, str]:
    return {"partition.assignment.strategy": strategy, "heartbeat.interval.ms": HEARTBEAT_MS}


@pytest.mark.parametrize(("strategy", "size"), [("range", 2), ("cooperative-sticky", 1)])
def test_a_group_migrates_and_goes_back_with_its_members_online(
    broker: Broker, strategy: str, size: int
) -> None:
    with closing(Group(broker, f"moving-{strategy}")) as group:
        for _ in range(size):
            group.join(classic(strategy))
        group.read_more(ConsumerGroupType.CLASSIC)
        group.join(CONSUMER)
        group.read_more(ConsumerGroupType.CONSUMER)
        group.leave(0)
        group.join(classic(strategy))
        group.read_more(ConsumerGroupType.CONSUMER)
        # The last member of the new protocol goes: the classic ones go on by themselves.
        group.leave(size - 1)
        group.read_more(ConsumerGroupType.CLASSIC)
    assert group.got == Counter(str(each).encode() for each in range(group.sent))


def test_a_group_with_user_data_in_its_assignments_does_not_migrate(broker: Broker) -> None:
    """From its second generation on librdkafka's sticky assignor has some; so with Apache Kafka."""
    with closing(Group(broker, "stuck")) as group:
        for _ in range(2):
            group.join(classic("cooperative-sticky"))
            group.read_more(ConsumerGroupType.CLASSIC)
        group.join(CONSUMER)
        refused = group.members.pop()
        message = refused.poll(TIMEOUT_S)
        assert message is not None
        assert "The group id does not exist" in str(message.error())
        refused.close()
        group.read_more(ConsumerGroupType.CLASSIC)
    assert group.got == Counter(str(each).encode() for each in range(group.sent))
