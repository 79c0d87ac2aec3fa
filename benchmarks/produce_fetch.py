"""Produce and fetch: our broker and Apache Kafka side by side in one run.

Both run on one core, the clients on the other; acks=all, one node. Each case is measured on the
one and then on the other, several times; what is shown is the median. Two clients: `raw` sends
batches of exactly that size from bytes made beforehand and is never the bottleneck, so that it
measures the broker; `librdkafka` is what applications use. Then the latency of single records at
a fixed rate, memory, start, and the longest stall of our event loop.

    python -m benchmarks.produce_fetch --megabytes 50 --rounds 3
    python -m benchmarks.produce_fetch --clients raw --record-bytes 1024 --rates
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from uuid import UUID

from confluent_kafka import Consumer, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks import raw_client
from benchmarks.latency import measure_latency
from benchmarks.machine import (
    CLIENT_CORE,
    RunningBroker,
    about,
    broker,
    live_cpu_s,
    peak_resident_mb,
    resident_mb,
)
from streamkit.records import scan
from tests.ports import free_ports

CASES = [(100, 16_384), (100, 1_000_000), (1024, 16_384), (1024, 1_000_000)]
"""(record bytes, batch bytes)"""
PARTITIONS = (1, 6)
FETCH_BYTES = 1_048_576
CLIENTS = ("raw", "librdkafka")
STALL = "streamkit_eventloop_stall_ms_max"
WARM_UPS = 6
SETTLE_S, SETTLE_LOOKS_MAX = 0.05, 40
IDLE_SHARE = 0.1
"""Of a core: a broker that takes less is idle."""


@dataclass(frozen=True)
class Rate:
    """One direction of one case."""

    broker: str
    client: str
    direction: str
    record_bytes: int
    batch_bytes: int
    partitions: int
    batches_per_s: float
    records_per_s: float
    mb_per_s: float
    broker_cpu_ms_per_mb: float

    @property
    def case(self) -> tuple[str, str, int, int, int]:
        return (
            self.client, self.direction, self.record_bytes, self.batch_bytes, self.partitions
        )  # fmt: skip


@dataclass(frozen=True)
class Work:
    """What one measured stretch moved."""

    batches: float
    records: float
    megabytes: float


def produce(
    server: RunningBroker, topic: str, size: int, batch: int, records: int, partitions: int = 1
) -> float:
    """Send records with librdkafka, round robin; the seconds it took."""
    producer = Producer(
        {
            "bootstrap.servers": server.bootstrap,
            "acks": "all",
            "linger.ms": 20,
            "batch.size": batch,
            "batch.num.messages": 1_000_000,
            "queue.buffering.max.messages": 500_000,
        }
    )
    payload = os.urandom(size)
    failed: list[str] = []

    def on_delivery(error: object, _message: object) -> None:
        if error is not None:
            failed.append(str(error))

    started = time.monotonic()
    for index in range(records):
        while True:
            try:
                producer.produce(
                    topic, payload, partition=index % partitions, on_delivery=on_delivery
                )
                break
            except BufferError:
                producer.poll(0.01)
    left = producer.flush(60)
    if left or failed:
        raise RuntimeError(f"{left} records left, {len(failed)} failed: {failed[:1]}")
    return time.monotonic() - started


def fetch(server: RunningBroker, topic: str, records: int, partitions: int = 1) -> float:
    """Read records with librdkafka; the seconds it took."""
    consumer = Consumer(
        {
            "bootstrap.servers": server.bootstrap,
            "group.id": "none",
            "fetch.wait.max.ms": 100,
            "queued.max.messages.kbytes": 65_536,
            "queued.min.messages": 1_000_000,
            "max.partition.fetch.bytes": FETCH_BYTES,
        }
    )
    started = time.monotonic()
    consumer.assign([TopicPartition(topic, index, 0) for index in range(partitions)])
    seen = 0
    while seen < records:
        # It waits until it has as many as it was asked for.
        messages = consumer.consume(min(10_000, records - seen), 10.0)
        if not messages:
            raise RuntimeError(f"only {seen} of {records} records came")
        seen += len(messages)
    elapsed = time.monotonic() - started
    consumer.close()
    return elapsed


def wake_memory(megabytes: float) -> None:
    """Touch what memory the next files will take, so that neither broker waits for the host.

    Where the system reports free pages, the host takes them back within seconds, and a MB of the
    page cache then costs 2.2 ms to write in place of 0.3.
    """
    with tempfile.TemporaryFile() as file:
        for _ in range(int(megabytes * 16)):
            file.write(bytes(65_536))


class Bench:
    """One broker under test, and what is measured on it."""

    def __init__(self, server: RunningBroker, metrics_port: int | None) -> None:
        self.server = server
        self.metrics_port = metrics_port
        self.admin = AdminClient({"bootstrap.servers": server.bootstrap})
        self.idle_mb = resident_mb(server.pid)
        self.stall_ms = 0.0
        self._topics = 0

    def run_case(
        self, client: str, size: int, batch: int, partitions: int, megabytes: float
    ) -> Iterator[Rate]:
        """Produce, then fetch what was produced."""
        self._topics += 1
        name = create_topic(self.admin, f"{client}-{self._topics}", partitions)
        wake_memory(2 * megabytes)
        run = self._run_raw if client == "raw" else self._run_librdkafka
        for direction, seconds, cpu, work in run(name, size, batch, partitions, megabytes):
            yield Rate(
                self.server.kind, client, direction, size, batch, partitions,
                work.batches / seconds, work.records / seconds, work.megabytes / seconds,
                cpu * 1000 / work.megabytes,
            )  # fmt: skip
        self.note_stall()
        self.admin.delete_topics([name])[name].result(30)

    def _run_raw(
        self, topic: str, size: int, batch: int, partitions: int, megabytes: float
    ) -> Iterator[tuple[str, float, float, Work]]:
        encoded, count = raw_client.make_batch(size, batch)
        each = max(1, int(megabytes * 1e6 / len(encoded) / partitions))
        load = raw_client.Load(
            self.server.bootstrap, topic, topic_id(self.admin, topic), partitions, encoded,
            count, each,
        )  # fmt: skip
        work = Work(load.batches, load.batches * count, load.megabytes)
        yield "produce", *self._timed(lambda: raw_client.produce(load)), work
        # What a consumer asks for; and one batch at a time, to see what a request costs.
        yield "fetch", *self._timed(lambda: raw_client.fetch(load, FETCH_BYTES)), work
        if batch < FETCH_BYTES // 2:
            yield "fetch one", *self._timed(lambda: raw_client.fetch(load, len(encoded))), work

    def _run_librdkafka(
        self, topic: str, size: int, batch: int, partitions: int, megabytes: float
    ) -> Iterator[tuple[str, float, float, Work]]:
        records = int(megabytes * 1e6 / size)
        produced = self._timed(
            lambda: produce(self.server, topic, size, batch, records, partitions)
        )
        work = Work(stored_batches(self.server, topic), records, records * size / 1e6)
        yield "produce", *produced, work
        yield "fetch", *self._timed(lambda: fetch(self.server, topic, records, partitions)), work

    def _timed(self, run: Callable[[], float]) -> tuple[float, float]:
        """The seconds that `run` says, and the broker's CPU until it is idle again.

        A JVM compiles and collects for a while after the work that made it: that is its CPU, and
        must not fall into the time of the broker that is measured next.
        """
        cpu = self._settled_cpu_s()
        seconds = run()
        return seconds, self._settled_cpu_s() - cpu

    def _settled_cpu_s(self) -> float:
        cpu = live_cpu_s(self.server.pid)
        for _ in range(SETTLE_LOOKS_MAX):
            time.sleep(SETTLE_S)
            before, cpu = cpu, live_cpu_s(self.server.pid)
            if cpu - before < SETTLE_S * IDLE_SHARE:
                break
        return cpu

    def note_stall(self) -> None:
        """Keep the worst stall of our event loop; the endpoint tells that of the last minute."""
        if self.metrics_port is None:
            return
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"{STALL} "):
                    self.stall_ms = max(self.stall_ms, float(line.split()[1]))

    def summary(self) -> dict[str, float]:
        """Start and memory."""
        found = {
            "ready_s": round(self.server.ready_s, 2),
            "idle_mb": round(self.idle_mb),
            "loaded_mb": round(resident_mb(self.server.pid)),
            "peak_mb": round(peak_resident_mb(self.server.pid)),
        }
        if self.metrics_port is not None:
            found["stall_ms_max"] = round(self.stall_ms, 1)
        return found


def stored_batches(server: RunningBroker, topic: str) -> int:
    """How many batches lie in a topic's segments: how well the client filled them."""
    logs = Path(server.directory).rglob(f"{topic}-*/*.log")
    return sum(len(scan(path.read_bytes())) for path in logs)


