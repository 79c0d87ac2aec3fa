"""The examples end to end: their answers equal those computed directly in Python."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import confluent_kafka
import kafka
import pytest

from streamkit.testing.broker import Broker
from tests.foreign import (
    create_topics,
    latest,
    produce_lines,
    read_aiokafka,
    read_confluent,
)
from tests.harness import ROOT, WorkerProcess, streamkit, wait_for

PARTITIONS = 2
QUICK = {"commit.interval.ms": "100"}

sys.path.insert(0, str(ROOT / "examples"))


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


def test_word_count_equals_counter_for_foreign_readers(broker: Broker, tmp_path: Path) -> None:
    from word_count_demo import text

    lines = text()
    expected = Counter(word for line in lines for word in line.split())
    create_topics(broker.bootstrap, PARTITIONS, "lines", "counts")
    produce_lines(broker.bootstrap, "lines", lines, PARTITIONS)
    with WorkerProcess("examples/word_count.py", broker.bootstrap, tmp_path, settings=QUICK):
        wait_for(
            lambda: latest(read_confluent(broker.bootstrap, "counts", PARTITIONS)) == expected,
            60,
            "the true counts",
        )
    assert latest(read_aiokafka(broker.bootstrap, "counts", PARTITIONS)) == expected


def test_topic_filled_by_kafka_python_is_processed(broker: Broker, tmp_path: Path) -> None:
    create_topics(broker.bootstrap, PARTITIONS, "lines", "counts")
    producer = kafka.KafkaProducer(bootstrap_servers=broker.bootstrap)
    for number in range(500):
        producer.send("lines", f"to be {number % 7} or not to be".encode())
    producer.flush()
    producer.close()
    expected = Counter({"to": 1000, "be": 1000, "or": 500, "not": 500})
    expected.update(str(number % 7) for number in range(500))
    with WorkerProcess("examples/word_count.py", broker.bootstrap, tmp_path, settings=QUICK):
        wait_for(
            lambda: latest(read_confluent(broker.bootstrap, "counts", PARTITIONS)) == expected,
            30,
            "the true counts",
        )


FLIGHTS = 60_000
"""Two months of them: the demo takes the whole year."""


def test_flights_average_equals_the_one_computed_directly(broker: Broker, tmp_path: Path) -> None:
    from flights_demo import flights, true_averages

    every = list(flights())
    assert len(every) == 336_776
    rows = every[:FLIGHTS]
    expected = true_averages(rows)
    create_topics(broker.bootstrap, PARTITIONS, "flights", "average-delays")
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": broker.bootstrap, "queue.buffering.max.messages": 1_000_000}
    )
    for carrier, flight in rows:
        producer.produce("flights", flight.model_dump_json(), key=carrier)
    assert producer.flush(60) == 0

    def averages() -> dict[str, float]:
        rows = read_confluent(broker.bootstrap, "average-delays", PARTITIONS)
        return {(key or b"").decode(): struct.unpack(">d", value or b"")[0] for key, value in rows}

    with WorkerProcess("examples/flights.py", broker.bootstrap, tmp_path, settings=QUICK):
        wait_for(lambda: averages() == pytest.approx(expected, abs=1e-6), 120, "the true averages")


def test_demo_counts_and_says_how_fast(tmp_path: Path) -> None:

    done = subprocess.run(
        [sys.executable, "examples/word_count.py", "--megabytes", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "counts equal collections.Counter's" in done.stdout
    assert "records/s" in done.stdout


def start_run(data: Path) -> subprocess.Popen[str]:
    """`streamkit run` of the word count."""
    argv = [sys.executable, "-m", "streamkit", "run", "examples/word_count.py"]
    argv += ["--listen", "127.0.0.1:0", "--data", str(data), "--set", "commit.interval.ms=50"]
    return subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_run_ends_when_its_broker_does(tmp_path: Path) -> None:
    process = start_run(tmp_path)
    try:
        assert process.stdout is not None, "stdout is a pipe"
        process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (broker,) = (int(pid) for pid in children)
        os.kill(broker, signal.SIGKILL)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 1, errors
    assert "streamkit: the broker ended with status -9, so the program ends" in errors


def test_run_starts_everything_and_ctrl_c_stops_it(tmp_path: Path) -> None:
    process = start_run(tmp_path)
    try:
        assert process.stdout is not None, "stdout is a pipe"
        line = process.stdout.readline()
        bootstrap = line.split("broker on ")[1].split(",")[0]
        done = streamkit("produce", "lines", "to be or not to be", "--bootstrap", bootstrap)
        assert done.returncode == 0, done.stderr
        wait_for(
            lambda: (
                latest(read_confluent(bootstrap, "counts", 1))
                == {"to": 2, "be": 2, "or": 1, "not": 1}
            ),
            30,
            "the counts",
        )
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
