"""What a joining member tells of its topology is what Kafka Streams tells of the same program.

Apache Kafka compares it to the letter: an application can go from a Java instance to a worker, and
back, only while nothing in it differs. Generated cases of all families are one program here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamkit.rebalance.wire import topology_message
from streamkit.tasks.group_topology import group_topology
from streamkit.tasks.settings import StreamsSettings
from streamkit.testing.broker import Broker
from tests.differential.generator import FAMILIES, generate
from tests.differential.together import together
from tests.foreign import create_topics
from tests.harness import wait_for
from tests.judges.heartbeat_proxy import HeartbeatProxy
from tests.judges.java_application import JavaInstance
from tests.ports import free_ports
from tests.topology.oracle_cases import LOW_LEVEL, Case, program_of

pytestmark = pytest.mark.judge

APPLICATION = "told"
SEEDS = range(40_000, 40_003)
PARTITIONS = 1
TOPIC_SETTING = {"topic.max.message.bytes": "2000000"}
LEFT_OUT = {
    "low_level": "a topology of the Processor API is a program of its own",
    "cogroups": "Kafka Streams says that topics of two sub-topologies must be alike, and fails at "
    "it: 'Not all copartition groups were converted to broker topology'",
    "failures": "its settings are the whole program's",
    "headers": "its settings are the whole program's",
    "optimized": "its settings are the whole program's, which is the second one here",
}
OPTIMIZED = {"topology.optimization": "all"}
LEFT_OUT_OPS = LOW_LEVEL | {"cogroup"}


def cases(families: Iterable[str]) -> Iterator[Case]:
    """One at least of each family."""
    for family in families:
        generated = [generate(family, seed) for seed in SEEDS]
        taken = [
            case
            for case in generated
            if LEFT_OUT_OPS.isdisjoint(op["op"] for op in case["topology"])
        ]
        assert taken, f"no case of {family} is left"
        yield from taken


@pytest.mark.parametrize(
    ("families", "config"),
    [(sorted(FAMILIES.keys() - LEFT_OUT), {}), (["optimized"], OPTIMIZED)],
    ids=["as-declared", "optimized"],
)
def test_same_topology_is_told(families: list[str], config: dict[str, str], tmp_path: Path) -> None:
    case = together(list(cases(families)), APPLICATION)
    case["config"] |= config
    topology = program_of(case).app.topology
    ours = topology_message(group_topology(topology, StreamsSettings.from_mapping(TOPIC_SETTING)))
    told, theirs = read(ours), read(told_by_java(case, tmp_path))
    assert len(theirs) > len(families)
    assert told.keys() == theirs.keys()
    assert {key: value for key, value in told.items() if value != theirs[key]} == {}


def told_by_java(case: Case, home: Path) -> Any:
    """The topology in the first heartbeat of an instance of Kafka Streams."""
    path = home / "cases.json"
    path.write_text(json.dumps(case))
    port = free_ports()
    bootstrap = f"127.0.0.1:{port + 1}"
    listener = {"advertised.listeners": f"PLAINTEXT://{bootstrap}"}
    settings = {
        "application.id": APPLICATION,
        "bootstrap.servers": bootstrap,
        "group.protocol": "streams",
        **TOPIC_SETTING,
    }
    with Broker(config=listener, port=port), HeartbeatProxy(port + 1, port) as proxy:
        create_topics(bootstrap, PARTITIONS, *topics_of(case))
        with JavaInstance(path, home / "java", settings) as java:
            wait_for(lambda: proxy.exchanges or java.events("error"), 60, "a heartbeat or an error")
            assert not java.events("error"), java.events("error")
    return proxy.exchanges[0].request.topology


def topics_of(case: Case) -> set[str]:
    ops = case["topology"]
    named = {op["topic"] for op in ops if "topic" in op}
    return named.union(*(op.get("topics", ()) for op in ops))


def read(topology: Any) -> dict[str, Any]:
    """The sub-topologies by id, with every list in its order."""
    return {
        each.subtopology_id: {
            "sources": list(each.source_topics),
            "regex": list(each.source_topic_regex),
            "changelogs": [read_topic(topic) for topic in each.state_changelog_topics],
            "sinks": list(each.repartition_sink_topics),
            "repartition": [read_topic(topic) for topic in each.repartition_source_topics],
            "together": [
                (list(group.source_topics), list(group.repartition_source_topics))
                for group in each.copartition_groups
            ],
        }
        for each in topology.subtopologies
    }


def read_topic(topic: Any) -> tuple[Any, ...]:
    configs = [(config.key, config.value) for config in topic.topic_configs]
    return topic.name, topic.partitions, topic.replication_factor, configs
