"""Dynamic broker configurations: Kafka's own tool says of our broker what it says of Kafka's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from streamkit.testing.broker import Broker
from tests.foreign import ApacheKafka
from tests.judges.conftest import KafkaTool

pytestmark = pytest.mark.judge

NOT_DYNAMIC_HERE = {"listeners"}
"""The socket is made at the start."""

SCRIPT = """
--entity-name 1 --alter --add-config log.retention.ms=7777777,log.cleanup.policy=[compact,delete]
--entity-default --alter --add-config log.retention.ms=8888888,message.max.bytes=2000000
--entity-default --alter --delete-config message.max.bytes --add-config max.connections.per.ip=500
--entity-default --describe
--entity-name 1 --describe --all
"""
LOOKED_AT = (
    "log.retention.ms", "log.cleaner.backoff.ms", "message.max.bytes", "log.cleanup.policy",
    "max.connections.per.ip", "compression.type", "log.segment.bytes",
)  # fmt: skip
"""Not min.insync.replicas: with eligible leader replicas Kafka sets that by itself."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Addresses: of Apache Kafka, and of our broker."""
    home: Path = tmp_path_factory.mktemp("kafka")
    with ApacheKafka(home / "node") as kafka, Broker() as broker:
        yield kafka.bootstrap, broker.bootstrap


def test_the_tool_sees_the_same(both: tuple[str, str], kafka_tool: KafkaTool) -> None:
    with ThreadPoolExecutor() as pool:
        theirs, ours = pool.map(partial(play, kafka_tool), both)
    assert ours == theirs
    assert any("DYNAMIC_BROKER_CONFIG:log.retention.ms=7777777" in line for line in ours)


def play(kafka_tool: KafkaTool, bootstrap: str) -> list[str]:
    """Run the script; what the tool says of some keys, with all their synonyms."""
    told: list[str] = []
    named = re.compile(rf"\s*({'|'.join(map(re.escape, LOOKED_AT))})=")
    for line in SCRIPT.strip().splitlines():
        said = kafka_tool(
            "configs", "--bootstrap-server", bootstrap, "--entity-type", "brokers", *line.split()
        )
        told += sorted(each for each in said.splitlines() if named.match(each))
    return told


def test_the_same_keys_are_dynamic(both: tuple[str, str]) -> None:
    theirs, ours = (describe(bootstrap) for bootstrap in both)
    shared = theirs.keys() & ours.keys()
    assert len(shared) > 90
    differing = {name for name in shared if theirs[name] != ours[name]}
    assert differing == NOT_DYNAMIC_HERE


def describe(bootstrap: str) -> dict[str, bool]:
    """Which configurations of a broker can only be read."""
    resource = ConfigResource(ConfigResource.Type.BROKER, "1")
    admin = AdminClient({"bootstrap.servers": bootstrap})
    found = admin.describe_configs([resource])
    return {name: entry.is_read_only for name, entry in found[resource].result(30).items()}
