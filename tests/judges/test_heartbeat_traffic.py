"""The heartbeats of a streams group, recorded: ours must go as Apache Kafka's do.

Members come and go in the same order on both brokers, with the same timers and Kafka's sticky
assignor. Members are numbered in the order in which they come; what repeats without news counts
once, because how often a member asks is a matter of time.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from streamkit.protocol.errors import ErrorCode
from streamkit.testing.broker import Broker
from tests.foreign import create_topics
from tests.harness import WorkerProcess, wait_for
from tests.judges.conftest import KAFKA
from tests.judges.heartbeat_proxy import Exchange, HeartbeatProxy
from tests.judges.java_application import JavaInstance
from tests.ports import free_ports

pytestmark = pytest.mark.judge

PARTITIONS = 4
TASKS = 2 * PARTITIONS
TIMERS = {
    "group.streams.min.heartbeat.interval.ms": "400",
    "group.streams.heartbeat.interval.ms": "400",
    "group.streams.initial.rebalance.delay.ms": "0",
    "group.streams.assignment.interval.ms": "0",
    "group.streams.num.standby.replicas": "1",
    "group.streams.session.timeout.ms": "45000",
}
OURS = {
    "group.streams.unsettled.heartbeat.interval.ms": "0",
    "group.streams.promotion.in.place": "false",
}
"""What of our extensions changes epochs or counts here."""

LOADING = (
    ErrorCode.not_coordinator,
    ErrorCode.coordinator_not_available,
    ErrorCode.coordinator_load_in_progress,
)
"""A broker that was just started takes its time over the coordinator."""

APPLICATION = "word-count"
TOPOLOGY = [
    {"id": "lines", "op": "stream", "topic": "lines", "key": "string", "value": "string"},
    {"id": "words", "op": "group_by", "of": "lines", "fn": "value", "name": "word-counts",
     "key": "string", "value": "string"},
    {"id": "counts", "op": "count", "of": "words", "store": {"name": "word-counts"}},
    {"id": "out", "op": "to_stream", "of": "counts"},
    {"op": "to", "of": "out", "topic": "counts", "key": "string", "value": "long"},
]  # fmt: skip


class Recording:
    """What has come through the proxy so far."""

    def __init__(self, proxy: HeartbeatProxy) -> None:
        self._proxy = proxy

    def by_member(self) -> list[list[Exchange]]:
        """Members in the order of their first heartbeats."""
        found: dict[str, list[Exchange]] = {}
        for each in list(self._proxy.exchanges):
            found.setdefault(each.request.member_id, []).append(each)
        return list(found.values())

    def owned(self) -> list[int]:
        """How many active tasks each member has said last that it has."""
        counts = []
        for exchanges in self.by_member():
            said = [e.request.active_tasks for e in exchanges if e.request.active_tasks is not None]
            is_gone = exchanges[-1].request.member_epoch < 0
            counts.append(0 if is_gone else count(said[-1]))
        return counts

    def wait_owned(self, *wanted: int) -> None:
        """Wait until so many active tasks are owned, and members have nothing new to say."""
        wait_for(
            lambda: self.owned() == list(wanted) and self._are_quiet(),
            60,
            f"owned tasks {wanted}, {self.owned()} now",
        )

    def _are_quiet(self) -> bool:
        return all(
            is_quiet(exchanges[-1]) or exchanges[-1].request.member_epoch < 0
            for exchanges in self.by_member()
        )

    def story(self) -> str:
        """Per member what it was told, then what it said that it owns; repetitions left out."""
        lines = []
        for number, exchanges in enumerate(self.by_member()):
            lines.append(f"member {number}")
            lines += [f"  told {line}" for line in news(told(exchanges))]
            lines += [f"  said {line}" for line in news(said(exchanges))]
        return "\n".join(lines)


def news(lines: Iterable[str]) -> list[str]:
    """Each line that differs from the one before."""
    return [line for line, _ in groupby(lines)]


def told(exchanges: Iterable[Exchange]) -> Iterator[str]:
    """Epochs, statuses, errors, and how many tasks the member is to have."""
    tasks = "0+0"
    for each in exchanges:
        response = each.response
        if response.error_code in LOADING:
            continue
        tasks = lists(response) or tasks
        statuses = ",".join(str(status.status_code) for status in response.status or ()) or "-"
        error = response.error_code.name
        yield f"epoch {response.member_epoch} tasks {tasks} status {statuses} error {error}"


def said(exchanges: Iterable[Exchange]) -> Iterator[str]:
    """How many tasks the member owns, each time it says so, and that it leaves."""
    for each in exchanges:
        if each.request.member_epoch < 0:
            yield f"leave with epoch {each.request.member_epoch}"
        elif owned := lists(each.request):
            yield f"owned {owned}"


def is_quiet(exchange: Exchange) -> bool:
    """Whether neither side had anything to say."""
    return (
        exchange.request.active_tasks is None
        and exchange.response.active_tasks is None
        and not exchange.response.status
        and exchange.request.member_epoch == exchange.response.member_epoch
    )


def count(tasks: Iterable[Any] | None) -> int:
    return sum(len(each.partitions) for each in tasks or ())


def lists(message: Any) -> str:
    """How many active and standby tasks a message lists; empty when it lists none at all."""
    if message.active_tasks is None:
        return ""
    return f"{count(message.active_tasks)}+{count(message.standby_tasks)}"


def start_apache(directory: Path, port: int, config: Mapping[str, str]) -> None:
    pairs = [f"{key}={value}" for key, value in config.items()]
    argv = [str(KAFKA), "start", str(directory), str(port), *pairs]
    subprocess.run(argv, check=True, timeout=180, env={"KAFKA_HEAP": "512m", **os.environ})


def stop_apache(directory: Path) -> None:
    subprocess.run([str(KAFKA), "stop", str(directory)], check=True, timeout=180)


@contextmanager
def recorded(kind: str, directory: Path) -> Iterator[tuple[str, Recording]]:
    """A broker of that kind behind a proxy, with the application's topics."""
    with ExitStack() as stack:
        port = free_ports(3)
        address = f"PLAINTEXT://127.0.0.1:{port + 2}"
        settings = {**TIMERS, "advertised.listeners": address}
        if kind == "apache":
            starting: Callable[[], None] = partial(
                start_apache, directory / "kafka", port, settings
            )
            stack.callback(stop_apache, directory / "kafka")
        else:
            ours = Broker(config={**settings, **OURS}, port=port)
            stack.push(ours.__exit__)
            starting = ours.start
        proxy = stack.enter_context(HeartbeatProxy(port + 2, port))
        starting()
        bootstrap = f"127.0.0.1:{port + 2}"
        create_topics(bootstrap, PARTITIONS, "lines", "counts")
        yield bootstrap, Recording(proxy)


