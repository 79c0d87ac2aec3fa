"""Four programs end to end: one streamkit worker process beside Kafka Streams with one thread.

Both read the same topics of the same broker, one after the other, Kafka Streams first, so that what
is compiled while it runs is compiled for both; the broker has one core, the application the other.
Progress is what the application has committed, asked for with a foreign client; with a repartition
topic in between, half of the work is what is read from the sources and half what is read from that
topic (the sources run ahead, so that the second half alone would flatter the last part). `warm`
leaves out the first 30% of the work, and `--warm-up-s` seconds when those are longer; CPU is that
of the whole process, JVM and interpreter start left out of `warm`. The final answer is checked, as
librdkafka reads it.

With `--together` both run at the same time and share the application's core, a session each, so
that neither has the better minutes of a machine whose speed varies. What is compared is the time
after the warm-up in which both work; then Kafka Streams is stopped, and only our answer is checked.

    python -m benchmarks.streams --program word-count --megabytes 200 --broker kafka
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.contest import (
    PARTITIONS,
    PROGRAMS,
    Answer,
    Program,
    checksum,
    spec_of,
    topics_of,
)
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

COMMIT_INTERVAL_MS = 500
SAMPLE_S = 0.1
STALLED_S = 60
KEPT = {"retention.ms": "-1"}
"""The records' times lie in the past: a broker would delete them after a while."""
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
    """One contender's run; `units` are words or records."""

    contender: str
    units: int
    units_per_s: int
    warm_units_per_s: int
    cpu_us_per_unit: float
    warm_cpu_us_per_unit: float
    warm_broker_cpu_us_per_unit: float
    resident_mb: float
    heartbeat_delay_max_ms: int | None
    first_commit_s: float
    answer_right: bool | None


@dataclass(frozen=True)
class Contest:
    """What both contenders run, and how."""

    program: Program
    megabytes: float
    guarantee: str
    commit_ms: int
    warm_up_s: float


def load(bootstrap: str, contest: Contest) -> dict[str, int]:
    """Make the topics and fill them; how many records each source has."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    program = contest.program
    made = admin.create_topics(
        [NewTopic(name, PARTITIONS, 1, config=KEPT) for name in topics_of(program)]
    )
    for future in made.values():
        future.result(30)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 50,
            "max.in.flight.requests.per.connection": 1,
            "batch.size": 262144,
            "queue.buffering.max.messages": 200000,
            "partitioner": "murmur2_random",
        }
    )
    counts = dict.fromkeys(program.sources, 0)
    for topic, key, value, partition, timestamp in program.feed(contest.megabytes):
        counts[topic] += 1
        while True:
            try:
                producer.produce(topic, value, key, partition, timestamp=timestamp)
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush()
    return counts


def start_contender(
    contender: str, bootstrap: str, state: str, contest: Contest
) -> subprocess.Popen[bytes]:
    """Start the application pinned to the client's core."""
    application, output = f"bench-{contender}", f"out-{contender}"
    settings = [f"state.dir={state}", f"commit.interval.ms={contest.commit_ms}"]
    settings += [f"processing.guarantee={contest.guarantee}"]
    if contender == "streamkit":
        argv = [sys.executable, "-m", "streamkit", "worker", "benchmarks/programs.py"]
        argv += ["--bootstrap", bootstrap, "--log-level", "debug"]
        argv += [word for each in settings for word in ("--set", each)]
    else:
        spec = Path(state, "spec.json")
        spec.write_text(json.dumps(spec_of(contest.program, output)))
        argv = [str(ORACLE), "run", str(spec), f"bootstrap.servers={bootstrap}"]
        argv += [f"application.id={application}", "group.protocol=streams", "num.stream.threads=1"]
        argv += settings
    environment = dict(
        os.environ,
        BENCH_APPLICATION=application,
        BENCH_OUTPUT=output,
        BENCH_PROGRAM=contest.program.name,
    )
    with Path(f"{state}.log").open("wb") as log:
        return subprocess.Popen(
            pinned(CLIENT_CORE, argv),
            cwd=ROOT,
            env=environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=log if contender == "streamkit" else None,
        )


def take_heartbeat_delay(state: str) -> int | None:
    """What the worker said of its heartbeats at its end; the rest of its log is shown."""
    path = Path(f"{state}.log")
    text = path.read_text()
    path.unlink()
    sys.stderr.write(text)
    found = re.search(r"heartbeats were at most (\d+) ms late", text)
    return None if found is None else int(found[1])


