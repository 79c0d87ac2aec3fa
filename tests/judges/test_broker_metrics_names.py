"""The broker's metrics beside Apache Kafka's: the same names, and after the same load the same
values, as Kafka's JMX beans look through the usual exporter's rules."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import confluent_kafka
import pytest

from streamkit.testing.broker import Broker
from tests.foreign import ApacheKafka, create_topics, read_confluent
from tests.judges.conftest import KafkaTool
from tests.ports import free_ports

pytestmark = pytest.mark.judge

BEAN = re.compile(r"kafka\.([\w.]+):type=([^,:]+)((?:,[\w-]+=[^,:]+)*):([\w.\- ]+)=(.*)")
EXAMPLE_TYPES = ("raft-metrics", "broker-metadata-metrics")
"""Those whose hyphens the exporter's example for KRaft leaves out."""
PERCENTILE = re.compile(r"(\d+)thPercentile")
Series = dict[tuple[str, tuple[tuple[str, str], ...]], str]

TOPIC_COUNTERS = [
    f"kafka_server_brokertopicmetrics_{each}_total"
    for each in ("messagesin", "bytesin", "failedproducerequests")
]
SAME_VALUES = (
    "kafka_log_log_logendoffset",
    "kafka_log_log_logstartoffset",
    "kafka_log_log_numlogsegments",
    "kafka_log_log_size",
    "kafka_cluster_partition_underreplicated",
)
SAME_TOTALS = (
    "kafka_server_replicamanager_partitioncount",
    "kafka_server_replicamanager_leadercount",
    "kafka_server_replicamanager_underreplicatedpartitions",
    "kafka_server_replicamanager_offlinereplicacount",
    "kafka_controller_kafkacontroller_globaltopiccount",
    "kafka_controller_kafkacontroller_globalpartitioncount",
    "kafka_controller_kafkacontroller_activebrokercount",
    "kafka_coordinator_group_groupmetadatamanager_numoffsets",
    "kafka_server_group_coordinator_metrics_offset_commit_count",
    "kafka_server_group_coordinator_metrics_offset_deletion_count",
    "kafka_server_group_coordinator_metrics_group_completed_rebalance_count",
)
"""Not the numbers of groups, which Kafka counts once a minute."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, kafka_tool: KafkaTool) -> tuple[Series, Series]:
    """Kafka's and our metrics after the same load."""
    jmx_port = free_ports()
    metrics_port = jmx_port + 1
    home: Path = tmp_path_factory.mktemp("kafka")
    kafka = ApacheKafka(home / "node")
    with pytest.MonkeyPatch.context() as patch:
        flag = "-Dcom.sun.management.jmxremote"
        patch.setenv(
            "JAVA_TOOL_OPTIONS",
            f"{flag}.port={jmx_port} {flag}.authenticate=false {flag}.ssl=false "
            "-Djava.rmi.server.hostname=127.0.0.1",
        )
        kafka.__enter__()
    try:
        with Broker(config={"metrics.listener": f"127.0.0.1:{metrics_port}"}) as broker:
            for bootstrap in (kafka.bootstrap, broker.bootstrap):
                make_load(bootstrap)
            address = f"http://127.0.0.1:{metrics_port}/metrics"
            with urllib.request.urlopen(address, timeout=10) as answer:
                ours = parse(answer.read().decode())
        url = f"service:jmx:rmi:///jndi/rmi://127.0.0.1:{jmx_port}/jmxrmi"
        beans = kafka_tool(
            *("run", "org.apache.kafka.tools.JmxTool", "--jmx-url", url),
            *("--one-time", "--report-format", "properties"),
        )
    finally:
        kafka.stop()
    return exported(beans), ours


