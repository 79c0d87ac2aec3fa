"""Kafka's verifiable clients and its compatibility test, against our broker."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamkit.testing.broker import Broker
from tests.foreign import create_topics
from tests.harness import wait_for
from tests.judges.conftest import KAFKA, KafkaTool

pytestmark = pytest.mark.judge

PARTITIONS = 4
SESSION_TIMEOUT_MS = 4000
Event = dict[str, Any]


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    config = {
        "group.min.session.timeout.ms": "1000",
        "group.consumer.min.session.timeout.ms": "1000",
        "group.consumer.session.timeout.ms": str(SESSION_TIMEOUT_MS),
        "group.consumer.min.heartbeat.interval.ms": "100",
        "group.consumer.heartbeat.interval.ms": "500",
    }
    with Broker(config=config) as running:
        yield running


class Verifiable:
    """A verifiable client as a process; it tells what happens as lines of JSON, in a file."""

    def __init__(self, log: Path, tool: str, bootstrap: str, *options: str) -> None:
        self._log = log
        argv = [str(KAFKA), tool, "--bootstrap-server", bootstrap, *options]
        with log.open("wb") as output:
            self.process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT)

    def events(self, *names: str) -> list[Event]:
        """What it said under some names until now."""
        lines = self._log.read_text().splitlines()
        told = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [event for event in told if event["name"] in names]

    def partitions(self) -> set[int]:
        """The partitions it has."""
        owned: set[int] = set()
        for event in self.events("partitions_assigned", "partitions_revoked"):
            told = {each["partition"] for each in event["partitions"]}
            owned = owned | told if event["name"] == "partitions_assigned" else owned - told
        return owned

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


def values(events: list[Event]) -> set[int]:
    return {int(event["value"]) for event in events}


def test_client_compatibility(broker: Broker, kafka_tool: KafkaTool) -> None:
    supported = (
        "offsets-for-times-supported", "cluster-id-supported", "create-topics-supported",
        "describe-configs-supported", "idempotent-producer-supported",
    )  # fmt: skip
    options = [part for name in supported for part in (f"--{name}", "True")]
    said = kafka_tool(
        "client-compatibility", "--bootstrap-server", broker.bootstrap, "--topic", "compatible",
        *options, "--expect-record-too-large-exception", "False", "--num-cluster-nodes", "1",
        "--describe-acls-supported", "False",
    )  # fmt: skip
    assert said.endswith("SUCCESS.\n")


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_acknowledged_records_reach_a_group_through_kills(
    broker: Broker, tmp_path: Path, protocol: str
) -> None:
    """A member is killed, then the broker; the member that stays reads all there is."""
    topic, count = f"verified-{protocol}", 3000
    create_topics(broker.bootstrap, PARTITIONS, topic)
    wanted = ["--topic", topic, "--group-id", topic, "--group-protocol", protocol, "--verbose"]
    wanted += ["--reset-policy", "earliest"]
    if protocol == "classic":
        wanted += ["--session-timeout", str(SESSION_TIMEOUT_MS)]
    members = [
        Verifiable(tmp_path / f"member-{number}", "verifiable-consumer", broker.bootstrap, *wanted)
        for number in range(2)
    ]
    wait_for(lambda: [len(each.partitions()) for each in members] == [2, 2], 30, "two members")
    producer = Verifiable(
        tmp_path / "producer", "verifiable-producer", broker.bootstrap, "--topic", topic,
        "--max-messages", str(count), "--throughput", "400", "--acks", "-1",
    )  # fmt: skip

    def acked() -> int:
        return len(producer.events("producer_send_success"))

    try:
        wait_for(lambda: acked() > 500, what="records")
        members[0].process.kill()
        wait_for(lambda: len(members[1].partitions()) == PARTITIONS, what="all partitions")
        broker.kill()
        broker.start()
        assert producer.process.wait(120) == 0
        sent = values(producer.events("producer_send_success"))
        # It never retries, so it may have lost what was on its way to the broker.
        failed = values(producer.events("producer_send_error"))
        assert (sent | failed, sent & failed) == (set(range(count)), set())

        def seen() -> set[int]:
            return values([event for each in members for event in each.events("record_data")])

        wait_for(lambda: seen() >= sent, 60, "every record")
        assert seen() <= sent | failed
        commits = "offsets_committed"
        wait_for(
            lambda: [each["success"] for each in members[1].events(commits)][-1:] == [True],
            what="a commit after all",
        )
    finally:
        for each in (*members, producer):
            each.stop()


def test_performance_tools_run(broker: Broker, kafka_tool: KafkaTool) -> None:
    at = ("--bootstrap-server", broker.bootstrap)
    create_topics(broker.bootstrap, 1, "measured")
    said = kafka_tool(
        "producer-perf-test", *at, "--topic", "measured", "--num-records", "5000",
        "--record-size", "100", "--throughput", "-1",
    )  # fmt: skip
    assert said.startswith("5000 records sent")
    said = kafka_tool("consumer-perf-test", *at, "--topic", "measured", "--num-records", "5000")
    assert said.splitlines()[1].split(", ")[4] == "5000"
    said = kafka_tool(
        "e2e-latency", *at, "--topic", "latency", "--num-records", "100", "--producer-acks", "all",
        "--record-size", "20",
    )  # fmt: skip
    assert "Avg latency" in said