def create_topic(admin: AdminClient, name: str, partitions: int = 1) -> str:
    """Make a topic and wait until it is led; its name."""
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(30)
    # Apache Kafka answers the creation before each of its parts knows the leaders.
    while any(
        each.leader < 0 for each in admin.list_topics(name, 10).topics[name].partitions.values()
    ):
        time.sleep(0.05)
    time.sleep(0.5)
    return name


def topic_id(admin: AdminClient, name: str) -> UUID:
    """The id of a topic."""
    described = admin.describe_topics(TopicCollection([name]))[name].result(30).topic_id
    bits = described.get_most_significant_bits() % 2**64, described.get_least_significant_bits()
    return UUID(int=(bits[0] << 64) | bits[1] % 2**64)


def medians(rates: list[Rate]) -> list[Rate]:
    """One rate for each broker and case: the median of each figure."""
    groups: dict[object, list[Rate]] = {}
    for rate in rates:
        groups.setdefault((rate.broker, rate.case), []).append(rate)
    figures = ("batches_per_s", "records_per_s", "mb_per_s", "broker_cpu_ms_per_mb")
    return [
        Rate(
            **{
                **asdict(group[0]),
                **{
                    name: round(statistics.median(getattr(each, name) for each in group), 2)
                    for name in figures
                },
            }
        )
        for group in groups.values()
    ]


