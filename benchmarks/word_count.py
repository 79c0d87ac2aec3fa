"""Word count end to end: one streamkit worker process beside Kafka Streams with one thread.

Both read the same topic of the same broker, one after the other; the broker has one core, the
application the other. Progress is what the application has committed, asked for with a foreign
client: half of the work is the lines that are split, half the words that are counted (both run
ahead of the words, so that words alone would flatter the last part). `warm` is the last 70% of
the work; CPU is that of the whole process, JVM and interpreter start left out of `warm`. The final
counts are checked, as librdkafka reads them.

    python -m benchmarks.word_count --megabytes 200 --broker kafka
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

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
SAMPLE_S = 0.1
WARM_FROM = 0.3
TIMERS = {
    "group.streams.initial.rebalance.delay.ms": "0",
    "group.streams.min.session.timeout.ms": "6000",
    "group.streams.session.timeout.ms": "10000",
    "group.streams.min.heartbeat.interval.ms": "500",
    "group.streams.heartbeat.interval.ms": "1000",
}


@dataclass(frozen=True)
class Sample:
    """Where a contender stood: seconds since its start, the share of the work that is committed,
    and the CPU seconds of its process and of the broker."""

    at_s: float
    done: float
    cpu_s: float
    broker_cpu_s: float


@dataclass(frozen=True)
class Outcome:
    """One contender's run."""

    contender: str
    words: int
    words_per_s: int
    warm_words_per_s: int
    cpu_us_per_word: float
    warm_cpu_us_per_word: float
    warm_broker_cpu_us_per_word: float
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


def start_contender(
    contender: str, bootstrap: str, state: str, commit_ms: int
) -> subprocess.Popen[bytes]:
    """Start the application pinned to the client's core."""
    application, output = f"bench-{contender}", f"counts-{contender}"
    if contender == "streamkit":
        argv = [sys.executable, "-m", "streamkit", "worker", "benchmarks/word_count_program.py"]
        argv += ["--bootstrap", bootstrap, "--set", f"state.dir={state}"]
        argv += ["--set", f"commit.interval.ms={commit_ms}"]
        argv += ["--set", "processing.guarantee=at_least_once"]
    else:
        spec = Path(state, "spec.json")
        spec.write_text(json.dumps(oracle_spec(output)))
        argv = [str(ORACLE), "run", str(spec), f"bootstrap.servers={bootstrap}"]
        argv += [f"application.id={application}", "group.protocol=streams", f"state.dir={state}"]
        argv += [f"commit.interval.ms={commit_ms}", "num.stream.threads=1"]
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


def committed(admin: AdminClient, application: str) -> tuple[int, int]:
    """How many lines and words the application has committed."""
    topics = ["lines", f"{application}-word-counts-repartition"]
    wanted = [TopicPartition(topic, part) for topic in topics for part in range(PARTITIONS)]
    request = [ConsumerGroupTopicPartitions(application, wanted)]
    try:
        found = admin.list_consumer_group_offsets(request)[application].result(10)
    except Exception:  # the group is not there yet
        return 0, 0
    lines = [max(0, part.offset) for part in found.topic_partitions if part.topic == "lines"]
    both = [max(0, part.offset) for part in found.topic_partitions]
    return sum(lines), sum(both) - sum(lines)


def samples(
    process: int, server: RunningBroker, application: str, lines: int, words: int
) -> Iterator[Sample]:
    """What was seen until everything is committed, one sample for each commit that was noticed."""
    admin = AdminClient({"bootstrap.servers": server.bootstrap})
    started, broker_before = time.monotonic(), cpu_s(server.pid)
    last = (0, 0)
    while last != (lines, words):
        time.sleep(SAMPLE_S)
        seen = committed(admin, application)
        at_s = time.monotonic() - started
        if seen != last:
            last = seen
            done = (seen[0] / lines + seen[1] / words) / 2
            yield Sample(at_s, done, cpu_s(process), cpu_s(server.pid) - broker_before)
        if at_s > 1800:
            raise TimeoutError(f"{application}: {seen[1]} of {words} words after 30 minutes")


def run_contender(
    contender: str, server: RunningBroker, lines: int, expected: Mapping[str, int], commit_ms: int
) -> Outcome:
    words = sum(expected.values())
    state = tempfile.mkdtemp(prefix=f"bench-{contender}-state-")
    process = start_contender(contender, server.bootstrap, state, commit_ms)
    try:
        seen = list(samples(process.pid, server, f"bench-{contender}", lines, words))
        resident = resident_mb(process.pid)
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(state, ignore_errors=True)
    right = read_counts(server.bootstrap, f"counts-{contender}") == dict(expected)
    return outcome(contender, words, seen, resident, right)


def outcome(
    contender: str, words: int, seen: Sequence[Sample], resident: float, right: bool
) -> Outcome:
    """The rates between the samples."""
    begin = next(sample for sample in seen if sample.done >= WARM_FROM)
    end = seen[-1]
    warm_words = (end.done - begin.done) * words
    seconds = end.at_s - begin.at_s
    return Outcome(
        contender,
        words,
        round(words / end.at_s),
        round(warm_words / seconds) if seconds else 0,
        round(end.cpu_s / words * 1e6, 3),
        round((end.cpu_s - begin.cpu_s) / warm_words * 1e6, 3) if warm_words else 0,
        round((end.broker_cpu_s - begin.broker_cpu_s) / warm_words * 1e6, 3) if warm_words else 0,
        round(resident),
        round(seen[0].at_s, 2),
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
                word, count = message.key() or b"", message.value() or b""
                latest[word.decode()] = int.from_bytes(count, "big")
    consumer.close()
    return latest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=200)
    parser.add_argument("--broker", choices=["kafka", "streamkit"], default="kafka")
    parser.add_argument("--only", choices=["streamkit", "kafka-streams"])
    parser.add_argument("--commit-interval-ms", type=int, default=COMMIT_INTERVAL_MS)
    options = parser.parse_args()
    repeats = text.repeats_for(options.megabytes)
    lines = len(text.lines()) * repeats
    expected = text.counts(repeats)
    contenders = [options.only] if options.only else ["streamkit", "kafka-streams"]
    with broker(options.broker, TIMERS) as server:
        load(server.bootstrap, repeats)
        commit_ms = options.commit_interval_ms
        outcomes = [run_contender(name, server, lines, expected, commit_ms) for name in contenders]
    settings = {"broker": options.broker, "megabytes": options.megabytes, "commit_ms": commit_ms}
    result = {"about": about(), **settings}
    print(json.dumps({**result, "outcomes": [asdict(o) for o in outcomes]}, indent=1))
    if len(outcomes) == 2 and all(each.warm_cpu_us_per_word for each in outcomes):
        ours, theirs = outcomes
        rate = ours.warm_words_per_s / theirs.warm_words_per_s
        cpu = theirs.warm_cpu_us_per_word / ours.warm_cpu_us_per_word
        print(
            f"warm, streamkit does {rate:.2f} x Kafka Streams, {cpu:.2f} x for each second of CPU"
        )
    sys.exit(not all(outcome.counts_right for outcome in outcomes))


if __name__ == "__main__":
    main()
