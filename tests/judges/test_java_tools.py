"""Kafka's command-line tools say of our broker what they say of Apache Kafka.

Each command runs against both; what it prints has to be the same, line by line, once times, ids
and our own wording of error messages are taken out.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import confluent_kafka
import pytest

from streamkit.broker.child import EMBEDDED_DEFAULTS
from streamkit.testing.broker import Broker
from tests.foreign import ApacheKafka, create_topics, produce_lines
from tests.harness import wait_for
from tests.judges.conftest import KAFKA

pytestmark = pytest.mark.judge

TOOLS = Path(__file__).parent / "Tools.java"
FEATURES_LATER = ("eligible.leader.replicas.version", "share.version")
"""Several brokers and share groups come later."""

EXCEPTION = re.compile(r"\b(?:[a-z]+\.)+(\w+(?:Exception|Error))\b")
NOISE = re.compile(r"\s+at |\s*$|Caused by: ")
MESSAGES = (
    (re.compile(r"(Error while executing topic command) : .*"), r"\1"),
    (re.compile(r"((?:Could|Can) not \w+ \S+?(?: to \d+)?\.) .*"), r"\1"),
)
TOLD = (
    (re.compile(r"127\.0\.0\.1:\d+"), "HOST"),
    (re.compile(r"(HOST|127\.0\.0\.1) +\d{4,5}"), r"\1 PORT"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}"), "UUID"),
    # A member's id in the consumer protocol: a UUID in Kafka's base 64.
    (re.compile(r"(^new .*?) [\w+/-]{22} (?=/)"), r"\1 UUID "),
    (re.compile(r"(^new) +[\w+/-]{22} "), r"\1 UUID "),
    (re.compile(r"(TopicId:|Cluster ID:|ClusterId:) \S+"), r"\1 ID"),
    (re.compile(r"\b1[78]\d{11}\b"), "TIME"),
    (re.compile(r"(Epoch|HighWatermark): +\d+"), r"\1: N"),
    (re.compile(r'"log_dirs":\["[^"]+"\]'), "DIRECTORY"),
    (re.compile(r"\s+"), " "),
)


class Tools:
    """The tools in one Java process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [str(KAFKA), "run", str(TOOLS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(os.environ, KAFKA_LOG_LEVEL="error"),
        )

    def run(self, bootstrap: str, command: str) -> list[str]:
        """The exit status and what the tool says, made comparable."""
        tool, *arguments = shlex.split(command)
        at = ["--bootstrap-server", bootstrap]
        # The parser of this one wants its options behind the command.
        argv = [arguments[0], *at, *arguments[1:]] if tool == "cluster" else [*at, *arguments]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\t".join([tool, *argv]).encode() + b"\n")
        self._process.stdin.flush()
        status, size = self._process.stdout.readline().split()
        return [f"exit {int(status)}", *told(self._process.stdout.read(int(size)).decode())]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


def told(text: str) -> list[str]:
    """Lines without what has to differ; of an exception only its name is left."""
    lines = []
    for line in text.splitlines():
        names = EXCEPTION.findall(line)
        if NOISE.match(line) or (line.startswith("[") and not names):
            continue
        said = " ".join(names) if names else line
        for pattern, put in (*TOLD, *MESSAGES):
            said = pattern.sub(put, said)
        lines.append(said.strip())
    return lines


class Both:
    """Our broker and Apache Kafka, and one Java process with the tools."""

    def __init__(self, ours: str, theirs: str) -> None:
        self.ours = ours
        self.theirs = theirs
        self.tools = Tools()

    def each(self, act: Callable[[str], object]) -> None:
        """Do something to both clusters."""
        for bootstrap in (self.theirs, self.ours):
            act(bootstrap)

    def say(self, command: str, keep: Callable[[str], bool] = lambda _: True) -> list[str]:
        """What the tool says of both, which has to be the same."""
        theirs, ours = (
            [line for line in self.tools.run(each, command) if keep(line)]
            for each in (self.theirs, self.ours)
        )
        assert ours == theirs, command
        return ours


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    quick = [f"{key}={value}" for key, value in EMBEDDED_DEFAULTS.items()]
    home = tmp_path_factory.mktemp("kafka")
    with ApacheKafka(home, *quick) as kafka, Broker() as broker:
        pair = Both(broker.bootstrap, kafka.bootstrap)
        yield pair
        pair.tools.close()


def without_min_insync(line: str) -> str:
    """Kafka's new clusters set min.insync.replicas for all brokers, for the feature ELR."""
    return re.sub(r"min\.insync\.replicas=1,?", "", line).rstrip()


TOPICS = """
topics --create --topic a --partitions 3 --config retention.ms=100000
topics --create --topic a
topics --create --topic a --if-not-exists
topics --create --topic bad!name
topics --create --topic b --replica-assignment 1,1
topics --create --topic c --replication-factor 3
topics --create --topic c --config bogus=1
topics --create --topic c --config retention.ms=abc
topics --create --topic c --replica-assignment 1:2
topics --create --topic c --partitions 0
topics --create --topic with.dot
topics --create --topic with_dot
topics --describe --topic nosuch
topics --describe --under-replicated-partitions
topics --describe --unavailable-partitions
topics --describe --under-min-isr-partitions
topics --alter --topic a --partitions 5
topics --alter --topic a --partitions 2
topics --alter --topic b --partitions 3 --replica-assignment 1,1,1
topics --list
topics --delete --topic b
topics --delete --topic b
"""


def test_topics(both: Both) -> None:
    for command in TOPICS.strip().splitlines():
        both.say(command)
    for option in ("", " --topics-with-overrides", " --topic a"):
        theirs, ours = (
            {
                without_min_insync(line)
                for line in both.tools.run(each, f"topics --describe{option}")
            }
            for each in (both.theirs, both.ours)
        )
        # Without the feature ELR nothing is overridden in topics that have no configs.
        assert ours <= theirs
        assert any("PartitionCount: 5" in line for line in ours)


CONFIGS = """
configs --entity-type topics --entity-name t --alter --add-config max.message.bytes=90000,cleanup.policy=[compact,delete]
configs --entity-type topics --entity-name t --describe
configs --entity-type topics --entity-name t --alter --delete-config max.message.bytes
configs --entity-type topics --entity-name t --alter --delete-config segment.ms
configs --entity-type topics --entity-name t --alter --add-config segment.ms=-5
configs --entity-type topics --entity-name t --alter --add-config bogus=1
configs --entity-type topics --entity-name nosuch --alter --add-config segment.ms=500000
configs --entity-type topics --entity-name nosuch --describe
configs --entity-type brokers --entity-default --alter --add-config log.retention.ms=7777777
configs --entity-type brokers --entity-name 1 --alter --add-config log.segment.bytes=7777777
configs --entity-type brokers --entity-name 1 --describe
configs --entity-type brokers --entity-name 1 --alter --add-config node.id=4
configs --entity-type brokers --entity-name 1 --alter --add-config log.segment.bytes=1
configs --entity-type brokers --entity-name 7 --describe
configs --entity-type topics --entity-name t --describe --all
configs --entity-type brokers --entity-name 1 --alter --delete-config log.segment.bytes
configs --entity-type brokers --entity-default --alter --delete-config log.retention.ms
configs --entity-type topics --entity-name t --describe --all
configs --entity-type groups --entity-name g --alter --add-config streams.num.standby.replicas=1
configs --entity-type groups --entity-name g --describe
configs --entity-type groups --entity-name g --alter --add-config consumer.session.timeout.ms=1
configs --entity-type groups --entity-name g --alter --add-config bogus=1
configs --entity-type groups --entity-name g --describe --all
"""  # noqa: E501  # commands are lines

OTHER_CONFIGS = re.compile(
    r"min\.insync\.replicas="  # set by the feature ELR
    r"|local\.retention\."  # their broker configs belong to tiered storage
    r"|share\."  # share groups come later
    r"|streams\.(acceptable|balance|num\.warmup|rack|task|warmup)\."  # extensions of ours
)


def test_configs(both: Both) -> None:
    both.each(lambda bootstrap: create_topics(bootstrap, 1, "t"))
    for command in CONFIGS.strip().splitlines():
        both.say(command, lambda line: OTHER_CONFIGS.match(line) is None)


OUR_DEFAULTS = {
    "advertised.listeners",
    "listeners",
    "log.dirs",
    "node.id",
    "group.coordinator.append.linger.ms",
    "min.insync.replicas",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "transaction.state.log.min.isr",
}
"""Other here by decision: one node, on this machine, in a directory of its own."""

OUR_OWN = re.compile(r"cluster\.id|metrics\.listener|group\.streams\..*")
"""Keys that Apache Kafka does not have; what it is given of them it takes for a plug-in's."""


def test_broker_configs(both: Both) -> None:
    command = "configs --entity-type brokers --entity-name 1 --describe --all"
    theirs, ours = (
        {line.partition("=")[0]: line for line in both.tools.run(each, command)[2:]}
        for each in (both.theirs, both.ours)
    )
    theirs = {name: line for name, line in theirs.items() if "sensitive=false" in line}
    assert all(OUR_OWN.fullmatch(name) for name in ours.keys() - theirs.keys())
    shared = (ours.keys() & theirs.keys()) - OUR_DEFAULTS
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}
    assert len(shared) > 50