class Progress:
    """How much of its work one application has committed."""

    def __init__(
        self, bootstrap: str, application: str, contest: Contest, counts: Mapping[str, int]
    ) -> None:
        # A consumer that never joins: librdkafka's admin client crashes on this now and then.
        self.consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": application})
        self.application = application
        self.total = sum(counts.values())
        self.sources = contest.program.sources
        self.units = contest.program.units_in(contest.megabytes)
        stage = contest.program.stage
        self.stage = f"{application}-{stage}" if stage else None

    def committed(self) -> tuple[int, int]:
        """Records of the sources, and of the repartition topic (control records included)."""
        topics = [*self.sources, *([self.stage] if self.stage else [])]
        wanted = [TopicPartition(topic, part) for topic in topics for part in range(PARTITIONS)]
        try:
            found = self.consumer.committed(wanted, 10)
        except KafkaException:  # the group is not there yet
            return 0, 0
        sources = stage = 0
        for part in found:
            if part.topic == self.stage:
                stage += max(0, part.offset)
            else:
                sources += max(0, part.offset)
        return sources, stage

    def share(self, seen: tuple[int, int]) -> float:
        """Of all the work, how much is done; 1 only when everything is."""
        sources, stage = seen
        if self.stage is None:
            return sources / self.total
        if sources == self.total and self.left_in_stage(stage) <= 2 * PARTITIONS:
            return 1.0
        return (sources / self.total + min(1.0, stage / self.units) * 0.9999) / 2

    def left_in_stage(self, stage: int) -> int:
        """How far the end of the repartition topic is; markers may lie at it."""
        parts = [TopicPartition(self.stage or "", part) for part in range(PARTITIONS)]
        return sum(self.consumer.get_watermark_offsets(part, 10)[1] for part in parts) - stage


def samples(process: int, server: RunningBroker, progress: Progress) -> Iterator[Sample]:
    """What was seen until everything is committed, one sample for each commit that was noticed."""
    started, broker_before = time.monotonic(), cpu_s(server.pid)
    last, done, moved_s = (0, 0), 0.0, 0.0
    while done < 1:
        time.sleep(SAMPLE_S)
        seen = progress.committed()
        at_s = time.monotonic() - started
        if seen != last:
            last, done, moved_s = seen, progress.share(seen), at_s
            yield Sample(at_s, done, cpu_s(process), cpu_s(server.pid) - broker_before)
        if at_s > moved_s + STALLED_S:
            raise TimeoutError(f"{progress.application}: {seen} committed, and no more")


@dataclass(frozen=True)
class Run:
    """What was seen of one contender."""

    seen: Sequence[Sample]
    resident_mb: float
    heartbeat_delay_ms: int | None


def watch_contender(
    contender: str,
    server: RunningBroker,
    contest: Contest,
    counts: Mapping[str, int],
    is_over: threading.Event | None = None,
) -> Run:
    """Run one until everything is committed, or the other one `is_over`."""
    state = tempfile.mkdtemp(prefix=f"bench-{contender}-state-")
    process = start_contender(contender, server.bootstrap, state, contest)
    progress = Progress(server.bootstrap, f"bench-{contender}", contest, counts)
    seen = []
    try:
        for sample in samples(process.pid, server, progress):
            seen.append(sample)
            if is_over is not None and is_over.is_set():
                break
        resident = resident_mb(process.pid)
    finally:
        if is_over is not None:
            is_over.set()
        process.terminate()
        process.wait(60)
        shutil.rmtree(state, ignore_errors=True)
        delay_ms = take_heartbeat_delay(state)
    return Run(seen, resident, delay_ms)


def run_contender(
    contender: str,
    server: RunningBroker,
    contest: Contest,
    counts: Mapping[str, int],
    expected: Answer,
) -> Outcome:
    run = watch_contender(contender, server, contest, counts)
    right = read_answer(server.bootstrap, f"out-{contender}", expected) == expected
    return outcome(contender, contest, run, right)


