"""Produce and fetch rates of librdkafka's client against our broker and Apache Kafka, in one run.

The broker has one core, the client the other; acks=all, one node. Reported per record size and
batch size: records/s, MB/s and the broker's CPU per MB.

    python -m benchmarks.produce_fetch --megabytes 200
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.machine import CLIENT_CORE, RunningBroker, about, broker, cpu_s, resident_mb

CASES = [(100, 16_384), (100, 1_000_000), (1024, 16_384), (1024, 1_000_000)]
"""(record bytes, batch bytes)"""


@dataclass(frozen=True)
class Rate:
    """One direction of one case."""

    broker: str
    direction: str
    record_bytes: int
    batch_bytes: int
    records_per_s: int
    mb_per_s: float
    broker_cpu_ms_per_mb: float


def produce(server: RunningBroker, topic: str, size: int, batch: int, records: int) -> Rate:
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

    cpu_before, started = cpu_s(server.pid), time.monotonic()
    for _ in range(records):
        while True:
            try:
                producer.produce(topic, payload, partition=0, on_delivery=on_delivery)
                break
            except BufferError:
                producer.poll(0.01)
    left = producer.flush(60)
    if left or failed:
        raise RuntimeError(f"{left} records left, {len(failed)} failed: {failed[:1]}")
    return _rate(server, "produce", size, batch, records, time.monotonic() - started, cpu_before)


def fetch(server: RunningBroker, topic: str, size: int, batch: int, records: int) -> Rate:
    consumer = Consumer(
        {
            "bootstrap.servers": server.bootstrap,
            "group.id": "none",
            "fetch.wait.max.ms": 100,
            "queued.max.messages.kbytes": 65_536,
            "queued.min.messages": 1_000_000,
            "max.partition.fetch.bytes": 1_048_576,
        }
    )
    cpu_before, started = cpu_s(server.pid), time.monotonic()
    consumer.assign([TopicPartition(topic, 0, 0)])
    seen = 0
    while seen < records:
        # It waits until it has as many as it was asked for.
        messages = consumer.consume(min(10_000, records - seen), 10.0)
        if not messages:
            raise RuntimeError(f"only {seen} of {records} records came")
        seen += len(messages)
    elapsed = time.monotonic() - started
    consumer.close()
    return _rate(server, "fetch", size, batch, records, elapsed, cpu_before)


def _rate(
    server: RunningBroker, way: str, size: int, batch: int, records: int, s: float, before: float
) -> Rate:
    megabytes = size * records / 1e6
    cpu_ms = (cpu_s(server.pid) - before) * 1000 / megabytes
    return Rate(
        server.kind, way, size, batch, int(records / s), round(megabytes / s, 1), round(cpu_ms, 2)
    )


def run_broker(kind: str, megabytes: float) -> list[Rate]:
    rates = []
    with broker(kind) as server:
        admin = AdminClient({"bootstrap.servers": server.bootstrap})
        warm = create_topic(admin, "warm-up")
        produce(server, warm, 1024, 16_384, 20_000)
        for size, batch in CASES:
            topic = create_topic(admin, f"bench-{size}-{batch}")
            records = int(megabytes * 1e6 / size)
            rates.append(produce(server, topic, size, batch, records))
            rates.append(fetch(server, topic, size, batch, records))
        print(f"{kind}: ready after {server.ready_s:.2f} s, {resident_mb(server.pid):.0f} MB")
    return rates


def create_topic(admin: AdminClient, name: str) -> str:
    """Make a topic of one partition; its name."""
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)
    return name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--brokers", nargs="+", default=["streamkit", "kafka"])
    options = parser.parse_args()
    os.sched_setaffinity(0, {CLIENT_CORE})
    rates = [rate for kind in options.brokers for rate in run_broker(kind, options.megabytes)]
    print(json.dumps({"about": about(), "rates": [asdict(rate) for rate in rates]}, indent=1))


if __name__ == "__main__":
    main()