def test_offsets_and_records(both: Both, tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(30)]
    both.each(lambda bootstrap: create_topics(bootstrap, 3, "data"))
    # Sizes are the same when batches and the records' times in them are.
    same = {"linger_ms": 1000, "timestamp_ms": int(time.time() * 1000)}
    both.each(lambda bootstrap: produce_lines(bootstrap, "data", lines, 3, **same))
    assert "data:1:10" in both.say("get-offsets --exclude-internal-topics")
    both.say("get-offsets --topic data --partitions 0,1,9")
    both.say("get-offsets --topic-partitions data:1-3")
    both.say("get-offsets --topic nosuch")
    for when in ("-1", "-2", "-4", "-5", "latest-tiered", "earliest-pending-upload"):
        both.say(f"get-offsets --topic data --time {when}")
    for number, wanted in enumerate(([("data", 0, 4), ("data", 1, -1)], [("data", 2, 99)])):
        path = tmp_path / f"{number}.json"
        rows = [dict(zip(("topic", "partition", "offset"), row, strict=True)) for row in wanted]
        path.write_text(json.dumps({"version": 1, "partitions": rows}))
        command = f"delete-records --offset-json-file {path}"
        theirs, ours = (sorted(both.tools.run(at, command)) for at in (both.theirs, both.ours))
        assert ours == theirs
    assert "data:0:4" in both.say("get-offsets --topic data --time -2")
    sizes = [
        json.loads(both.tools.run(each, "log-dirs --describe --topic-list data")[-1])
        for each in (both.theirs, both.ours)
    ]
    theirs, ours = ([each["logDirs"][0] for each in size["brokers"]] for size in sizes)
    assert ours[0]["partitions"] == theirs[0]["partitions"]