def play(start: Callable[[str], Any], recording: Recording) -> str:
    """One member, a second one, then the first leaves; the story."""
    with start("first") as first:
        recording.wait_owned(TASKS)
        with start("second") as second:
            recording.wait_owned(TASKS // 2, TASKS // 2)
            assert first.stop() == 0
            recording.wait_owned(0, TASKS)
            assert second.stop() == 0
    return recording.story()


def story_of_java(kind: str, directory: Path) -> str:
    spec = directory / "topology.json"
    directory.mkdir()
    spec.write_text(json.dumps({"topology": TOPOLOGY}))
    with recorded(kind, directory) as (bootstrap, recording):
        settings = {
            "application.id": APPLICATION,
            "bootstrap.servers": bootstrap,
            "group.protocol": "streams",
        }
        return play(lambda name: JavaInstance(spec, directory / name, settings), recording)


def story_of_ours(kind: str, directory: Path) -> str:
    directory.mkdir()
    with recorded(kind, directory) as (bootstrap, recording):
        program = "examples/word_count.py"
        return play(lambda name: WorkerProcess(program, bootstrap, directory / name), recording)


@pytest.mark.parametrize("story", [story_of_java, story_of_ours])
def test_heartbeats_go_as_with_apache_kafka(
    story: Callable[[str, Path], str], tmp_path: Path
) -> None:
    ours = story("streamkit", tmp_path / "ours")
    print(f"\n{ours}")
    assert ours == story("apache", tmp_path / "apache")
