"""What the coordinator says is wrong, told by a worker with what to do, on both brokers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest

from streamkit.testing.broker import Broker
from tests.foreign import create_topics
from tests.harness import WorkerProcess, streamkit, wait_for
from tests.judges.crashes import apache_kafka

pytestmark = pytest.mark.judge

PROGRAM = "tests/judges/doomed_program.py"
GROUP = "doomed"
TIMERS = {
    "group.streams.initial.rebalance.delay.ms": "0",
    "group.streams.min.heartbeat.interval.ms": "500",
    "group.streams.heartbeat.interval.ms": "500",
}


@pytest.fixture(params=["apache", "streamkit"])
def bootstrap(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with ExitStack() as stack:
        running: Any = (
            stack.enter_context(Broker(config=TIMERS))
            if request.param == "streamkit"
            else stack.enter_context(apache_kafka(tmp_path / "kafka", TIMERS))
        )
        yield running.bootstrap


def test_each_status_stops_or_starts_workers(bootstrap: str, tmp_path: Path) -> None:
    assert "Source topics orders, prices are missing; make them" in ended(bootstrap, tmp_path)
    create_topics(bootstrap, 3, "orders", "bills")
    create_topics(bootstrap, 2, "prices")
    told = ended(bootstrap, tmp_path)
    assert "INCORRECTLY_PARTITIONED_TOPICS" in told
    assert "[{orders=3, prices=2}]" in told
    grown = streamkit("topics", "alter", "prices", "--partitions", "3", "--bootstrap", bootstrap)
    assert grown.returncode == 0, grown.stderr
    with worker(bootstrap, tmp_path / "one") as one, worker(bootstrap, tmp_path / "two") as two:
        for each in (one, two):
            wait_for(lambda each=each: each.logged("task 0_. *: running"), 60, "a running task")
        producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
        producer.produce("orders", "poison", "key")
        assert producer.flush(30) == 0
        status = [each.process.wait(60) for each in (one, two)]
    failed, followed = (one, two) if "ValueError: poison" in one.output() else (two, one)
    print(f"\n{status}\n{failed.output()[-700:]}\n{followed.output()[-700:]}")
    assert "ValueError: poison" in failed.output()
    assert "SHUTDOWN_APPLICATION" in followed.output()
    assert "encountered a fatal error" in followed.output()


def worker(bootstrap: str, directory: Path) -> WorkerProcess:
    return WorkerProcess(PROGRAM, bootstrap, directory)


def ended(bootstrap: str, directory: Path) -> str:
    """What a worker says that gives up at once."""
    with worker(bootstrap, directory / "first") as each:
        assert each.process.wait(60) == 1
        return each.output()
