"""The latency of single records at a fixed rate: to the acknowledgement, and to a consumer."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.machine import RunningBroker

RECORD_BYTES = 1024
WARM_UP_S = 2.0


@dataclass(frozen=True)
class Latency:
    """Milliseconds, of the records behind the warm-up."""

    broker: str
    records_per_s: int
    sent_per_s: float
    ack_p50: float
    ack_p99: float
    end_to_end_p50: float
    end_to_end_p99: float


def measure_latency(server: RunningBroker, topic: str, rate: int, seconds: float) -> Latency:
    """Send single records at a rate, `linger.ms=0`, and read them as they come."""
    acks: list[float] = []
    arrivals: list[float] = []
    total = int(rate * (seconds + WARM_UP_S))
    warm = int(rate * WARM_UP_S)
    reader = threading.Thread(target=_read, args=(server.bootstrap, topic, total, arrivals))
    reader.start()
    producer = Producer({"bootstrap.servers": server.bootstrap, "acks": "all", "linger.ms": 0})
    padding = bytes(RECORD_BYTES - 8)
    begun = time.perf_counter_ns()
    for index in range(total):
        due = begun + index * 1_000_000_000 // rate
        while (wait := due - time.perf_counter_ns()) > 0:
            producer.poll(wait / 1e9)
        sent = time.perf_counter_ns()

        def acked(error: object, _message: object, sent: int = sent) -> None:
            if error is not None:
                raise RuntimeError(str(error))
            acks.append((time.perf_counter_ns() - sent) / 1e6)

        producer.produce(topic, sent.to_bytes(8, "big") + padding, partition=0, on_delivery=acked)
        producer.poll(0)
    elapsed = (time.perf_counter_ns() - begun) / 1e9
    producer.flush(30)
    reader.join(60)
    if len(arrivals) < total:
        raise RuntimeError(f"{len(arrivals)} of {total} records arrived")
    return Latency(
        server.kind, rate, round(total / elapsed, 1), *_percentiles(acks[warm:]),
        *_percentiles(arrivals[warm:]),
    )  # fmt: skip


def _percentiles(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return tuple(round(ordered[int(len(ordered) * each)], 2) for each in (0.5, 0.99))  # type: ignore[return-value]


def _read(bootstrap: str, topic: str, total: int, arrivals: list[float]) -> None:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "none", "fetch.wait.max.ms": 500}
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    deadline = time.monotonic() + 120
    while len(arrivals) < total and time.monotonic() < deadline:
        message = consumer.poll(1.0)
        if message is None or message.error():
            continue
        sent = int.from_bytes((message.value() or b"")[:8], "big")
        arrivals.append((time.perf_counter_ns() - sent) / 1e6)
    consumer.close()
