"""Word count end to end: one streamkit worker process beside Kafka Streams with one thread.

Both read the same topic of the same broker, one after the other; the broker has one core, the
application the other. Progress is the committed offset of the repartition topic, asked for with a
foreign client; `warm` is from 30% to 100% of the words. The final counts are checked.

    python -m benchmarks.word_count --megabytes 200 --broker kafka
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks import text
from benchmarks.machine import (
    CLIENT_CORE,
    ORACLE,
    ROOT,
    RunningBroker,
    about,
    broker,
    cpu_s,
    pinned,
    resident_mb,
)

PARTITIONS = 4
COMMIT_INTERVAL_MS = 500
SAMPLE_S = 0.2
TIMERS = {
    "group.streams.initial.rebalance.delay.ms": "0",
    "group.streams.min.session.timeout.ms": "6000",
    "group.streams.session.timeout.ms": "10000",
    "group.streams.min.heartbeat.interval.ms": "500",
    "group.streams.heartbeat.interval.ms": "1000",
}


@dataclass(frozen=True)
class Outcome:
    """One contender's run."""

    contender: str
    words: int
    words_per_s: int
    warm_words_per_s: int
    cpu_us_per_word: float
    broker_cpu_us_per_word: float
    resident_mb: float
    first_commit_s: float
    counts_right: bool


def load(bootstrap: str, repeats: int) -> None:
    """Fill the topic `lines`, line by line over its partitions."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    names = ["lines", "counts-streamkit", "counts-kafka-streams"]
    made = admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
    for future in made.values():
        future.result(30)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 50,
            "batch.size": 262144,
            "queue.buffering.max.messages": 200000,
        }
    )
    for number, line in enumerate(text.repeated(repeats)):
        while True:
            try:
                producer.produce("lines", line.encode(), partition=number % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush()


def start_contender(contender: str, bootstrap: str, state: str) -> subprocess.Popen[bytes]:
    """Start the application pinned to the client's core."""
    application, output = f"bench-{contender}", f"counts-{contender}"
    if contender == "streamkit":
        argv = [sys.executable, "-m", "streamkit", "worker", "benchmarks/word_count_program.py"]
        argv += ["--bootstrap", bootstrap, "--set", f"state.dir={state}"]
        argv += ["--set", f"commit.interval.ms={COMMIT_INTERVAL_MS}"]
    else:
        spec = Path(state, "spec.json")
        spec.write_text(json.dumps(oracle_spec(output)))
        argv = [str(ORACLE), "run", str(spec), f"bootstrap.servers={bootstrap}"]
        argv += [f"application.id={application}", "group.protocol=streams", f"state.dir={state}"]
        argv += [f"commit.interval.ms={COMMIT_INTERVAL_MS}", "num.stream.threads=1"]
    environment = dict(os.environ, BENCH_APPLICATION=application, BENCH_OUTPUT=output)
    return subprocess.Popen(
        pinned(CLIENT_CORE, argv), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )


def oracle_spec(output: str) -> dict[str, object]:
    """The same topology in the language of the judge."""
    return {
        "name": "bench",
        "default_key": "string",
        "default_value": "string",
        "topology": [
            {"id": "s1", "op": "stream", "topic": "lines"},
            {"id": "s2", "op": "flat_map_values", "of": "s1", "fn": "split_words"},
            {"id": "s3", "op": "group_by", "of": "s2", "fn": "value"},
            {"id": "s4", "op": "count", "of": "s3", "store": {"name": "word-counts"}},
            {"id": "s5", "op": "to_stream", "of": "s4"},
            {"op": "to", "of": "s5", "topic": output, "value": "long"},
        ],
    }


def committed(admin: AdminClient, application: str) -> int:
    """How many words the application has committed."""
    topic = f"{application}-word-counts-repartition"
    wanted = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    request = [ConsumerGroupTopicPartitions(application, wanted)]
    try:
        found = admin.list_consumer_group_offsets(request)[application].result(10)
    except Exception:  # the group is not there yet
        return 0
    return sum(max(0, part.offset) for part in found.topic_partitions)


def samples(bootstrap: str, application: str, words: int) -> Iterator[tuple[float, int]]:
    """(seconds since the start, words committed) until all are."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    started = time.monotonic()
    done = 0
    while done < words:
        time.sleep(SAMPLE_S)
        done = committed(admin, application)
        yield time.monotonic() - started, done
        if time.monotonic() - started > 1800:
            raise TimeoutError(f"{application}: {done} of {words} words after 30 minutes")


def run_contender(contender: str, server: RunningBroker, expected: Mapping[str, int]) -> Outcome:
    words = sum(expected.values())
    state = tempfile.mkdtemp(prefix=f"bench-{contender}-state-")
    broker_before = cpu_s(server.pid)
    process = start_contender(contender, server.bootstrap, state)
    try:
        seen = list(samples(server.bootstrap, f"bench-{contender}", words))
        pid = process.pid
        cpu, resident = cpu_s(pid), resident_mb(pid)
        broker_cpu = cpu_s(server.pid) - broker_before
    finally:
        process.terminate()
        process.wait(60)
    first = next(at for at, done in seen if done)
    begin = next((at, done) for at, done in seen if done >= 0.3 * words)
    end_at = seen[-1][0]
    warm = (words - begin[1]) / (end_at - begin[0]) if end_at > begin[0] else 0
    right = read_counts(server.bootstrap, f"counts-{contender}") == dict(expected)
    return Outcome(
        contender,
        words,
        round(words / end_at),
        round(warm),
        round(cpu / words * 1e6, 3),
        round(broker_cpu / words * 1e6, 3),
        round(resident),
        round(first, 2),
        right,
    )


def read_counts(bootstrap: str, topic: str) -> dict[str, int]:
    """The latest count of each word, read by librdkafka."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "none", "enable.partition.eof": True}
    )
    consumer.assign([TopicPartition(topic, part, 0) for part in range(PARTITIONS)])
    latest: dict[str, int] = {}
    ended = 0
    while ended < PARTITIONS:
        for message in consumer.consume(10000, 5.0):
            if message.error() is not None:
                ended += 1
            else:
                latest[message.key().decode()] = int.from_bytes(message.value(), "big")
    consumer.close()
    return latest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=200)
    parser.add_argument("--broker", choices=["kafka", "streamkit"], default="kafka")
    parser.add_argument("--only", choices=["streamkit", "kafka-streams"])
    options = parser.parse_args()
    repeats = text.repeats_for(options.megabytes)
    expected = text.counts(repeats)
    contenders = [options.only] if options.only else ["streamkit", "kafka-streams"]
    with broker(options.broker, TIMERS) as server:
        load(server.bootstrap, repeats)
        outcomes = [run_contender(name, server, expected) for name in contenders]
    result = {"about": about(), "broker": options.broker, "megabytes": options.megabytes}
    print(json.dumps({**result, "outcomes": [asdict(o) for o in outcomes]}, indent=1))
    if len(outcomes) == 2:
        ratio = outcomes[0].warm_words_per_s / outcomes[1].warm_words_per_s
        print(f"streamkit does {ratio:.2f} x Kafka Streams, warm")
    sys.exit(not all(outcome.counts_right for outcome in outcomes))


if __name__ == "__main__":
    main()
