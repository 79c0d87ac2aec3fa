"""Interactive queries over HTTP from any worker, on Apache Kafka and on ours.

What a store says equals what librdkafka reads from its changelog. Three workers, standbys, one is
killed: stale reads go on, and the new owner answers in the end.
"""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from streamkit.testing.broker import Broker
from tests.foreign import create_topics, latest, produce_lines, read_confluent
from tests.harness import WorkerProcess, wait_for
from tests.judges.crashes import apache_kafka
from tests.judges.test_standby import QUICK
from tests.judges.word_feed import group_lag

pytestmark = pytest.mark.judge

PROGRAM = """
import streamkit as sk

app = sk.App("asked")
lines = app.topic("lines", key=str, value=str)
words = app.stream(lines).flat_map_values(str.split, value=str).group_by(lambda _, w: w, key=str)
words.count(name="counts")
words.windowed_by(sk.tumbling("1h")).count(name="hourly")
words.windowed_by(sk.session("1h")).count(name="visits")
"""
PARTITIONS = 4
LINES = [f"alpha beta-{n % 50} gamma/{n % 7}" for n in range(2_000)]
WORKERS = 3
STORES = ("counts", "hourly", "visits")


@dataclass(frozen=True)
class Asked:
    """Three workers, where they listen, and their cluster."""

    bootstrap: str
    workers: list[WorkerProcess]
    ports: list[int]

    def get(self, worker: int, path: str, **fields: object) -> tuple[int, Any]:
        target = f"http://127.0.0.1:{self.ports[worker]}{path}?{urlencode(fields)}"
        try:
            with urllib.request.urlopen(target, timeout=15) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def count(self, worker: int, word: str, **fields: object) -> int | None:
        status, told = self.get(worker, f"/stores/counts/key/{quote(word, safe='')}", **fields)
        rows = told.get("rows", [])
        return rows[0]["value"] if status == 200 and rows else None


@contextmanager
def asked(bootstrap: str, directory: Path) -> Iterator[Asked]:
    create_topics(bootstrap, PARTITIONS, "lines")
    program = directory / "asked.py"
    program.write_text(PROGRAM)
    ports = free_ports()
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                WorkerProcess(program, bootstrap, directory / str(port), settings=settings(port))
            )
            for port in ports
        ]
        everything = Asked(bootstrap, workers, ports)
        wait_for(lambda: spread(everything), 60, "tasks and standbys everywhere")
        produce_lines(bootstrap, "lines", LINES, PARTITIONS)
        topics = {"lines": PARTITIONS, "asked-counts-repartition": PARTITIONS}
        wait_for(lambda: group_lag(bootstrap, "asked", topics) == 0, 60, "the lag of 0")
        yield everything


