"""Interactive queries over HTTP from any worker, on Apache Kafka and on ours.

What a store says equals what librdkafka reads from its changelog. Three workers, standbys, one is
killed: stale reads go on, and the new owner answers in the end.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import confluent_kafka
import pytest

from streamkit.testing.broker import Broker
from tests.foreign import create_topics, latest, produce_lines, read_confluent
from tests.harness import WorkerProcess, wait_for
from tests.judges.crashes import apache_kafka
from tests.judges.test_standby import QUICK
from tests.judges.word_feed import group_lag
from tests.ports import free_ports

pytestmark = pytest.mark.judge

PROGRAM = """
import streamkit as sk
from tests.ports import free_ports

app = sk.App("asked")
lines = app.topic("lines", key=str, value=str)
words = app.stream(lines).flat_map_values(str.split, value=str).group_by(lambda _, w: w, key=str)
words.count(name="counts")
words.windowed_by(sk.tumbling("1h")).count(name="hourly")
words.windowed_by(sk.session("1h")).count(name="visits")
app.table("prices", key=str, value=int, store=sk.Materialized("prices", "versioned", history="9d"))
app.global_table("people", key=str, value=str, name="people")
"""
TIMERS = {**QUICK, "group.streams.session.timeout.ms": "15000"}
PARTITIONS = 4
LINES = [f"alpha beta-{n % 50} gamma/{n % 7}" for n in range(2_000)]
WORKERS = 3
DONE_AGAIN = "rolling back|all tasks are lost|was fenced"
"""What a worker says when it processes records twice, and commits them once."""
STORES = ("counts", "hourly", "visits", "prices")
BEGIN_MS = int(time.time() * 1000) - 3_600_000
"""Versions before the history that the store keeps may be compacted away from its changelog."""
ITEMS = [f"item-{number}" for number in range(20)]
PRICES = [
    (item, 100 * version + number, BEGIN_MS + 1_000 * version)
    for version in range(3)
    for number, item in enumerate(ITEMS)
]
PEOPLE = {f"person-{number}": f"Ann {number}" for number in range(30)}


@dataclass(frozen=True)
class Asked:
    """Three workers, where they listen, and their cluster."""

    bootstrap: str
    workers: list[WorkerProcess]
    ports: list[int]

    def get(self, worker: int, path: str, **fields: object) -> tuple[int, Any]:
        target = f"http://127.0.0.1:{self.ports[worker]}{path}?{urlencode(fields)}"
        try:
            with urllib.request.urlopen(target, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def ask(self, worker: int, path: str, **fields: object) -> tuple[int, Any]:
        """The answer of a store, asked again while it is not there."""

        def answered() -> tuple[int, Any] | None:
            status, told = self.get(worker, path, **fields)
            is_there = status != 503 and (status != 200 or "failures" not in told)
            return (status, told) if is_there else None

        return wait_for(answered, 60, f"an answer to {path}")

    def count(self, worker: int, word: str, **fields: object) -> int | None:
        status, told = self.ask(worker, f"/stores/counts/key/{quote(word, safe='')}", **fields)
        rows = told.get("rows", [])
        return rows[0]["value"] if status == 200 and rows else None


@contextmanager
def asked(bootstrap: str, directory: Path) -> Iterator[Asked]:
    create_topics(bootstrap, PARTITIONS, "lines", "prices", "people")
    program = directory / "asked.py"
    program.write_text(PROGRAM)
    first = free_ports(WORKERS)
    ports = list(range(first, first + WORKERS))
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
        produce_rows(bootstrap)
        topics = dict.fromkeys(("lines", "prices", "asked-counts-repartition"), PARTITIONS)
        wait_for(lambda: group_lag(bootstrap, "asked", topics) == 0, 60, "the lag of 0")
        yield everything


def produce_rows(bootstrap: str) -> None:
    """Three prices of each item, one a second, and everybody's name."""
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"}
    )
    for item, price, at in PRICES:
        producer.produce("prices", price.to_bytes(8, "big"), item, timestamp=at)
    for person, name in PEOPLE.items():
        producer.produce("people", name, person)
    assert producer.flush(30) == 0


def settings(port: int) -> Mapping[str, str]:
    return {
        "num.standby.replicas": "1",
        "web.listener": f"127.0.0.1:{port}",
        "producer.transaction.timeout.ms": "10000",
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
        apache_kafka(tmp_path / "kafka", TIMERS) as broker,
        asked(broker.bootstrap, tmp_path) as everything,
    ):
        check(everything)


def test_queries_on_our_broker(tmp_path: Path) -> None:
    with Broker(config=TIMERS) as broker, asked(broker.bootstrap, tmp_path) as everything:
        check(everything)