def table(rates: list[Rate]) -> str:
    """Ours beside Kafka's, case by case."""
    ours = {rate.case: rate for rate in rates if rate.broker == "streamkit"}
    theirs = {rate.case: rate for rate in rates if rate.broker == "kafka"}
    lines = [
        "| client | | record B | batch B | partitions | ours batches/s | Kafka | ours MB/s | Kafka "
        "| ratio | ours CPU ms/MB | Kafka | ratio |",
        "|---" * 13 + "|",
    ]
    for case, mine in ours.items():
        client, direction, size, batch, partitions = case
        other = theirs.get(case)
        if other is None:
            continue
        cpu, other_cpu = mine.broker_cpu_ms_per_mb, other.broker_cpu_ms_per_mb
        lines.append(
            f"| {client} | {direction} | {size} | {batch} | {partitions} | "
            f"{mine.batches_per_s:,.0f} | {other.batches_per_s:,.0f} | "
            f"{mine.mb_per_s:.0f} | {other.mb_per_s:.0f} | "
            f"**{mine.mb_per_s / other.mb_per_s:.2f}** | {cpu:.2f} | {other_cpu:.2f} | "
            f"{cpu / other_cpu if other_cpu else 0:.2f} |"
        )
    return "\n".join(lines)


def start(stack: ExitStack, kind: str, clients: Sequence[str] = CLIENTS) -> Bench:
    """Start a broker and warm it up."""
    config = {"log.segment.delete.delay.ms": "1000"}
    port = None
    if kind == "streamkit":
        port = free_ports()
        config["metrics.listener"] = f"127.0.0.1:{port}"
    bench = Bench(stack.enter_context(broker(kind, config)), port)
    # The JVM compiles what runs often: it gets its time before anything is measured.
    for client in clients:
        for _ in range(WARM_UPS):
            for _rate in bench.run_case(client, 1024, 16_384, 2, 40):
                pass
    return bench


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--brokers", nargs="+", default=["streamkit", "kafka"])
    parser.add_argument("--clients", nargs="+", default=list(CLIENTS))
    parser.add_argument("--record-bytes", nargs="+", type=int, default=[100, 1024])
    parser.add_argument("--batch-bytes", nargs="+", type=int, default=[16_384, 1_000_000])
    parser.add_argument("--partitions", nargs="+", type=int, default=list(PARTITIONS))
    parser.add_argument("--rates", nargs="*", type=int, default=[1_000, 10_000])
    parser.add_argument("--latency-s", type=float, default=10)
    options = parser.parse_args()
    os.sched_setaffinity(0, {CLIENT_CORE})
    rates: list[Rate] = []
    latencies = []
    with ExitStack() as stack:
        benches = [start(stack, kind, options.clients) for kind in options.brokers]
        for client in options.clients:
            for size, batch in product(options.record_bytes, options.batch_bytes):
                for partitions in options.partitions:
                    for _ in range(options.rounds):
                        for bench in benches:
                            rates += bench.run_case(
                                client, size, batch, partitions, options.megabytes
                            )
        for rate_per_s in options.rates:
            for bench in benches:
                topic = create_topic(bench.admin, f"latency-{rate_per_s}")
                latencies.append(
                    measure_latency(bench.server, topic, rate_per_s, options.latency_s)
                )
                bench.note_stall()
        summaries = {bench.server.kind: bench.summary() for bench in benches}
    found = medians(rates)
    print(table(found))
    result = {
        "about": about(),
        "brokers": summaries,
        "latency": [asdict(each) for each in latencies],
        "rates": [asdict(rate) for rate in found],
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