def run_together(
    server: RunningBroker, contest: Contest, counts: Mapping[str, int], expected: Answer
) -> list[Outcome]:
    """Both at once, until the first is through; see the module."""
    names = ("kafka-streams", "streamkit")
    is_over = threading.Event()
    with ThreadPoolExecutor(len(names)) as pool:
        watched = [
            pool.submit(watch_contender, name, server, contest, counts, is_over) for name in names
        ]
        runs = [each.result() for each in watched]
    # Both began within milliseconds of each other; the last samples of one may be alone.
    last_s = min(run.seen[-1].at_s for run in runs)
    rights = [None, read_answer(server.bootstrap, "out-streamkit", expected) == expected]
    return [
        outcome(
            name,
            contest,
            replace(run, seen=[each for each in run.seen if each.at_s <= last_s]),
            is_right,
        )
        for name, run, is_right in zip(names, runs, rights, strict=True)
    ]


def outcome(
    contender: str,
    contest: Contest,
    run: Run,
    right: bool | None,
) -> Outcome:
    """The rates between the samples."""
    seen = run.seen
    units = contest.program.units_in(contest.megabytes)
    warm = [each for each in seen if each.done >= WARM_FROM * seen[-1].done]
    late = [each for each in warm if each.at_s >= contest.warm_up_s]
    # Who is through before its warm-up is over is measured over the last part of its work.
    begin, end = (late if len(late) > 1 else warm or seen)[0], seen[-1]
    warm_units = (end.done - begin.done) * units
    seconds = end.at_s - begin.at_s

    def us(cpu_seconds: float, of_units: float) -> float:
        return round(cpu_seconds / of_units * 1e6, 3) if of_units else 0

    return Outcome(
        contender,
        units,
        round(units * end.done / end.at_s),
        round(warm_units / seconds) if seconds else 0,
        us(end.cpu_s, units * end.done),
        us(end.cpu_s - begin.cpu_s, warm_units),
        us(end.broker_cpu_s - begin.broker_cpu_s, warm_units),
        round(run.resident_mb),
        run.heartbeat_delay_ms,
        round(seen[0].at_s, 2),
        right,
    )


def read_answer(bootstrap: str, topic: str, like: Answer) -> Answer:
    """The latest value of each key, or how many records and the sum of their checksums."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "none", "enable.partition.eof": True}
    )
    consumer.assign([TopicPartition(topic, part, 0) for part in range(PARTITIONS)])
    latest: dict[bytes, bytes] = {}
    ended = count = total = 0
    while ended < PARTITIONS:
        for message in consumer.consume(10000, 5.0):
            if message.error() is not None:
                ended += 1
                continue
            key, value = message.key(), message.value()
            count += 1
            if isinstance(like, tuple):
                total += checksum(key, value)
            else:
                latest[key or b""] = value or b""
    consumer.close()
    return (count, total) if isinstance(like, tuple) else latest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", choices=list(PROGRAMS), default="word-count")
    parser.add_argument("--megabytes", type=float, default=200)
    parser.add_argument("--broker", choices=["kafka", "streamkit"], default="kafka")
    parser.add_argument("--only", choices=["streamkit", "kafka-streams"])
    parser.add_argument("--guarantee", default="at_least_once", help="or exactly_once_v2")
    parser.add_argument("--commit-interval-ms", type=int, default=COMMIT_INTERVAL_MS)
    parser.add_argument("--warm-up-s", type=float, default=0)
    parser.add_argument("--together", action="store_true", help="both at once, on one core")
    options = parser.parse_args()
    contest = Contest(
        PROGRAMS[options.program],
        options.megabytes,
        options.guarantee,
        options.commit_interval_ms,
        options.warm_up_s,
    )
    contenders = [options.only] if options.only else ["kafka-streams", "streamkit"]
    with broker(options.broker, TIMERS) as server:
        counts = load(server.bootstrap, contest)
        expected = contest.program.answer(contest.megabytes)
        if options.together:
            outcomes = run_together(server, contest, counts, expected)
        else:
            outcomes = [
                run_contender(name, server, contest, counts, expected) for name in contenders
            ]
    result = {"about": about(), **vars(options), "unit": contest.program.units}
    print(json.dumps({**result, "outcomes": [asdict(o) for o in outcomes]}, indent=1))
    if len(outcomes) == 2 and all(each.warm_cpu_us_per_unit for each in outcomes):
        theirs, ours = outcomes
        rate = ours.warm_units_per_s / theirs.warm_units_per_s
        cpu = theirs.warm_cpu_us_per_unit / ours.warm_cpu_us_per_unit
        print(
            f"{contest.program.name}, {contest.guarantee}: warm, streamkit does {rate:.2f} x "
            f"Kafka Streams, {cpu:.2f} x for each second of CPU"
        )
    sys.exit(any(outcome.answer_right is False for outcome in outcomes))


if __name__ == "__main__":
    main()
