"""A changed program joins a running group: taken over on ours, refused on Apache Kafka."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamkit.testing.broker import Broker
from tests.foreign import create_topics, latest, produce_lines, read_confluent
from tests.harness import WorkerProcess, streamkit, wait_for
from tests.judges.test_exactly_once import QUICK, apache_kafka

pytestmark = pytest.mark.judge

PARTITIONS = 2
OLD = """
import streamkit as sk

app = sk.App("shop")
lines = app.stream(app.topic("lines", key=str, value=str))
(
    lines.group_by(lambda _, line: line, key=str)
    .count(name="counts")
    .to_stream()
    .to(app.topic("counts", key=str, value=int))
)
"""
NEW = (
    OLD
    + """
(
    app.stream(app.topic("orders", key=str, value=str))
    .group_by(lambda _, order: order, key=str)
    .count(name="orders")
    .to_stream()
    .to(app.topic("order-counts", key=str, value=int))
)
"""
)
LESS = (
    OLD
    + """
(
    app.stream(app.topic("orders", key=str, value=str))
    .map_values(lambda order: len(order), value=int)
    .to(app.topic("order-counts", key=str, value=int))
)
"""
)
"""What the new program has but for a part of it, so that it could be an older one."""


def described(bootstrap: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(
        streamkit("groups", "describe", "shop", "--json", "--bootstrap", bootstrap).stdout
    )
    return shown


def prepare(bootstrap: str, directory: Path) -> tuple[Path, Path]:
    create_topics(bootstrap, PARTITIONS, "lines", "counts", "orders", "order-counts")
    produce_lines(bootstrap, "lines", ["one", "two"] * 10, PARTITIONS)
    produce_lines(bootstrap, "orders", ["tea", "milk"] * 10, PARTITIONS)
    old, new = directory / "old.py", directory / "new.py"
    old.write_text(OLD)
    new.write_text(NEW)
    return old, new


def worker(program: Path, bootstrap: str, directory: Path) -> WorkerProcess:
    return WorkerProcess(program, bootstrap, directory / f"{program.stem}-{directory.name}")


def counts(bootstrap: str, topic: str) -> dict[str, int]:
    return latest(read_confluent(bootstrap, topic, PARTITIONS))


def test_our_group_goes_on_with_the_new_topology_while_the_old_one_runs(tmp_path: Path) -> None:
    with Broker() as broker:
        at = broker.bootstrap
        old, new = prepare(at, tmp_path)
        with worker(old, at, tmp_path / "first") as first:
            wait_for(lambda: counts(at, "counts") == {"one": 10, "two": 10}, 60, "counts")
            with worker(new, at, tmp_path / "second") as second:
                wait_for(
                    lambda: counts(at, "order-counts") == {"tea": 10, "milk": 10}, 60, "orders"
                )
                wait_for(lambda: described(at)["state"] == "Stable", 30, "a stable group")
                shown = described(at)
                assert shown["topology_epoch"] == 1
                stale = [each for each in shown["members"] if each["topology_epoch"] == 0]
                assert len(stale) == 1
                assert stale[0]["assigned"]["active"], "the old worker still has tasks"
                assert "topology epoch 1 follows on 0" in shown["note"]
                assert "runs topology epoch 0, the group has 1" in shown["reasons"][0]
                produce_lines(at, "lines", ["one"] * 6, PARTITIONS)
                wait_for(lambda: counts(at, "counts")["one"] == 16, 30, "the old part goes on")
                assert first.stop() == 0
                wait_for(lambda: described(at)["reasons"] == [], 30, "no old worker")
                check = streamkit("topology", "check", str(less(tmp_path)), "--bootstrap", at)
                assert "the group cannot go on with it: sub-topology 3 is gone" in check.stdout
                with worker(less(tmp_path), at, tmp_path / "third") as third:
                    assert third.process.wait(60) != 0
                    refused = "none that the group had before its epoch 1: sub-topology 3 is gone"
                    assert refused in third.output()
                with worker(old, at, tmp_path / "fourth") as fourth:
                    wait_for(lambda: len(described(at)["members"]) == 2, 30, "an older worker")
                    assert fourth.stop() == 0
                assert second.stop() == 0


def less(directory: Path) -> Path:
    program = directory / "less.py"
    program.write_text(LESS)
    return program


def test_apache_kafka_refuses_and_the_worker_says_so(tmp_path: Path) -> None:
    with apache_kafka(tmp_path / "kafka", QUICK) as kafka:
        old, new = prepare(kafka.bootstrap, tmp_path)
        with worker(old, kafka.bootstrap, tmp_path / "first") as first:
            wait_for(lambda: counts(kafka.bootstrap, "counts"), 60, "counts")
            with worker(new, kafka.bootstrap, tmp_path / "second") as second:
                assert second.process.wait(60) != 0
                print(second.output()[-400:])
                assert "Topology updates are not supported yet" in second.output()
                assert "streamkit reset PROGRAM" in second.output()
            assert first.stop() == 0
