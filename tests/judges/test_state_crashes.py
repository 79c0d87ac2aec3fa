"""A worker that dies while it restores, and one whose state directory is full: nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import confluent_kafka
import pytest

from streamkit.state.formats import decode_value
from streamkit.state.rocks import RocksBackend
from streamkit.testing.broker import Broker
from tests.foreign import create_topics, read_confluent
from tests.harness import WorkerProcess, wait_for

pytestmark = pytest.mark.judge

ROWS = 240_000
KEYS = 90_000
KILLED_AFTER = 150_000
DYING = """
import os, signal
from pathlib import Path
import streamkit as sk

class Killer:
    restored = 0

    def on_restore_start(self, partition, store, start_offset, end_offset): ...
    def on_restore_end(self, partition, store, total): ...
    def on_restore_suspended(self, partition, store, total): ...

    def on_batch_restored(self, partition, store, batch_end_offset, restored):
        self.restored += restored
        if self.restored >= KILLED_AFTER and not Path("FLAG").exists():
            Path("FLAG").touch()
            os.kill(os.getpid(), signal.SIGKILL)

app = sk.App("dying", on_restore=Killer())
app.stream(app.topic("rows", key=str, value=str)).to_table(name="rows")
"""

SIZE_MAX = 3 << 20
EVENTS = 12_000
NAMES = 4_000
FULL = """
import resource
from pathlib import Path
import streamkit as sk

if Path("FLAG").exists():
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE_MAX, most))

app = sk.App("full")
events = app.stream(app.topic("events", key=str, value=str))
counts = events.group_by_key().aggregate("0:", lambda key, value, old:
    f"{int(old.partition(':')[0]) + 1}:" + value * 300, name="counts", value=str)
counts.to_stream().map_values(lambda text: text.partition(":")[0], value=str).to(
    app.topic("counted", key=str, value=str))
"""
"""The limit on a file's size stands for a full disk: RocksDB's writes fail in the same way."""


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


def program(directory: Path, text: str) -> Path:
    path = directory / "program.py"
    constants = {"KILLED_AFTER": str(KILLED_AFTER), "SIZE_MAX": str(SIZE_MAX)}
    for name, value in {**constants, "FLAG": str(directory / "flag")}.items():
        text = text.replace(name, value)
    path.write_text(text)
    return path


def write(broker: Broker, topic: str, records: list[tuple[str, str]]) -> None:
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": broker.bootstrap, "linger.ms": 20, "batch.size": 200_000}
    )
    for number, (key, value) in enumerate(records):
        producer.produce(topic, value, key, partition=0)
        if number % 10_000 == 0:
            assert producer.flush(60) == 0
    assert producer.flush(60) == 0


def test_restore_that_is_killed_goes_on_where_it_was(broker: Broker, tmp_path: Path) -> None:
    create_topics(broker.bootstrap, 1, "rows", "dying-rows-changelog")
    changes = [(f"key-{number % KEYS}", f"value {number}") for number in range(ROWS)]
    write(broker, "dying-rows-changelog", changes)
    path = program(tmp_path, DYING)
    with WorkerProcess(path, broker.bootstrap, tmp_path) as worker:
        assert worker.process.wait(60) == -9
        ((_, first),) = worker.logged(r"task 0_0: restoring (\d+) offsets")
        assert int(first[1]) == ROWS
    with WorkerProcess(path, broker.bootstrap, tmp_path) as worker:
        wait_for(lambda: worker.logged("running, "), 60, "the restore")
        _, second = (match for _, match in worker.logged(r"task 0_0: restoring (\d+) offsets"))
        assert worker.stop() == 0
    kept = ROWS - int(second[1])
    print(f"\nkilled after {KILLED_AFTER} records; {kept} of them did not come again")
    assert KILLED_AFTER // 2 < kept <= KILLED_AFTER + 2_000
    database = RocksBackend(str(tmp_path / "state/dying/0_0/rocksdb"), ["rows", "offsets"])
    found = {key: decode_value(data)[0] for key, data in database.scan("rows", None, None)}
    database.close()
    assert found == {key.encode(): value.encode() for key, value in changes}


def test_full_state_directory_ends_the_worker_and_loses_nothing(
    broker: Broker, tmp_path: Path
) -> None:
    create_topics(broker.bootstrap, 1, "events", "counted")
    events = [(f"name-{number % NAMES}", f"{number:04}") for number in range(EVENTS)]
    path = program(tmp_path, FULL)
    flag = tmp_path / "flag"
    flag.touch()
    settings = {"statestore.cache.max.bytes": "0", "commit.interval.ms": "50"}
    with WorkerProcess(path, broker.bootstrap, tmp_path, settings=settings) as worker:
        write(broker, "events", events)
        assert worker.process.wait(60) == 1
        said = worker.output()
    assert "cannot write the state in" in said
    assert "File too large" in said
    assert "Traceback" not in said
    flag.unlink()
    with WorkerProcess(path, broker.bootstrap, tmp_path, settings=settings) as worker:
        wait_for(lambda: worker.logged("task 0_0: running, "), 60, "the restore")
        write(broker, "events", events)
        expected = Counter(key.encode() for key, _ in [*events, *events])
        wait_for(lambda: counts(broker) == expected, 60, "the counts")
        assert worker.stop() == 0


def counts(broker: Broker) -> dict[bytes, int]:
    """The last count of each name."""
    rows = read_confluent(broker.bootstrap, "counted", 1)
    return {key or b"": int(value or b"0") for key, value in rows}