REPLICAS = """
leader-election --election-type preferred --topic replicated --partition 1
leader-election --election-type unclean --topic replicated --partition 1
leader-election --election-type preferred --all-topic-partitions
leader-election --election-type preferred --topic nosuch --partition 0
reassign-partitions --list
"""


def test_replicas(both: Both, tmp_path: Path) -> None:
    both.each(lambda bootstrap: create_topics(bootstrap, 2, "replicated"))
    for command in REPLICAS.strip().splitlines():
        both.say(command)
    for number, replicas in enumerate(([1], [1, 2])):
        path = tmp_path / f"{number}.json"
        wanted = {"topic": "replicated", "partition": 1, "replicas": replicas}
        path.write_text(json.dumps({"version": 1, "partitions": [wanted]}))
        both.say(f"reassign-partitions --reassignment-json-file {path} --execute")
        if replicas == [1]:  # of a broker that is not there, --verify waits for a minute
            both.say(f"reassign-partitions --reassignment-json-file {path} --verify")


GROUPS = """
groups --list
groups --list --group-type classic
groups --list --group-type streams
groups --list --consumer
groups --list --protocol consumer
consumer-groups --list --state
consumer-groups --list --state empty
consumer-groups --list --type
consumer-groups --list --type classic
consumer-groups --list --type consumer
consumer-groups --describe --group new
consumer-groups --describe --group new --members --verbose
consumer-groups --describe --group new --state
consumer-groups --delete --group new
consumer-groups --describe --group live
consumer-groups --describe --group live --members --verbose
consumer-groups --describe --group live --state
consumer-groups --describe --group live --group plain --state
consumer-groups --describe --group nosuch
consumer-groups --delete --group live
consumer-groups --delete --group nosuch
consumer-groups --delete-offsets --group live --topic grouped
consumer-groups --delete-offsets --group plain --topic grouped:1
consumer-groups --delete-offsets --group nosuch --topic grouped
consumer-groups --reset-offsets --group live --topic grouped --to-earliest --execute
"""
EMPTY_GROUPS = """
consumer-groups --describe --group live --offsets
consumer-groups --reset-offsets --group live --topic grouped --to-earliest --execute
consumer-groups --reset-offsets --group live --topic grouped:2 --shift-by 3 --execute
consumer-groups --reset-offsets --group live --topic grouped:0,1,2 --to-offset 5 --dry-run
consumer-groups --reset-offsets --group live --all-topics --by-duration PT1H --execute
consumer-groups --reset-offsets --group live --topic grouped --to-datetime 2020-01-01T00:00:00.000 --dry-run --export
consumer-groups --reset-offsets --group fresh --topic grouped --to-latest --execute
consumer-groups --describe --all-groups --state
consumer-groups --delete --group live --group fresh
groups --list
"""  # noqa: E501  # commands are lines


