"""Kafka's own tools administer our broker, and Kafka itself reads what we compacted."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import confluent_kafka
import pytest

from streamkit.testing.broker import Broker
from tests.foreign import create_topics, produce_lines, read_confluent
from tests.harness import wait_for
from tests.ports import free_ports

pytestmark = pytest.mark.judge

KafkaTool = Callable[..., str]
KAFKA = Path(__file__).parent / "kafka"
KEYS = 500
UPDATES = 60_000
VALUES = [random.Random(seed).randbytes(100) for seed in range(97)]
SETTINGS = {"log.cleaner.backoff.ms": "200", "log.segment.delete.delay.ms": "100"}
COMPACT = ("cleanup.policy=compact", "segment.bytes=1048576", "min.cleanable.dirty.ratio=0.1")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(str(tmp_path_factory.mktemp("admin") / "data"), SETTINGS) as running:
        yield running


def configs_of(text: str) -> dict[str, str]:
    """The `name=value` at the beginning of each line of `kafka configs`."""
    return dict(re.findall(r"^\s+([\w.]+)=(\S*) sensitive=", text, re.MULTILINE))


def test_topic_configs_are_set_described_and_deleted(broker: Broker, kafka_tool: KafkaTool) -> None:
    at = ("--bootstrap-server", broker.bootstrap)
    kafka_tool("topics", *at, "--create", "--topic", "set", "--config", "retention.ms=77000")
    topic = (*at, "--entity-type", "topics", "--entity-name", "set")
    kafka_tool("configs", *topic, "--alter", "--add-config", "cleanup.policy=[compact,delete]")
    assert configs_of(kafka_tool("configs", *topic, "--describe")) == {
        "retention.ms": "77000",
        "cleanup.policy": "compact,delete",
    }
    kafka_tool("configs", *topic, "--alter", "--delete-config", "retention.ms")
    text = kafka_tool("configs", *topic, "--describe", "--all")
    assert configs_of(text)["retention.ms"] == "604800000"
    assert "retention.ms=604800000 sensitive=false synonyms={}" in text


def test_broker_configs_change_while_it_runs(broker: Broker, kafka_tool: KafkaTool) -> None:
    at = ("--bootstrap-server", broker.bootstrap)
    default = (*at, "--entity-type", "brokers", "--entity-default")
    kafka_tool("configs", *default, "--alter", "--add-config", "log.segment.bytes=2097152")
    assert configs_of(kafka_tool("configs", *default, "--describe")) == {
        "log.segment.bytes": "2097152"
    }
    kafka_tool("topics", *at, "--create", "--topic", "inherits")
    topic = (*at, "--entity-type", "topics", "--entity-name", "inherits")
    text = kafka_tool("configs", *topic, "--describe", "--all")
    assert configs_of(text)["segment.bytes"] == "2097152"
    assert "DYNAMIC_DEFAULT_BROKER_CONFIG:log.segment.bytes=2097152" in text
    kafka_tool("configs", *default, "--alter", "--delete-config", "log.segment.bytes")


def test_group_configs_are_listed(broker: Broker, kafka_tool: KafkaTool) -> None:
    groups = ("--bootstrap-server", broker.bootstrap, "--entity-type", "groups")
    kafka_tool(
        "configs", *groups, "--entity-name", "app-7", "--alter", "--add-config",
        "streams.num.standby.replicas=2",
    )  # fmt: skip
    text = kafka_tool("configs", *groups, "--describe")
    assert "Dynamic configs for group app-7 are:" in text
    assert "DYNAMIC_GROUP_CONFIG:streams.num.standby.replicas=2" in text


def test_records_are_deleted_and_offsets_looked_up(
    broker: Broker, kafka_tool: KafkaTool, tmp_path: Path
) -> None:
    create_topics(broker.bootstrap, 1, "purged")
    produce_lines(broker.bootstrap, "purged", [f"line {n}" for n in range(100)], 1)
    at = ("--bootstrap-server", broker.bootstrap)
    wanted = tmp_path / "offsets.json"
    partition = {"topic": "purged", "partition": 0, "offset": 40}
    wanted.write_text(json.dumps({"version": 1, "partitions": [partition]}))
    text = kafka_tool("delete-records", *at, "--offset-json-file", str(wanted))
    assert "partition: purged-0\tlow_watermark: 40" in text

    def offset(when: str) -> str:
        text = kafka_tool("get-offsets", *at, "--topic", "purged", "--time", when).strip()
        return text.removeprefix("purged:0:")

    assert offset("earliest") == "40"
    assert offset("latest") == "100"
    assert offset("earliest-local") == "40"
    assert offset("max-timestamp") in {str(n) for n in range(40, 100)}
    assert offset("0") == "40"
    assert offset(str(int(time.time() + 3600) * 1000)) == ""


def test_directories_features_and_quorum(broker: Broker, kafka_tool: KafkaTool) -> None:
    at = ("--bootstrap-server", broker.bootstrap)
    text = kafka_tool("log-dirs", *at, "--describe")
    (described,) = json.loads(text.splitlines()[-1])["brokers"]
    assert described["logDirs"][0]["error"] is None
    assert "metadata.version" in kafka_tool("features", *at, "describe")
    assert "LeaderId:               1" in kafka_tool("metadata-quorum", *at, "describe", "--status")
    replication = kafka_tool("metadata-quorum", *at, "describe", "--replication")
    assert replication.splitlines()[-1].split()[-1] == "Leader"


@pytest.mark.parametrize(("codec", "level"), [("gzip", 9), ("lz4", 17), ("zstd", -7)])
def test_kafka_reads_what_was_recompressed_at_a_level(
    broker: Broker, kafka_tool: KafkaTool, codec: str, level: int
) -> None:
    at = ("--bootstrap-server", broker.bootstrap)
    configs = (
        "--config",
        f"compression.type={codec}",
        "--config",
        f"compression.{codec}.level={level}",
    )
    kafka_tool("topics", *at, "--create", "--topic", codec, *configs)
    lines = [f"line {number} of {codec}" for number in range(2000)]
    produce_lines(broker.bootstrap, codec, lines, 1)
    text = kafka_tool(
        "console-consumer", *at, "--topic", codec, "--partition", "0", "--offset", "earliest",
        "--max-messages", str(len(lines)),
    )  # fmt: skip
    assert text.splitlines() == lines
    (path,) = Path(broker.data).glob(f"{codec}-0/*.log")
    assert f"compresscodec: {codec}" in kafka_tool("dump-log", "--files", str(path))


def write_updates(bootstrap: str, topic: str) -> dict[bytes, bytes]:
    """Many updates of few keys, some of them deletions; what a table of them holds."""
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 5, "compression.type": "lz4",
         "batch.size": 20_000, "enable.idempotence": True}
    )  # fmt: skip
    table: dict[bytes, bytes] = {}
    for number in range(UPDATES):
        key, value = b"key-%d" % (number * 7919 % KEYS), VALUES[number % 97] + b"%d" % number
        if number % 11 == 0:
            producer.produce(topic, None, key, partition=0)
            table.pop(key, None)
        else:
            producer.produce(topic, value, key, partition=0)
            table[key] = value
        if number % 1000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0
    return table


def table_of(bootstrap: str, topic: str) -> tuple[int, dict[bytes, bytes]]:
    """How many records a topic has, and the table that they make."""
    table: dict[bytes, bytes] = {}
    rows = read_confluent(bootstrap, topic, 1)
    for key, value in rows:
        assert key is not None
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value
    return len(rows), table


def test_kafka_reads_a_log_that_was_compacted_here(
    broker: Broker, kafka_tool: KafkaTool, tmp_path: Path
) -> None:
    at = ("--bootstrap-server", broker.bootstrap)
    configs = [part for config in COMPACT for part in ("--config", config)]
    kafka_tool("topics", *at, "--create", "--topic", "table", *configs)
    table = write_updates(broker.bootstrap, "table")
    folder = Path(broker.data) / "table-0"
    count, found = wait_for(
        lambda: (rows := table_of(broker.bootstrap, "table"))[0] < UPDATES / 2 and rows,
        what="compaction",
    )
    assert found == table
    copy = tmp_path / "table-0"
    wait_for(lambda: not list(folder.glob("*.swap")) + list(folder.glob("*.cleaned")))
    broker.stop()
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.deleted"))
    files = ",".join(str(path) for path in sorted(copy.glob("*.log")))
    text = kafka_tool("dump-log", "--deep-iteration", "--files", files)
    assert "isvalid: false" not in text
    assert len(re.findall(r"^\| offset", text, re.MULTILINE)) <= count
    assert "deleteHorizonMs: OptionalLong[" in text
    names = {path.name for path in copy.glob("*.index") if path.stat().st_size}
    text = kafka_tool("dump-log", "--index-sanity-check", "--files", ",".join(
        str(path) for path in sorted(copy.glob("*.index"))))  # fmt: skip
    assert set(re.findall(r"(\d+\.index) passed", text)) == names
    assert kafka_table(copy, tmp_path / "kafka") == table


def kafka_table(folder: Path, home: Path) -> dict[bytes, bytes]:
    """What Apache Kafka reads when it is given a copy of our partition's files."""
    port = free_ports()

    def kafka(*arguments: str) -> None:
        subprocess.run([str(KAFKA), *arguments], check=True, timeout=120)

    kafka("start", str(home), str(port))
    try:
        create_topics(f"127.0.0.1:{port}", 1, "table")
        kafka("stop", str(home))
        (target,) = home.rglob("table-0")
        for path in target.iterdir():
            if path.name != "partition.metadata":
                path.unlink()
        for path in folder.iterdir():
            if path.name != "partition.metadata":
                shutil.copy(path, target)
        for mark in home.rglob(".kafka_cleanshutdown"):
            mark.unlink()
        kafka("restart", str(home))
        return table_of(f"127.0.0.1:{port}", "table")[1]
    finally:
        kafka("stop", str(home))
