"""Tasks spread by weight, by what they take, by lag, and their standbys by rack and client tags.

Workers on our broker, each a host of its own; what they run is read by Kafka's own tool, and why
it moved by `streamkit groups describe`. Group configs are changed while workers run, by
Kafka's tool as well.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from click.testing import CliRunner

from streamkit.cli.groups import command as groups
from streamkit.testing.broker import Broker
from tests.foreign import create_topics
from tests.harness import WorkerProcess, wait_for
from tests.judges.conftest import KafkaTool

pytestmark = pytest.mark.judge

PROGRAM = "tests/judges/uneven_program.py"
GROUP = "uneven"
FEW, MANY = 1, 6
"""Partitions of the two inputs, and tasks of the sub-topologies 0 and 1."""

WEIGHT = 6
TASKS = {"0_0", *(f"1_{number}" for number in range(MANY))}
SESSION_MS = 10_000
TIMERS = {
    "group.streams.session.timeout.ms": str(SESSION_MS),
    "group.streams.heartbeat.interval.ms": "300",
    "group.streams.task.offset.interval.ms": "300",
    "group.streams.balance.interval.ms": "2000",
    "group.streams.num.warmup.replicas": "0",
}
WORKER = {"processing.guarantee": "at_least_once", "commit.interval.ms": "100"}
RECORDS = 500
RUNNING = r"task (\d_\d): running, (\d+) records restored"


@dataclass(slots=True)
class Trial:
    """A broker, the workers on it by name, and the tool that looks at their group."""

    bootstrap: str
    kafka_tool: KafkaTool
    directory: Path
    stack: ExitStack
    workers: dict[str, WorkerProcess] = field(default_factory=dict)

    def start(self, name: str, settings: Mapping[str, str] | None = None) -> None:
        wanted = {**WORKER, "client.id": name, **(settings or {})}
        worker = WorkerProcess(PROGRAM, self.bootstrap, self.directory / name, settings=wanted)
        self.workers[name] = self.stack.enter_context(worker)

    def configure(self, config: str) -> None:
        """Set a group config by Kafka's own tool."""
        self.kafka_tool(
            "configs", "--bootstrap-server", self.bootstrap, "--alter", "--entity-type", "groups",
            "--entity-name", GROUP, "--add-config", config,
        )  # fmt: skip

    def described(self) -> dict[str, Any]:
        arguments = ["describe", GROUP, "--json", "--bootstrap", self.bootstrap]
        done = CliRunner().invoke(groups, arguments)
        shown: dict[str, Any] = json.loads(done.stdout) if done.exit_code == 0 else {}
        return shown

    def roles(self) -> dict[str, set[str]]:
        """The active tasks that each worker has now."""
        return _roles(self.described())

    def wait_roles(
        self, what: str, is_right: Callable[[dict[str, set[str]]], bool], timeout_s: float = 40
    ) -> dict[str, set[str]]:
        """Wait until every task runs, each worker has what it should, and that is right."""

        def look() -> dict[str, set[str]]:
            shown = self.described()
            if shown.get("state") != "Stable" or shown["reasons"]:
                return {}
            found = _roles(shown)  # of the same moment: a worker may join at any time
            runs = sorted(task for tasks in found.values() for task in tasks)
            is_whole = runs == sorted(TASKS) and len(found) == len(self.workers)
            return found if is_whole and is_right(found) else {}

        return wait_for(look, timeout_s, what)

    def wait_standbys(
        self, what: str, place: Callable[[str], str], timeout_s: float = 60
    ) -> dict[str, set[str]]:
        """Wait until every task has a caught-up standby in another place; the standbys."""

        def look() -> dict[str, set[str]]:
            self.wait_roles("all tasks", lambda found: True, timeout_s)
            shown = self.described()
            members = shown.get("members", [])
            ends = {t: end for each in members for t, end in each["end_offsets"].items()}
            places = {
                task: place(_worker(each))
                for each in members
                for task in each["assigned"]["active"]
            }
            right = {
                task
                for each in members
                for task in each["assigned"]["standby"]
                if place(_worker(each)) != places.get(task)
                and each["offsets"].get(task) == ends.get(task)
            }
            return _roles(shown, "standby") if right == TASKS else {}

        return wait_for(look, timeout_s, what)

    def kafka_says(self) -> dict[str, dict[str, set[str]]]:
        """The tasks by role and by client id, as `kafka-streams-groups` prints them."""
        text = self.kafka_tool(
            "streams-groups", "--bootstrap-server", self.bootstrap, "--describe", "--group", GROUP,
            "--members",
        )  # fmt: skip
        return roles_of(text)

    def produce(self, topic: str, values: Mapping[int, list[str]]) -> None:
        """Write values to partitions."""
        producer = confluent_kafka.Producer({"bootstrap.servers": self.bootstrap})
        for partition, texts in values.items():
            for text in texts:
                producer.produce(topic, text, f"key-{partition}", partition=partition)
            producer.flush()


def _worker(member: Mapping[str, Any]) -> str:
    return str(member["client_id"]).removesuffix("-StreamThread-1")