def check(everything: Asked) -> None:
    table = latest(read_confluent(everything.bootstrap, "asked-counts-changelog", PARTITIONS))
    assert table["alpha"] == len(LINES)
    check_keys(everything, table)
    check_ranges(everything, table)
    check_windows(everything)
    check_versions(everything, range(WORKERS))
    check_global_rows(everything)
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
            status, told = everything.ask(1, path, next=after, **fields)
            assert status == 200, told
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
        status, told = everything.ask(2, f"/stores/{store}/windows/alpha")
        assert status == 200
        assert sum(row["value"] for row in told["rows"]) == len(LINES)
        window = told["rows"][0]["window"]
        assert window["start"] <= told["rows"][0]["timestamp"]
        status, told = everything.ask(2, f"/stores/{store}/windows", to=window["start"] - 1)
        assert (status, told["rows"]) == (200, [])


def check_versions(everything: Asked, workers: Iterable[int]) -> None:
    """Any worker tells what an item's price was at any time."""
    for worker in workers:
        for number, item in enumerate(ITEMS):
            place = f"/stores/prices/key/{item}"
            _, now = everything.ask(worker, place, timeout_ms=8000)
            assert now["rows"][0]["value"] == 200 + number
            _, then = everything.ask(worker, place, as_of=BEGIN_MS + 1_500)
            row = then["rows"][0]
            assert (row["value"], row["timestamp"]) == (100 + number, BEGIN_MS + 1_000)
            _, before = everything.ask(worker, place, as_of=BEGIN_MS - 1)
            assert before["rows"] == []
        place = f"/stores/prices/versions/{ITEMS[7]}"
        for fields, values in (
            ({}, [7, 107, 207]),
            ({"reverse": "true"}, [207, 107, 7]),
            ({"from": BEGIN_MS + 1_000, "to": BEGIN_MS + 1_999}, [107]),
            ({"from": BEGIN_MS + 999, "to": BEGIN_MS + 1_000}, [7, 107]),
        ):
            _, told = everything.ask(worker, place, **fields)
            assert [row["value"] for row in told["rows"]] == values
        assert everything.get(worker, "/stores/prices/range")[0] == 400


def check_global_rows(everything: Asked) -> None:
    """Every worker has all rows of a global table, and asks nobody."""
    for worker in range(WORKERS):

        def everybody(worker: int = worker) -> bool:
            status, told = everything.get(worker, "/stores/people/range")
            return status == 200 and {r["key"]: r["value"] for r in told["rows"]} == PEOPLE

        wait_for(everybody, 20, f"all rows at worker {worker}")
        status, told = everything.get(worker, "/stores/people/key/person-7", local="true")
        rows = [row for each in told["answers"] for row in each.get("rows", [])]
        assert (status, [row["value"] for row in rows]) == (200, ["Ann 7"])
        _, told = everything.ask(worker, "/stores/people/prefix/person-2")
        assert {row["key"] for row in told["rows"]} == {
            person for person in PEOPLE if person.startswith("person-2")
        }


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
    expected = len(LINES) * (1 + 3 * 3) + len(PRICES)
    if any(each.logged(DONE_AGAIN) for each in everything.workers):
        assert processed >= expected
    else:
        assert processed == expected


def read(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return answer.read().decode()


def check_metadata(everything: Asked) -> None:
    _, hosts = everything.get(0, "/hosts")
    assert {each["port"] for each in hosts} == set(everything.ports)
    _, told = everything.ask(1, "/stores/counts/hosts", key="alpha")
    (owner,) = told["partitions"]
    here = everything.ports.index(int(owner["active"][0].rpartition(":")[2]))
    assert everything.count(here, "alpha", local="true") is None  # `answers`, not `rows`
    status, local = everything.get(here, "/stores/counts/key/alpha", local="true")
    rows = [row for each in local["answers"] for row in each.get("rows", [])]
    assert (status, rows[0]["value"]) == (200, len(LINES))


def check_loss_of_a_worker(everything: Asked, table: Mapping[str, int]) -> None:
    _, told = everything.ask(0, "/stores/counts/hosts", key="alpha")
    owner = everything.ports.index(int(told["partitions"][0]["active"][0].rpartition(":")[2]))
    other = (owner + 1) % WORKERS
    everything.workers[owner].kill()
    assert everything.count(other, "alpha", stale="true", timeout_ms=5000) == table["alpha"]
    wait_for(lambda: everything.count(other, "alpha") == table["alpha"], 40, "a new owner")
    for word, count in table.items():
        assert everything.count(other, word, timeout_ms=8000) == count
    check_versions(everything, [other])
