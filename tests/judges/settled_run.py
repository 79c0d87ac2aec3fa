"""Cases whose tables settle, on a real worker that is killed twice: their final tables.

A batch of cases is one program on one broker; all topics have three partitions, caches are on,
each record counts once. The worker is killed in the midst of its input, once with its disk kept and
once with it lost. When the rest is read, the closing events come, twice.

    python -m tests.judges.settled_run FROM TO [CASES A BATCH]      says what differs
"""

from __future__ import annotations

import json
import logging
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import confluent_kafka
from confluent_kafka.admin import AdminClient

from streamkit.testing.broker import Broker
from tests.differential.generator import generate
from tests.differential.oracle import kafka_answers
from tests.differential.settled_cases import PARTITIONS
from tests.differential.together import together, topic_of
from tests.foreign import READ_TIMEOUT_S, create_topics
from tests.harness import WorkerProcess, wait_for
from tests.judges.crashes import QUICK, RUNNING
from tests.judges.word_feed import group_lag
from tests.topology.expressions import plain
from tests.topology.oracle_cases import Case, program_of

PROGRAM = "tests/judges/settled_program.py"
APPLICATION = "settled"
BROKER = QUICK | {
    "group.streams.min.session.timeout.ms": "3000",
    "group.streams.session.timeout.ms": "3000",
    "group.streams.initial.rebalance.delay.ms": "0",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    "log.initial.task.delay.ms": "3600000",
    "log.cleaner.enable": "false",
}
"""No retention and no compaction: the events are as old as can be, and what keeps the history of a
versioned table's changelog is the age of its records."""
SETTINGS = {"producer.transaction.timeout.ms": "3000", "producer.linger.ms": "5"}
PATIENCE_S = 120.0
PART_S = 2.0
"""A part of the input is written so fast."""
EMIT_INTERVAL_S = 1.1
"""What closes is looked for once a second."""

Tables = dict[str, dict[str, Any]]
"""By topic and key (as JSON), the last value that is not null."""


@dataclass
class Batch:
    """Cases that run as one program."""

    cases: list[Case]
    directory: Path
    seed: int
    restored: list[int] = field(default_factory=list)
    """How many records each task restored after a kill."""

    def run(self) -> Tables:
        """The final tables of all cases."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "cases.jsonl"
        path.write_text("\n".join(json.dumps(case) for case in self.cases) + "\n")
        with Broker(config=BROKER) as broker:
            create_topics(broker.bootstrap, PARTITIONS, *self.inputs(), *self.outputs())
            self.live(broker.bootstrap)
            return self.tables(broker.bootstrap)

    def inputs(self) -> list[str]:
        return self.topics(lambda case: {event["topic"] for event in case["input"]})

    def outputs(self) -> list[str]:
        return self.topics(lambda case: case["settles"]["topics"])

    def topics(self, of: Any) -> list[str]:
        return [
            topic_of(n, topic) for n, case in enumerate(self.cases) for topic in sorted(of(case))
        ]

    def live(self, bootstrap: str) -> None:
        """Two parts of the input with a kill in each, the rest, and the closing events."""
        chance = random.Random(self.seed)
        lost = chance.randrange(2)
        events = list(self.events(closing=False))
        third = len(events) // 3
        parts = [events[:third], events[third : 2 * third], events[2 * third :]]
        for number, part in enumerate(parts[:2]):
            with self.worker(bootstrap) as worker:
                self.wait_running(worker)
                cut = chance.randrange(len(part) // 2, len(part))
                write(bootstrap, part[:cut], PART_S)
                worker.kill()
            write(bootstrap, part[cut:])
            if number == lost:
                shutil.rmtree(self.directory / "state")
        with self.worker(bootstrap) as worker:
            self.wait_running(worker)
            write(bootstrap, parts[2], PART_S)
            self.wait_drained(bootstrap)
            for closing in self.closings():
                write(bootstrap, closing)
                self.wait_drained(bootstrap)
                time.sleep(EMIT_INTERVAL_S)
            assert worker.stop() == 0, worker.output()
            assert "Traceback" not in worker.output(), worker.output()

    @contextmanager
    def worker(self, bootstrap: str) -> Iterator[WorkerProcess]:
        environment = {"SETTLED_CASES": str(self.directory / "cases.jsonl")}
        log = self.directory / "worker.log"
        log.unlink(missing_ok=True)
        with WorkerProcess(
            PROGRAM, bootstrap, self.directory, settings=SETTINGS, environment=environment
        ) as worker:
            yield worker

    def wait_running(self, worker: WorkerProcess) -> None:
        """Until every task runs."""
        count = self.task_count()

        def is_running() -> bool:
            assert worker.process.poll() is None, worker.output()
            return len({match[1] for _, match in worker.logged(RUNNING)}) == count

        wait_for(is_running, PATIENCE_S, f"{count} running tasks")
        self.restored += [int(match[2]) for _, match in worker.logged(RUNNING)]

    def task_count(self) -> int:
        described = program_of(together(self.cases, APPLICATION)).app.topology.describe()
        return PARTITIONS * described.count("Sub-topology: ")

    def wait_drained(self, bootstrap: str) -> None:
        """Until everything that the program reads is committed."""
        read = self.inputs()
        admin = AdminClient({"bootstrap.servers": bootstrap})
        internal = admin.list_topics(timeout=30).topics
        read += [
            name
            for name in internal
            if name.startswith(f"{APPLICATION}-") and not name.endswith("-changelog")
        ]
        topics = dict.fromkeys(read, PARTITIONS)
        wait_for(lambda: group_lag(bootstrap, APPLICATION, topics) == 0, PATIENCE_S, "the lag of 0")

    def events(self, *, closing: bool) -> Iterator[dict[str, Any]]:
        """Events of all cases, one of each in turn; topics as the program has them."""
        longest = max(len(case["input"]) for case in self.cases)
        for at in range(longest):
            for number, case in enumerate(self.cases):
                is_closing = at >= case["settles"]["from"]
                if at < len(case["input"]) and is_closing == closing:
                    event = case["input"][at]
                    yield event | {"topic": topic_of(number, event["topic"])}

    def closings(self) -> list[list[dict[str, Any]]]:
        """The closing events by their time."""
        rounds: dict[int, list[dict[str, Any]]] = {}
        for event in self.events(closing=True):
            rounds.setdefault(event["ts"], []).append(event)
        return [rounds[ts] for ts in sorted(rounds)]

    def tables(self, bootstrap: str) -> Tables:
        """What lies in the tables' topics in the end, by committed reads."""
        sinks = program_of(together(self.cases, APPLICATION)).sinks
        tables: Tables = {topic: {} for topic in self.outputs()}
        places: dict[tuple[str, str], int] = {}
        for message in read_all(bootstrap, self.outputs()):
            topic, partition = message.topic() or "", message.partition()
            key, value = (
                None if data is None else plain(serde.deserialize(topic, data, ()))
                for serde, data in zip(sinks[topic], (message.key(), message.value()), strict=True)
            )
            shown = json.dumps(key)
            assert places.setdefault((topic, shown), partition) == partition, (
                f"{topic}: {shown} lies in two partitions"
            )
            note(tables[topic], shown, value)
        return tables