def _roles(shown: Mapping[str, Any], role: str = "active") -> dict[str, set[str]]:
    """The tasks of each worker in one description of the group."""
    members = shown.get("members", [])
    return {_worker(each): set(each["assigned"][role]) for each in members}


def roles_of(text: str) -> dict[str, dict[str, set[str]]]:
    """The last column of each line, `ACTIVE: 0:[0]; 1:[2,3]; STANDBY: 1:[4];`, by client id."""
    found: dict[str, dict[str, set[str]]] = {}
    for line in text.splitlines():
        match = re.match(rf"{GROUP} +\S+ +\S+ +(\S+)-StreamThread-1 +(.*)", line)
        if match is None:
            continue
        parts = re.findall(r"([A-Z]+): ((?:\d+:\[[\d,]*\]; *)+)", match[2])
        found[match[1]] = {
            role.lower(): {
                f"{subtopology}_{partition}"
                for subtopology, partitions in re.findall(r"(\d+):\[([\d,]*)\]", tasks)
                for partition in partitions.split(",")
            }
            for role, tasks in parts
        }
    return found


@pytest.fixture
def trial(tmp_path: Path, kafka_tool: KafkaTool) -> Iterator[Trial]:
    with Broker(config=TIMERS) as broker, ExitStack() as stack:
        create_topics(broker.bootstrap, FEW, "few", "few-out")
        create_topics(broker.bootstrap, MANY, "many", "many-out")
        yield Trial(broker.bootstrap, kafka_tool, tmp_path, stack)


def test_tasks_are_spread_by_weight(trial: Trial) -> None:
    for name in ("one", "two"):
        trial.start(name)
    by_number = trial.wait_roles("seven tasks on two workers", lambda found: True)
    assert sorted(map(len, by_number.values())) == [3, 4]
    trial.configure(f"streams.task.weights=[0:{WEIGHT}]")
    found = trial.wait_roles("the heavy task alone", lambda found: {"0_0"} in found.values())
    note = trial.described()["note"]
    assert f"group configs are num.standby.replicas=0, task.weights=0:{WEIGHT} now" in note
    assert trial.kafka_says() == {name: {"active": tasks} for name, tasks in found.items()}


@pytest.mark.parametrize(
    ("config", "records", "each_ms"),
    [
        pytest.param("streams.task.weights=measured", 400, 40, id="measured"),
        pytest.param("streams.balance.by.lag=true", 12_000, 1, id="lag"),
    ],
)
def test_two_heavy_tasks_do_not_stay_together(
    trial: Trial, config: str, records: int, each_ms: int
) -> None:
    trial.configure(config)
    for name in ("one", "two"):
        trial.start(name)
    before = trial.wait_roles("seven tasks on two workers", lambda found: True)
    most = max(before.values(), key=len)
    heavy = set(sorted(task for task in most if task.startswith("1_"))[:2])
    values = {int(task.split("_")[1]): [str(each_ms)] * records for task in sorted(heavy)}
    trial.produce("many", values)

    def is_even() -> bool:
        after = trial.wait_roles(
            "one heavy task each",
            lambda found: all(len(tasks & heavy) == 1 for tasks in found.values()),
        )
        return {name: each["active"] for name, each in trial.kafka_says().items()} == after

    wait_for(is_even, 60, "the same from Kafka's tool")
    note = wait_for(lambda: trial.described().get("note"), what="a note")
    print(f"\n{sorted(heavy)} were with one worker; {note}")
    assert "load is uneven: one member has" in note


def test_standbys_are_kept_in_other_racks_and_zones(trial: Trial) -> None:
    # A standby of a task on "one" is on "three" by rack, and must move to "two" by zone.
    where = {"one": "ax", "two": "ay", "three": "bx"}
    trial.configure("streams.num.standby.replicas=1")
    for name, (rack, zone) in where.items():
        trial.start(name, {"client.rack": rack, "client.tag.zone": zone})
    trial.produce("many", {number: ["0"] * RECORDS for number in range(MANY)})
    by_rack = trial.wait_standbys("standbys in other racks", lambda name: where[name][0])
    trial.configure("streams.rack.aware.assignment.tags=[zone]")

    def is_by_zone() -> bool:
        by_zone = trial.wait_standbys("standbys in other zones", lambda name: where[name][1])
        says = {name: each.get("standby", set()) for name, each in trial.kafka_says().items()}
        return says == by_zone != by_rack

    wait_for(is_by_zone, 60, "the same from Kafka's tool")
    note = wait_for(lambda: trial.described().get("note"), what="a note")
    assert "rack.aware.assignment.tags=zone" in note
    lost = [name for name in where if where[name][1] == "x"]
    moved = {task for name in lost for task in trial.roles()[name]}
    killed = time.time()
    for name in lost:
        trial.workers.pop(name).kill()
    trial.wait_roles("the lost zone's tasks in the other", lambda found: True)
    taken: dict[str, int] = {}

    def runs() -> bool:
        for worker in trial.workers.values():
            for _, match in worker.logged(RUNNING, killed):
                taken[match[1]] = int(match[2])
        return moved <= taken.keys()

    wait_for(runs, 60, "the lost tasks running")
    print(f"\n{sorted(moved)} were lost with zone x; records restored: {sorted(taken.items())}")
    assert sum(taken[task] for task in moved) == 0