def test_groups(both: Both) -> None:
    members = []

    def prepare(bootstrap: str) -> None:
        create_topics(bootstrap, 3, "grouped")
        produce_lines(bootstrap, "grouped", [f"line {number}" for number in range(30)], 3)
        members.append(member(bootstrap, "live", "grouped", "classic"))
        members.append(member(bootstrap, "new", "grouped", "consumer"))
        commit(bootstrap, "plain", [("grouped", 0, 6), ("grouped", 1, 7)])

    both.each(prepare)
    for command in GROUPS.strip().splitlines():
        both.say(command)
    for each in members:
        each.close()
    for command in EMPTY_GROUPS.strip().splitlines():
        both.say(command)


def commit(bootstrap: str, group: str, offsets: list[tuple[str, int, int]]) -> None:
    """Commit offsets for a group without members."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    rows = [confluent_kafka.TopicPartition(*row) for row in offsets]
    consumer.commit(offsets=rows, asynchronous=False)
    consumer.close()


def member(bootstrap: str, group: str, topic: str, protocol: str) -> confluent_kafka.Consumer:
    """A member that has read and committed the topic's 30 records, and stays."""
    config = {"group.id": group, "client.id": "a-member", "auto.offset.reset": "earliest"}
    config["group.protocol"] = protocol
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": bootstrap, "enable.auto.commit": False, **config}
    )
    consumer.subscribe([topic])
    read: list[object] = []

    def is_done() -> bool:
        read.extend(each for each in consumer.consume(30, 0.2) if each.error() is None)
        return len(read) >= 30

    wait_for(is_done)
    consumer.commit(asynchronous=False)
    return consumer


OPEN_TRANSACTION = """
transactions list
transactions list --transactional-id-pattern t-.*
transactions list --transactional-id-pattern x.*
transactions list --duration-filter 100000
transactions describe --transactional-id nosuch
transactions describe-producers --topic moved --partition 0
transactions find-hanging --broker-id 1
"""


def test_transactions(both: Both) -> None:
    producers = []

    def prepare(bootstrap: str) -> None:
        create_topics(bootstrap, 1, "moved")
        config = {"bootstrap.servers": bootstrap, "transactional.id": "t-1"}
        producer = confluent_kafka.Producer(config)
        wait_for(lambda: producer.init_transactions(30) is None)
        producer.begin_transaction()
        producer.produce("moved", b"x")
        producer.flush(30)
        producers.append(producer)

    both.each(prepare)
    for command in OPEN_TRANSACTION.strip().splitlines():
        both.say(command)
    described = both.tools.run(both.ours, "transactions describe --transactional-id t-1")
    assert re.search(r"^1 t-1 0 0 Ongoing 60000 TIME \d+ moved-0$", described[-1])
    for each in producers:
        each.commit_transaction(30)

    def is_complete(bootstrap: str) -> bool:
        return "CompleteCommit" in both.tools.run(bootstrap, "transactions list")[-1]

    both.each(lambda bootstrap: wait_for(lambda: is_complete(bootstrap)))
    both.say("transactions list")
    both.say("transactions describe-producers --topic moved --partition 0")
    both.say("transactions abort --topic moved --partition 0 --start-offset 77")


FEATURES = """
features describe
features version-mapping
features feature-dependencies --feature transaction.version=2
features upgrade --feature transaction.version=1
features downgrade --feature transaction.version=1 --dry-run
features downgrade --feature transaction.version=1
features upgrade --feature transaction.version=2
features upgrade --feature nosuch.version=1
features upgrade --metadata 4.2
features downgrade --metadata 4.2
features version-mapping --release-version 4.0
features version-mapping --release-version 9.9
features feature-dependencies --feature transaction.version=2 --feature group.version=1
features feature-dependencies --feature nosuch.version=1
features upgrade
features upgrade --release-version 4.3 --feature transaction.version=2
features upgrade --release-version 9.9
features upgrade --release-version 4.2
features downgrade --release-version 4.2 --dry-run
features downgrade --release-version 4.0
features downgrade --release-version 3.3 --unsafe
features disable --feature streams.version --dry-run
features disable --feature transaction.version
features disable --feature group.version --feature streams.version
features disable --feature metadata.version
features disable --feature nosuch.version
features disable --feature share.version --dry-run
features describe
features upgrade --feature transaction.version=2 --feature group.version=1
features upgrade --feature streams.version=1
features upgrade --feature transaction.version=3
features upgrade --feature transaction.version=x
features describe
cluster cluster-id
cluster list-endpoints
"""


def test_features_and_cluster(both: Both) -> None:
    def keep(line: str) -> bool:
        # The other Kafka here has a quorum of the old, static kind; our own features are ours.
        left_out = (*FEATURES_LATER, "Feature: kraft.version", "Feature: streamkit.")
        return not any(name in line for name in left_out)

    for command in FEATURES.strip().splitlines():
        both.say(command, keep)