def note(table: dict[str, Any], key: str, value: Any) -> None:
    """Take a row in, or out."""
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value


def write(bootstrap: str, events: list[dict[str, Any]], seconds: float = 0.0) -> None:
    """Write events with librdkafka, by the keys' hash as Java does, spread over some time."""
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "linger.ms": 0,
            "log_level": 0,
            "sticky.partitioning.linger.ms": 0,
        }
    )
    failed: list[str] = []

    def on_delivery(error: object, _message: object) -> None:
        if error is not None:
            failed.append(str(error))

    began = time.monotonic()
    for number, event in enumerate(events):
        due = began + seconds * number / len(events)
        producer.poll(max(due - time.monotonic(), 0))
        key, value = event["key"], event["value"]
        producer.produce(
            event["topic"],
            None if value is None else value.to_bytes(8, "big", signed=True),
            None if key is None else key.encode(),
            timestamp=event["ts"],
            on_delivery=on_delivery,
        )
    assert producer.flush(60) == 0
    assert failed == []


def read_all(bootstrap: str, topics: Iterable[str]) -> Iterator[confluent_kafka.Message]:
    """All committed records of the topics."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "none", "enable.partition.eof": True}
    )
    parts = [
        confluent_kafka.TopicPartition(topic, number, 0)
        for topic in topics
        for number in range(PARTITIONS)
    ]
    consumer.assign(parts)
    ended: set[tuple[str | None, int | None]] = set()
    deadline = time.monotonic() + READ_TIMEOUT_S
    while len(ended) < len(parts):
        assert time.monotonic() < deadline, "the tables were not read in time"
        for message in consumer.consume(10_000, 0.2):
            if message.error() is None:
                yield message
            else:
                assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF
                ended.add((message.topic(), message.partition()))
    consumer.close()


def tables_of_kafka(cases: list[Case]) -> Tables:
    """The final tables as Kafka Streams has them, under the topics of the batch."""
    tables: Tables = {}
    for number, (case, answer) in enumerate(zip(cases, kafka_answers(cases), strict=True)):
        assert "error" not in answer, f"{case['name']}: {answer['error']}"
        for topic in case["settles"]["topics"]:
            tables[topic_of(number, topic)] = {}
        for row in answer["outputs"]:
            table = tables[topic_of(number, row["topic"])]
            note(table, json.dumps(row["key"]), row["value"])
    return tables


def run(seeds: Sequence[int], directory: Path) -> tuple[dict[str, Any], Batch]:
    """What differs, by case and table; and the batch."""
    cases = [generate("settled", seed) for seed in seeds]
    batch = Batch(cases, directory, seeds[0])
    ours, theirs = batch.run(), tables_of_kafka(cases)
    wrong: dict[str, Any] = {}
    for number, case in enumerate(cases):
        for topic in case["settles"]["topics"]:
            one, two = (tables[topic_of(number, topic)] for tables in (ours, theirs))
            if one != two:
                keys = sorted(key for key in {**one, **two} if one.get(key) != two.get(key))
                rows = {key: (one.get(key), two.get(key)) for key in keys}
                wrong[f"{case['name']} {topic}"] = rows
    return wrong, batch


def main(arguments: list[str]) -> int:
    """Batch by batch, in lines."""
    logging.disable()
    start, stop, size = (*map(int, arguments), 15)[:3]
    count = 0
    for first in range(start, stop, size):
        seeds = range(first, min(first + size, stop))
        directory = Path(tempfile.mkdtemp(prefix="settled-"))
        began = time.monotonic()
        wrong, batch = run(seeds, directory)
        count += len(wrong)
        told = f"{seeds}: {len(wrong)} differ, {time.monotonic() - began:.0f} s"
        print(f"{told}, {sum(batch.restored)} records restored, {directory}", flush=True)
        for name, rows in wrong.items():
            print(f"    {name}: ours and theirs {rows}", flush=True)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
