"""An application id goes from Kafka Streams' classic protocol to ours and back, with all it has.

Each owner counts the next records and stops; the following one goes on from its offsets and its
state. Nobody gets the id while members of the other protocol are there, and the refusal says so.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest

from streamkit.testing.broker import Broker
from tests.foreign import create_topics, latest, read_confluent
from tests.harness import WorkerProcess, streamkit, wait_for
from tests.judges.conftest import KafkaTool
from tests.judges.crashes import apache_kafka
from tests.judges.java_application import JavaInstance
from tests.judges.word_feed import group_lag

pytestmark = pytest.mark.judge

PROGRAM = "tests/judges/taken_program.py"
GROUP = "taken"
PARTITIONS = 2
KEYS = [f"key-{number}" for number in range(6)]
RECORDS = 300
SESSION_MS = "6000"
TIMERS = {
    "group.initial.rebalance.delay.ms": "0",
    "group.streams.initial.rebalance.delay.ms": "0",
    "group.streams.min.heartbeat.interval.ms": "500",
    "group.streams.heartbeat.interval.ms": "500",
}
TOPOLOGY = [
    {"id": "s", "op": "stream", "topic": "events", "key": "string", "value": "string"},
    {"id": "g", "op": "group_by_key", "of": "s", "key": "string", "value": "string"},
    {"id": "c", "op": "count", "of": "g", "store": {"name": "counts"}},
    {"id": "o", "op": "to_stream", "of": "c"},
    {"op": "to", "of": "o", "topic": "totals", "key": "string", "value": "long"},
]
JAVA_SETTINGS = {
    "application.id": GROUP,
    "processing.guarantee": "exactly_once_v2",
    "commit.interval.ms": "100",
    "auto.offset.reset": "earliest",
    "session.timeout.ms": SESSION_MS,
    "heartbeat.interval.ms": "1000",
}


@pytest.fixture(params=["apache", "streamkit"])
def bootstrap(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with ExitStack() as stack:
        running: Any = (
            stack.enter_context(Broker(config=TIMERS))
            if request.param == "streamkit"
            else stack.enter_context(apache_kafka(tmp_path / "kafka", TIMERS))
        )
        create_topics(running.bootstrap, PARTITIONS, "events", "totals")
        yield running.bootstrap


class Life:
    """The application's, through its owners: what was sent, and who counts it."""

    def __init__(self, bootstrap: str, directory: Path) -> None:
        self._bootstrap = bootstrap
        self._directory = directory
        self._spec = directory / "taken.json"
        self._spec.write_text(json.dumps({"topology": TOPOLOGY}))
        self._sent: Counter[str] = Counter()

    def java(self, protocol: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        """An instance of Kafka Streams takes the id, counts what is new, and stops."""
        own: dict[str, str] = JAVA_SETTINGS | {"bootstrap.servers": self._bootstrap}
        if protocol == "streams":
            own = {key: value for key, value in own.items() if not key.endswith("timeout.ms")}
            del own["heartbeat.interval.ms"]
        settings = own | {"group.protocol": protocol}
        self._send()
        with JavaInstance(self._spec, self._directory / f"java-{protocol}", settings) as java:
            self._wait_counted(f"Kafka Streams, {protocol}")
            meanwhile()
            assert java.stop() == 0
            assert not java.events("error"), java.events("error")

    def ours(self) -> None:
        """A worker of ours does."""
        self._send()
        with self._worker() as worker:
            self._wait_counted("a worker of ours")
            assert worker.stop() == 0

    def refused(self) -> None:
        """A worker of ours may not have the id, and says why."""
        with self._worker() as worker:
            assert worker.process.wait(90) == 1
            told = worker.output()
        assert "is not a streams group" in told
        assert "stop all of its members" in told

    def wait_empty(self) -> None:
        """A classic instance leaves only with its session time-out."""

        def is_empty() -> bool:
            done = streamkit("groups", "list", "--json", "--bootstrap", self._bootstrap)
            states = {each["group_id"]: each["state"] for each in json.loads(done.stdout)}
            return bool(states.get(GROUP) == "Empty")

        wait_for(is_empty, 90, "an empty group")

    def type(self) -> str:
        done = streamkit("groups", "describe", GROUP, "--json", "--bootstrap", self._bootstrap)
        return str(json.loads(done.stdout)["type"])

    def _worker(self) -> WorkerProcess:
        return WorkerProcess(PROGRAM, self._bootstrap, self._directory / "ours")

    def _send(self) -> None:
        producer = confluent_kafka.Producer(
            {"bootstrap.servers": self._bootstrap, "partitioner": "murmur2_random"}
        )
        for number in range(RECORDS):
            key = KEYS[number * number % len(KEYS)]
            producer.produce("events", "x", key)
            self._sent[key] += 1
        assert producer.flush(30) == 0

    def _wait_counted(self, who: str) -> None:
        def is_counted() -> bool:
            return group_lag(self._bootstrap, GROUP, {"events": PARTITIONS}) == 0

        def has_totals() -> bool:
            return latest(read_confluent(self._bootstrap, "totals", PARTITIONS)) == self._sent

        wait_for(is_counted, 60, f"all records counted by {who}")
        wait_for(has_totals, 30, f"the totals of {who}")


def test_application_id_changes_hands(
    bootstrap: str, tmp_path: Path, kafka_tool: KafkaTool
) -> None:
    life = Life(bootstrap, tmp_path)
    life.java("classic", life.refused)
    life.wait_empty()
    life.ours()
    assert life.type() == "streams"
    life.java("streams")
    life.ours()
    life.java("classic")
    assert life.type() == "classic"
    listed = kafka_tool("groups", "--bootstrap-server", bootstrap, "--list")
    print(f"\n{listed}")
    assert f"{GROUP} " in listed