def make_load(bootstrap: str) -> None:
    """Records in two topics, a batch that is refused, a group that commits and leaves."""
    create_topics(bootstrap, 2, "orders", "others")
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 500, "message.max.bytes": 3_000_000}
    )
    for topic, count in (("orders", 70), ("others", 5)):
        for number in range(count):
            producer.produce(topic, b"x" * 100, partition=number % 2, timestamp=1_700_000_000_000)
    assert producer.flush(30) == 0
    refused: list[object] = []
    producer.produce(
        "others", bytes(2_000_000), partition=0, on_delivery=lambda error, _: refused.append(error)
    )
    assert producer.flush(30) == 0
    assert refused[0] is not None
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "readers",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe(["orders"])
    seen = 0
    while seen < 70:
        seen += len(consumer.consume(70 - seen, 20.0))
    consumer.commit(asynchronous=False)
    consumer.close()
    assert len(read_confluent(bootstrap, "others", 2)) == 5


def exported(beans: str) -> Series:
    """What the exporter makes of JMX beans, by its examples' rules."""
    series: Series = {}
    for line in beans.splitlines():
        found = BEAN.fullmatch(line)
        if found is None:
            continue
        domain, kind, rest, attribute, value = found.groups()
        properties = dict(each.split("=", 1) for each in rest.split(",") if each)
        own = properties.pop("name", None)
        name, labels = _name(domain, kind, own, attribute)
        if name:
            series[name.lower(), (*properties.items(), *labels)] = value
    return series


def _name(
    domain: str, kind: str, own: str | None, attribute: str
) -> tuple[str, tuple[tuple[str, str], ...]]:
    prefix = f"kafka_{domain.replace('.', '_')}_"
    if own is None:
        kind = kind.replace("-", "" if kind in EXAMPLE_TYPES else "_")
        return f"{prefix}{kind}_{attribute.replace('-', '_')}", ()
    name = f"{prefix}{kind}_{own}"
    percentile = PERCENTILE.fullmatch(attribute)
    if attribute == "Value":
        return name, ()
    if attribute == "Count":
        base = re.sub(r"PerSec$", "", name)
        return (f"{base}_total" if base != name else f"{name}_count"), ()
    if percentile is not None:
        return name, (("quantile", f"0.{percentile[1]}"),)
    return "", ()


def parse(text: str) -> Series:
    """Prometheus' text."""
    series: Series = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        left, _, value = line.rpartition(" ")
        name, _, labels = left.partition("{")
        pairs = re.findall(r'(\w+)="([^"]*)"', labels)
        series[name, tuple(pairs)] = value
    return series


def kinds(series: Series) -> set[tuple[str, tuple[str, ...]]]:
    """Names with the names of their labels."""
    return {(name, tuple(label for label, _ in labels)) for name, labels in series}


def test_every_name_and_label_is_kafka_s(both: tuple[Series, Series]) -> None:
    theirs, ours = both
    # The exporter's rules leave out the sum, which is what a mean over time is made of.
    mine = {each for each in kinds(ours) if each[0].startswith("kafka_")}
    mine = {each for each in mine if not each[0].endswith("_sum")}
    assert len(mine) > 60
    assert mine - kinds(theirs) == set()


def test_what_is_kafka_s_has_its_name(both: tuple[Series, Series]) -> None:
    _, ours = both
    prefixes = ("kafka_", "streamkit_", "process_")
    assert [name for name, _ in ours if not name.startswith(prefixes)] == []


def test_topics_have_kafka_s_values(both: tuple[Series, Series]) -> None:
    theirs, ours = both
    for name in TOPIC_COUNTERS:
        for topic in ("orders", "others"):
            key = (name, (("topic", topic),))
            assert float(ours.get(key, 0)) == float(theirs.get(key, 0)), key


def test_partitions_have_kafka_s_values(both: tuple[Series, Series]) -> None:
    theirs, ours = both
    for name in SAME_VALUES:
        for topic in ("orders", "others"):
            for partition in ("0", "1"):
                labels = {("topic", topic), ("partition", partition)}
                assert of(ours, name, labels) == of(theirs, name, labels), (name, labels)


def of(series: Series, name: str, labels: set[tuple[str, str]]) -> float:
    """The value with these labels, in whatever order."""
    (value,) = [value for key, value in series.items() if key[0] == name and set(key[1]) == labels]
    return float(value)


@pytest.mark.parametrize("name", SAME_TOTALS)
def test_the_node_has_kafka_s_values(both: tuple[Series, Series], name: str) -> None:
    theirs, ours = both
    assert float(ours[name, ()]) == float(theirs[name, ()])