def free_ports() -> list[int]:
    """Ports that are free at the moment."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(WORKERS)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def settings(port: int) -> Mapping[str, str]:
    return {
        "num.standby.replicas": "1",
        "web.listener": f"127.0.0.1:{port}",
        "producer.transaction.timeout.ms": "2000",
    }


def spread(everything: Asked) -> bool:
    """Every worker knows all workers, and an owner and a standby of each partition."""
    for number in range(WORKERS):
        try:
            told = [everything.get(number, f"/stores/{name}/hosts")[1] for name in STORES]
            _, hosts = everything.get(number, "/hosts")
        except OSError:
            return False
        partitions = [part for each in told for part in each.get("partitions", [])]
        if len(partitions) < len(STORES) * PARTITIONS or len(hosts) < WORKERS:
            return False
        if not all(each["active"] and each["standby"] for each in partitions):
            return False
    return True


def test_queries_on_apache_kafka(tmp_path: Path) -> None:
    with (
        apache_kafka(tmp_path / "kafka", QUICK) as broker,
        asked(broker.bootstrap, tmp_path) as everything,
    ):
        check(everything)


def test_queries_on_our_broker(tmp_path: Path) -> None:
    with Broker(config=QUICK) as broker, asked(broker.bootstrap, tmp_path) as everything:
        check(everything)


def check(everything: Asked) -> None:
    table = latest(read_confluent(everything.bootstrap, "asked-counts-changelog", PARTITIONS))
    assert table["alpha"] == len(LINES)
    check_keys(everything, table)
    check_ranges(everything, table)
    check_windows(everything)
    check_refusals(everything)
    check_metrics(everything)
    check_metadata(everything)
    check_loss_of_a_worker(everything, table)


def check_keys(everything: Asked, table: Mapping[str, int]) -> None:
    for worker in range(WORKERS):
        for word, count in table.items():
            assert everything.count(worker, word) == count, f"{word} at worker {worker}"
    assert everything.count(0, "missing") is None


def check_ranges(everything: Asked, table: Mapping[str, int]) -> None:
    def rows(path: str, **fields: object) -> dict[str, int]:
        found: dict[str, int] = {}
        after = ""
        while True:
            status, told = everything.get(1, path, next=after, **fields)
            assert status == 200, told
            assert "failures" not in told
            found |= {row["key"]: row["value"] for row in told["rows"]}
            after = told["next"]
            if after is None:
                return found

    assert rows("/stores/counts/range") == table
    assert rows("/stores/counts/range", limit=3) == table
    between = {word: n for word, n in table.items() if "beta-2" <= word <= "gamma/3"}
    assert rows("/stores/counts/range", low="beta-2", high="gamma/3", limit=2) == between
    begin = {word: n for word, n in table.items() if word.startswith("beta-1")}
    assert rows("/stores/counts/prefix/beta-1", reverse="true") == begin


def check_windows(everything: Asked) -> None:
    for store in ("hourly", "visits"):
        status, told = everything.get(2, f"/stores/{store}/windows/alpha")
        assert status == 200
        assert sum(row["value"] for row in told["rows"]) == len(LINES)
        window = told["rows"][0]["window"]
        assert window["start"] <= told["rows"][0]["timestamp"]
        status, told = everything.get(2, f"/stores/{store}/windows", to=window["start"] - 1)
        assert (status, told["rows"]) == (200, [])


def check_refusals(everything: Asked) -> None:
    assert everything.get(0, "/stores/nothing/key/a")[0] == 404
    assert everything.get(0, "/stores/hourly/key/a")[0] == 400
    assert everything.get(0, "/stores/counts/key/a", position="x")[0] == 400
    status, told = everything.get(
        0, "/stores/counts/key/alpha", position=f"asked-counts-repartition-{0}:10000000,"
        f"asked-counts-repartition-1:10000000,asked-counts-repartition-2:10000000,"
        f"asked-counts-repartition-3:10000000", timeout_ms=300,
    )  # fmt: skip
    assert status == 503
    assert {each["reason"] for each in told["failures"].values()} == {"NOT_UP_TO_BOUND"}


def check_metrics(everything: Asked) -> None:
    processed = 0.0
    for port in everything.ports:
        scraped = read(port, "/metrics")
        assert read(port, "/healthz") == read(port, "/readyz") == "ok\n"
        processed += sum(
            float(line.rpartition(" ")[2])
            for line in scraped.splitlines()
            if line.startswith("kafka_streams_stream_thread_metrics_process_total{")
        )
    # Three words a line, each of them read again from three repartition topics.
    assert processed == len(LINES) * (1 + 3 * 3)


def read(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=15) as answer:
        return answer.read().decode()


def check_metadata(everything: Asked) -> None:
    _, hosts = everything.get(0, "/hosts")
    assert {each["port"] for each in hosts} == set(everything.ports)
    _, told = everything.get(1, "/stores/counts/hosts", key="alpha")
    (owner,) = told["partitions"]
    here = everything.ports.index(int(owner["active"][0].rpartition(":")[2]))
    assert everything.count(here, "alpha", local="true") is None  # `answers`, not `rows`
    status, local = everything.get(here, "/stores/counts/key/alpha", local="true")
    rows = [row for each in local["answers"] for row in each.get("rows", [])]
    assert (status, rows[0]["value"]) == (200, len(LINES))


def check_loss_of_a_worker(everything: Asked, table: Mapping[str, int]) -> None:
    _, told = everything.get(0, "/stores/counts/hosts", key="alpha")
    owner = everything.ports.index(int(told["partitions"][0]["active"][0].rpartition(":")[2]))
    other = (owner + 1) % WORKERS
    everything.workers[owner].kill()
    assert everything.count(other, "alpha", stale="true", timeout_ms=5000) == table["alpha"]
    wait_for(lambda: everything.count(other, "alpha") == table["alpha"], 40, "a new owner")
    for word, count in table.items():
        assert everything.count(other, word, timeout_ms=8000) == count
