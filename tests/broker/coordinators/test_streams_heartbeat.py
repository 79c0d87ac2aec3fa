"""Heartbeats as scenarios; the answers are those that Apache Kafka 4.3.1 gave to the same.

At the margin `TIME MEMBER EPOCH OPTIONS`, below it the answer and the types of the records.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from kio.schema.streams_group_heartbeat.v0 import request as rq
from kio.schema.types import TopicName
from kio.static.primitive import i16, i32

from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.state import GroupShard
from streamkit.broker.coordinators.group.streams.config import StreamsConfig, streams_config
from streamkit.broker.coordinators.group.streams.describe import describe
from streamkit.broker.coordinators.group.streams.heartbeat import (
    CreateTopics,
    HeartbeatContext,
    heartbeat,
)
from streamkit.broker.coordinators.group.streams.history import HISTORY_MAX, RebalanceHistory
from streamkit.broker.coordinators.group.streams.messages import error_response
from streamkit.broker.coordinators.group.streams.translate import (
    topology_of_value,
    topology_value,
)
from streamkit.broker.coordinators.runtime import CancelTimer, StartTimer
from streamkit.broker.settings import BrokerSettings
from streamkit.protocol.errors import ApiError
from streamkit.protocol.units import to_ms
from streamkit.rebalance.member import StreamsMember
from streamkit.rebalance.rules import GroupSubtopology, GroupTopology, InternalTopic
from streamkit.rebalance.wire import request_tasks, tasks_of, timedelta_ms, topology_message

WORDS = InternalTopic("app-r-repartition")
COUNTS = InternalTopic("app-c-changelog", configs=(("cleanup.policy", "compact"),))
TOPOLOGY = GroupTopology(
    5,
    (
        GroupSubtopology("0", ("text",), (), (WORDS.name,)),
        GroupSubtopology("1", (), (WORDS,), (), (COUNTS,)),
    ),
)
TOPOLOGIES = {
    "higher": replace(TOPOLOGY, epoch=6),
    "lower": replace(TOPOLOGY, epoch=4),
    "more": GroupTopology(6, (*TOPOLOGY.subtopologies, GroupSubtopology("2", ("more",)))),
    "stateful": GroupTopology(
        6,
        (
            *TOPOLOGY.subtopologies,
            GroupSubtopology("2", ("more",), (), (), (InternalTopic("app-m-changelog"),)),
        ),
    ),
    "tuned": GroupTopology(
        5,
        (
            TOPOLOGY.subtopologies[0],
            replace(TOPOLOGY.subtopologies[1], changelogs=(replace(COUNTS, replication_factor=3),)),
        ),
    ),
    "older": TOPOLOGY,
    "unread": GroupTopology(6, (*TOPOLOGY.subtopologies, GroupSubtopology("2", ("absent",)))),
    "unequal": GroupTopology(
        6,
        (
            *TOPOLOGY.subtopologies,
            GroupSubtopology("2", ("text", "more"), copartition_groups=(("text", "more"),)),
        ),
    ),
    "recounted": GroupTopology(
        5,
        (
            TOPOLOGY.subtopologies[0],
            replace(TOPOLOGY.subtopologies[1], repartition_sources=(replace(WORDS, partitions=3),)),
        ),
    ),
    "counted": GroupTopology(
        5,
        (
            TOPOLOGY.subtopologies[0],
            replace(TOPOLOGY.subtopologies[1], repartition_sources=(replace(WORDS, partitions=4),)),
        ),
    ),
    "less": GroupTopology(6, TOPOLOGY.subtopologies[:1]),
    "other": GroupTopology(5, TOPOLOGY.subtopologies[:1]),
    "missing": GroupTopology(5, (GroupSubtopology("0", ("nope2", "nope1")),)),
    "loop": GroupTopology(5, (GroupSubtopology("0", (), (InternalTopic("r"),), ("r",)),)),
    "badname": GroupTopology(5, (GroupSubtopology("0", ("a/b",)),)),
    "internal": GroupTopology(5, (GroupSubtopology("0", ("__consumer_offsets",)),)),
    "sourceless": GroupTopology(5, (GroupSubtopology("0"),)),
}
CONFIG = StreamsConfig(
    session_timeout_ms=45_000,
    heartbeat_interval_ms=5_000,
    standby_replicas=0,
    initial_delay_ms=600,
    assignment_interval_ms=1_000,
    size_max=4,
)
FULL = "0_0,0_1,0_2,0_3,1_0,1_1,1_2,1_3"
HALF = "0_0,0_1,1_0,1_1"


@dataclass
class Topics:
    counts: dict[str, int] = field(
        default_factory=lambda: {"text": 4, WORDS.name: 4, COUNTS.name: 4}
    )

    def partition_count(self, topic: str) -> int | None:
        return self.counts.get(topic)

    def topic_id(self, topic: str) -> None:
        return None

    def partition_racks(self, topic: str) -> list[list[str]]:
        return []


class Scenario:
    def __init__(self, config: StreamsConfig = CONFIG) -> None:
        self.shard = GroupShard()
        self.topics = Topics()
        self.config = config
        self.now = 0
        self.timers: dict[Any, tuple[int, Callable[[GroupShard], Any]]] = {}
        self.created: list[str] = []
        self.records: list[rec.Record] = []

    def run(self, script: str) -> str:
        commands = [line for line in script.splitlines() if line and not line.startswith(" ")]
        return "".join(f"{line}\n{self.step(line)}" for line in commands)

    def step(self, line: str) -> str:
        at, verb, *rest = line.split()
        lines = self.advance(int(at))
        options = dict(word.partition("=")[::2] for word in rest[1:])
        if verb == "topic":
            self.topics.counts[rest[0]] = int(rest[1])
            self.shard.streams["g-1"].soft.is_metadata_stale = True
        elif verb == "standbys":
            self.config = replace(self.config, standby_replicas=int(rest[0]))
        elif verb == "state":
            lines.append(self.state_text())
        elif verb != "wait":
            lines += self.beat(verb, int(rest[0]), options)
        return "".join(f"    {each}\n" for each in lines)

    def advance(self, now: int) -> list[str]:
        lines = []
        while True:
            due = [(at, key) for key, (at, _) in self.timers.items() if at <= now]
            if not due:
                break
            at, key = min(due, key=str)
            self.now = at
            _, operation = self.timers.pop(key)
            types = self.commit(operation(self.shard))
            lines.append(f"{key[0]} fires: {types}")
        self.now = now
        return lines

    def beat(self, member_id: str, epoch: int, options: dict[str, str]) -> list[str]:
        context = HeartbeatContext("c-1", "/h-1", self.now, self.config, self.topics)
        try:
            result = heartbeat(self.shard, self.request(member_id, epoch, options), context)
        except ApiError as error:
            refused = error_response(error)
            return [f"{refused.error_code.name}: {refused.error_message}"]
        types = self.commit(result)
        answer = result.response
        text = f"epoch={answer.member_epoch}"
        if answer.active_tasks is not None:
            text += f" active={tasks_text(answer.active_tasks)}"
            if answer.standby_tasks:
                text += f" standby={tasks_text(answer.standby_tasks)}"
        interval_ms = to_ms(answer.heartbeat_interval)
        if interval_ms not in (0, self.config.heartbeat_interval_ms):
            types += f" next={interval_ms}"
        lines = [f"{text} {types}".rstrip()]
        lines += [f"{each.status_code} {each.status_detail}" for each in answer.status]
        return lines

    def request(self, member_id: str, epoch: int, options: dict[str, str]) -> Any:
        topology = TOPOLOGIES.get(options.get("topology", ""), TOPOLOGY)
        process = options.get("process", f"p-{member_id}")
        joining = StreamsMember("g-1", member_id, process, topology, 300_000).poll(0)
        assert joining is not None
        changes: dict[str, Any] = {"member_epoch": epoch}
        if epoch != 0:
            changes |= {"topology": None, "process_id": None, "client_tags": None}
            changes |= {"rebalance_timeout": timedelta_ms(-1)}
            changes |= dict.fromkeys(("active_tasks", "standby_tasks", "warmup_tasks"))
        if "owned" in options:
            owned = request_tasks(parse_tasks(options["owned"]))
            standby = request_tasks(parse_tasks(options.get("copies", "")))
            changes |= {"active_tasks": owned, "standby_tasks": standby, "warmup_tasks": ()}
        if "shutdown" in options:
            changes["shutdown_application"] = True
        return replace(joining, **changes)

    def commit(self, result: Any) -> str:
        for record in result.records:
            self.shard.replay(record, 7, -1)
            self.records.append(record)
        for effect in result.effects:
            if isinstance(effect, StartTimer):
                self.timers[effect.key] = (int(self.now + effect.delay_ms), effect.operation)
            elif isinstance(effect, CancelTimer):
                self.timers.pop(effect.key, None)
            elif isinstance(effect, CreateTopics):
                self.created += [topic.name for topic in effect.topics]
        types = [record_text(record) for record in result.records]
        return f"[{' '.join(types)}]" if types else ""

    def state_text(self) -> str:
        group = self.shard.streams["g-1"]
        return f"{group.state.value} epoch={group.epoch} assignment={group.assignment_epoch}"


def record_text(record: rec.Record) -> str:
    number = rec.KEY_TYPES[type(record.key)]
    return f"{number}" if record.value is not None else f"-{number}"


def parse_tasks(text: str) -> list[tuple[str, int]]:
    words = [word for word in text.split(",") if word]
    return [(word.split("_")[0], int(word.split("_")[1])) for word in words]


def tasks_text(message: Any) -> str:
    return ",".join(f"{s}_{p}" for s, p in sorted(tasks_of(message))) or "-"


def check(script: str, scenario: Scenario | None = None) -> Scenario:
    scenario = scenario or Scenario()
    script = textwrap.dedent(script).lstrip()
    assert scenario.run(script) == script
    return scenario


def test_first_member_waits_for_the_delay_and_gets_everything() -> None:
    check(
        f"""
        100 a 0
            epoch=1 active=- [19 23 17 22]
            5 Assignment delayed due to the configured initial rebalance delay.
        100 state
            Assigning epoch=2 assignment=1
        400 a 1
            epoch=1
            5 Assignment delayed due to the configured initial rebalance delay.
        800 wait
            streams initial delay fires: [21 20]
        900 a 1
            epoch=2 active={FULL} [22]
        901 a 2 owned={FULL}
            epoch=2
        901 state
            Stable epoch=2 assignment=2
        """
    )


def test_missing_internal_topics_are_created_and_make_a_new_epoch() -> None:
    scenario = Scenario()
    scenario.topics.counts = {"text": 4}
    check(
        f"""
        100 a 0
            epoch=1 active=- [19 23 17 22]
            5 Assignment delayed due to the configured initial rebalance delay.
            3 Internal topics are missing: {COUNTS.name}, {WORDS.name}
        110 topic {WORDS.name} 4
        111 a 1
            epoch=1 [17]
            5 Assignment delayed due to the configured initial rebalance delay.
            3 Internal topics are missing: {COUNTS.name}
        112 topic {COUNTS.name} 4
        113 a 1
            epoch=1 [17]
            5 Assignment delayed due to the configured initial rebalance delay.
        800 a 1
            streams initial delay fires: [21 20]
            epoch=4 active={FULL} [22]
        """,
        scenario,
    )
    assert scenario.created == [COUNTS.name, WORDS.name, COUNTS.name]


SETTLED = f"""
    100 a 0
        epoch=1 active=- [19 23 17 22]
        5 Assignment delayed due to the configured initial rebalance delay.
    900 a 1
        streams initial delay fires: [21 20]
        epoch=2 active={FULL} [22]
    901 a 2 owned={FULL}
        epoch=2
"""


def check_settled(script: str) -> Scenario:
    return check(textwrap.dedent(SETTLED) + textwrap.dedent(script).lstrip())


def test_tasks_move_revoked_first() -> None:
    check_settled(
        f"""
        3000 b 0
            epoch=3 active=- [19 17 21 21 20 22]
        3001 b 3 owned=
            epoch=3 [22]
        3002 b 3
            epoch=3
        3003 a 2
            epoch=2 active={HALF} [22]
        3003 state
            Reconciling epoch=3 assignment=3
        3004 a 2
            epoch=2
        3005 a 2 owned={HALF}
            epoch=3 [22]
        3006 b 3
            epoch=3 active=0_2,0_3,1_2,1_3 [22]
        3007 b 3 owned=0_2,0_3,1_2,1_3
            epoch=3
        3008 state
            Stable epoch=3 assignment=3
        """
    )


def test_joins_close_together_wait_for_the_assignment_interval() -> None:
    check_settled(
        """
        1000 b 0
            epoch=2 active=- [19 17 22]
            5 Assignment delayed due to the configured assignment interval.
        1001 c 0
            epoch=2 active=- [19 17 22]
            5 Assignment delayed due to the configured assignment interval.
        2000 c 2
            epoch=4 [21 21 21 20 22]
        """
    )


def test_answer_that_was_lost_is_given_again() -> None:
    check_settled(
        """
        3000 b 0
            epoch=3 active=- [19 17 21 21 20 22]
        3001 a 2
            epoch=2 active=0_0,0_1,1_0,1_1 [22]
        3002 a 2 owned=0_0,0_1,1_0,1_1
            epoch=3 [22]
        3003 b 3
            epoch=3 active=0_2,0_3,1_2,1_3 [22]
        3004 b 3 owned=
            epoch=3 active=0_2,0_3,1_2,1_3
        """
    )


def test_epochs_are_fenced() -> None:
    check_settled(
        """
        3000 a 3
            fenced_member_epoch: The streams group member has a greater member epoch (3) than the\
 one known by the group coordinator (2). The member must abandon all its partitions and rejoin.
        3001 a 1
            fenced_member_epoch: The streams group member has a smaller member epoch (1) than the\
 one known by the group coordinator (2). The member must abandon all its partitions and rejoin.
        3002 a 1 owned=0_3
            epoch=2 active=0_0,0_1,0_2,0_3,1_0,1_1,1_2,1_3
        3003 zz 3
            unknown_member_id: Member zz is not a member of group g-1.
        3004 zz -1
            unknown_member_id: Member zz is not a member of group g-1.
        3005 a 2 owned=0_9
            invalid_request: Task 9 for subtopology 0 is invalid. Number of tasks for this\
 subtopology: 4
        3006 a 2 owned=7_0
            invalid_request: Subtopology 7 does not exist in the topology.
        """
    )


def test_known_member_rejoins_and_has_its_tasks_at_once() -> None:
    check_settled(
        f"""
        3000 a 0
            epoch=2 active={FULL}
        """
    )


def test_leaving_frees_the_tasks() -> None:
    check_settled(
        f"""
        3000 b 0
            epoch=3 active=- [19 17 21 21 20 22]
        3001 a -1
            epoch=-1 [-22 -21 -19 17]
        5000 b 3
            epoch=4 active={FULL} [21 20 22]
        """
    )


def test_silent_member_is_removed_after_the_session_timeout() -> None:
    check_settled(
        f"""
        3000 b 0
            epoch=3 active=- [19 17 21 21 20 22]
        40000 b 3
            epoch=3 [22]
        46000 b 3
            streams session fires: [-22 -21 -19 17]
            epoch=4 active={FULL} [21 20 22]
        """
    )


def test_member_that_keeps_revoked_tasks_is_removed_after_its_rebalance_timeout() -> None:
    lines = ["3000 b 0", "3001 a 2"]
    lines += [f"{3001 + 30_000 * n} {m}" for n in range(1, 10) for m in ("a 2", "b 3")]
    scenario = check_settled("")
    scenario.run("\n".join(lines))
    assert "a" in scenario.shard.streams["g-1"].members
    assert scenario.step("303500 b 3").startswith("    streams rebalance fires: [-22 -21 -19 17]")
    assert "a" not in scenario.shard.streams["g-1"].members


def test_empty_group_starts_over_with_the_delay() -> None:
    check_settled(
        f"""
        3000 a -1
            epoch=-1 [-22 -21 -19 17]
        3000 state
            Empty epoch=3 assignment=2
        4000 b 0
            epoch=2 active=- [19 17 22]
            5 Assignment delayed due to the configured initial rebalance delay.
        5000 b 2
            streams initial delay fires: [21 20]
            epoch=4 active={FULL} [22]
        """
    )


def test_topologies_are_compared() -> None:
    check_settled(
        """
        3000 b 0 topology=higher
            invalid_request: Topology updates are not supported yet.
        3001 b 0 topology=other
            invalid_request: Topology updates are not supported yet.
        3001 b 0 topology=tuned
            invalid_request: Topology updates are not supported yet.
        3002 b 0 topology=lower
            epoch=3 active=- [19 17 21 21 20 22]
            0 The member's topology epoch 4 is behind the group's topology epoch 5.
        """
    )


def test_group_has_a_size_limit_for_known_members_too() -> None:
    scenario = check_settled("")
    for number, name in enumerate(("b", "c", "d")):
        scenario.step(f"{3000 + number} {name} 0")
    told = "    group_max_size_reached: The streams group has reached its maximum capacity of 4 members.\n"  # noqa: E501
    assert scenario.step("4000 e 0") == told
    assert scenario.step("4001 b 0") == told


UPDATING = replace(CONFIG, takes_topology_updates=True, assignment_interval_ms=0)


def test_compatible_topology_takes_over_while_the_group_runs() -> None:
    scenario = Scenario(UPDATING)
    scenario.topics.counts["more"] = 2
    check(
        textwrap.dedent(SETTLED)
        + textwrap.dedent(
            f"""
            3000 b 0 topology=more
                epoch=3 active=2_0,2_1 [19 23 17 21 21 20 22]
            3100 a 2
                epoch=2 active={HALF} [22]
                0 The member's topology epoch 5 is behind the group's topology epoch 6.
            3200 a 2 owned={HALF}
                epoch=3 [22]
                0 The member's topology epoch 5 is behind the group's topology epoch 6.
            3300 b 3
                epoch=3 active=0_2,0_3,1_2,1_3,2_0,2_1 [22]
            3400 a 0 topology=more
                epoch=4 active={HALF} [19 17 21 21 20 22]
            """
        ).lstrip(),
        scenario,
    )


def test_other_configuration_of_an_internal_topic_is_no_other_topology() -> None:
    scenario = check(textwrap.dedent(SETTLED), Scenario(UPDATING))
    assert scenario.step("3000 b 0 topology=tuned") == "    epoch=3 active=- [19 17 21 21 20 22]\n"


def test_update_that_waits_for_its_topics_stops_no_task() -> None:
    scenario = Scenario(UPDATING)
    scenario.topics.counts["more"] = 2
    check(
        textwrap.dedent(SETTLED)
        + textwrap.dedent(
            f"""
            3000 b 0 topology=stateful
                epoch=3 active=- [19 23 17 21 20 22]
                3 Internal topics are missing: app-m-changelog
            3100 a 2
                epoch=3 [22]
                0 The member's topology epoch 5 is behind the group's topology epoch 6.
                3 Internal topics are missing: app-m-changelog
            3150 topic app-m-changelog 2
            3200 b 3
                epoch=4 active=2_0,2_1 [17 21 21 20 22]
            3300 a 3
                epoch=3 active={HALF} [22]
                0 The member's topology epoch 5 is behind the group's topology epoch 6.
            """
        ).lstrip(),
        scenario,
    )


@pytest.mark.parametrize(
    ("topology", "why"),
    [
        (
            "unread",
            "Source topics absent are missing; make them, then start the worker again.",
        ),
        (
            "unequal",
            "Following topics do not have the same number of partitions: [{more=2, text=4}]; "
            "topics that are joined have equal numbers of partitions: make them so, or put "
            ".repartition(partitions=N) before the join.",
        ),
    ],
)
def test_update_whose_topics_do_not_fit_is_refused_and_the_group_goes_on(
    topology: str, why: str
) -> None:
    scenario = Scenario(UPDATING)
    scenario.topics.counts["more"] = 2
    check(
        textwrap.dedent(SETTLED)
        + textwrap.dedent(
            f"""
            3000 b 0 topology={topology}
                invalid_request: The group keeps its topology of epoch 5: that of epoch 6\
 cannot run yet. {why}
            3001 state
                Stable epoch=2 assignment=2
            3100 a 2
                epoch=2
            """
        ).lstrip(),
        scenario,
    )


def test_update_is_taken_over_once_its_topics_are_there() -> None:
    scenario = check(textwrap.dedent(SETTLED), Scenario(UPDATING))
    assert "Source topics absent are missing" in scenario.step("3000 b 0 topology=unread")
    scenario.step("3001 topic absent 1")
    assert scenario.step("3002 b 0 topology=unread") == (
        "    epoch=3 active=2_0 [19 23 17 21 21 20 22]\n"
    )


STALE = "0 The member's topology epoch 5 is behind the group's topology epoch 6."
IDLE = (
    "Sub-topology 2 runs nowhere, since no member's program has it: start a worker of the new "
    "program, or stop all members for the group to go back to the older one."
)


def updated() -> Scenario:
    """A group that `a` began with the older topology and `b` moved on."""
    scenario = Scenario(UPDATING)
    scenario.topics.counts["more"] = 2
    for line in (*textwrap.dedent(SETTLED).splitlines(), "3000 b 0 topology=more"):
        if line and not line.startswith(" "):
            scenario.step(line)
    return scenario


def test_older_member_takes_over_what_its_program_has() -> None:
    scenario = updated()
    for line in ("3100 a 2", f"3200 a 2 owned={HALF}", "3300 b 3"):
        scenario.step(line)
    check(
        f"""
        3400 b -1
            epoch=-1 [-22 -21 -19 17]
        3500 a 3
            epoch=4 active={FULL} [21 20 22]
            {STALE} {IDLE}
        3600 state
            Stable epoch=4 assignment=4
        """,
        scenario,
    )


def test_older_member_that_had_no_task_of_a_part_takes_it_over() -> None:
    scenario = Scenario(UPDATING)
    scenario.topics.counts = dict.fromkeys(("text", "more", WORDS.name, COUNTS.name), 1)
    for line in ("100 a 0", "900 a 1", "901 a 2 owned=0_0,1_0", "3000 b 0 topology=more"):
        scenario.step(line)
    assert "active=0_0 " in scenario.step("3100 a 2")
    for line in ("3200 a 2 owned=0_0", "3300 b 3", "3400 b -1"):
        scenario.step(line)
    assert scenario.step("3500 a 3").startswith("    epoch=4 active=0_0,1_0 ")


def test_older_member_that_rejoins_gets_the_tasks_of_its_program() -> None:
    scenario = updated()
    scenario.step("3100 a -1")
    scenario.step("3200 b 3")
    joined = scenario.step("3300 c 0 topology=older")
    assert joined.splitlines()[1:] == [f"    {STALE}"]
    targets = scenario.shard.streams["g-1"].targets
    assert {task[0] for task in targets["c"].active} == {"0", "1"}
    assert {task[0] for task in targets["b"].active} == {"0", "1", "2"}


def test_what_a_member_has_is_known_after_a_replay() -> None:
    scenario = updated()
    scenario.step("3100 c 0 topology=older")
    replayed = GroupShard()
    for record in scenario.records:
        copy = rec.decode(rec.encode_key(record.key), rec.encode_value(record))
        assert copy is not None
        replayed.replay(copy, 7, -1)
    members = replayed.streams["g-1"].members
    assert {name: sorted(each.subtopologies) for name, each in members.items()} == {
        "a": ["0", "1"],
        "b": ["0", "1", "2"],
        "c": ["0", "1"],
    }


def test_group_without_other_members_goes_back_to_a_former_topology() -> None:
    scenario = updated()
    check(
        f"""
        3100 a -1
            epoch=-1 [-22 -21 -19 17]
        3200 b -1
            epoch=-1 [-22 -21 -19 17]
        3300 c 0 topology=older
            epoch=3 active=- [19 23 17 22]
            5 Assignment delayed due to the configured initial rebalance delay.
        4000 c 3
            streams initial delay fires: [21 20]
            epoch=6 active={FULL} [22]
        4001 state
            Stable epoch=6 assignment=6
        4100 d 0 topology=more
            epoch=7 active=2_0,2_1 [19 23 17 21 21 20 22]
        """,
        scenario,
    )


def test_group_goes_back_for_its_one_member_that_rejoins_within_the_assignment_interval() -> None:
    scenario = updated()
    scenario.step("3100 a -1")
    scenario.config = replace(UPDATING, assignment_interval_ms=1_000)
    scenario.step("5000 b 3")
    assert "2_0,2_1" in scenario.step("5100 b 0 topology=more")
    assert scenario.step("5200 b 0 topology=older").startswith(
        f"    epoch=4 active={FULL} [19 23 17"
    )


def test_topology_that_the_group_never_had_does_not_come_back() -> None:
    scenario = updated()
    for leaving in ("a", "b"):
        scenario.step(f"3100 {leaving} -1")
    assert "none that the group had before" in scenario.step("3300 c 0 topology=other")


@pytest.mark.parametrize(("topology", "is_taken"), [("recounted", False), ("counted", True)])
def test_repartition_topic_keeps_its_number(topology: str, *, is_taken: bool) -> None:
    counted = TOPOLOGIES["counted"]
    scenario = Scenario(UPDATING)
    scenario.step("100 a 0 topology=counted")
    told = scenario.step(f"900 b 0 topology={topology}")
    assert counted.epoch == TOPOLOGIES[topology].epoch
    assert ("epoch=" in told) == is_taken
    if not is_taken:
        assert told.endswith(
            f"    invalid_request: The topology is not the group's: repartition topic {WORDS.name} "
            "has 4 partitions and would have 3, so the tasks of sub-topology 1 would be others. "
            "Reset the application, or give it another id.\n"
        )


def test_topology_that_drops_a_subtopology_is_refused_with_the_ways_on() -> None:
    scenario = check(textwrap.dedent(SETTLED), Scenario(UPDATING))
    assert scenario.step("3000 b 0 topology=less") == (
        "    invalid_request: Topology epoch 6 cannot follow on epoch 5: sub-topology 1 is gone. "
        "Reset the application, or give it another id.\n"
    )


def test_program_that_lost_a_part_is_no_older_worker() -> None:
    scenario = Scenario(UPDATING)
    scenario.topics.counts["more"] = 2
    for line in textwrap.dedent(SETTLED).splitlines():
        if line and not line.startswith(" "):
            scenario.step(line)
    scenario.step("3000 b 0 topology=more")
    refused = (
        "    invalid_request: The topology is none that the group had before its epoch 6: "
        "sub-topology 1 is gone; sub-topology 2 is gone. Reset the application, or give it "
        "another id.\n"
    )
    assert scenario.step("3100 c 0 topology=other") == refused
    assert "0 The member's topology epoch 5 is behind" in scenario.step("3200 c 0")
    topologies = [each for each in scenario.records if rec.KEY_TYPES[type(each.key)] == 23]
    stored = rec.decode(rec.encode_key(topologies[-1].key), rec.encode_value(topologies[-1]))
    assert stored == topologies[-1]
    scenario.shard.replay(stored, 9, -1)
    assert scenario.step("3300 d 0 topology=other") == refused


@pytest.mark.parametrize(
    ("topology", "answer"),
    [
        (
            "loop",
            "streams_invalid_topology: Failed to compute the number of partitions of repartition "
            "topics r: nobody writes to them, or they depend on each other.",
        ),
        ("badname", "streams_invalid_topology: Topic names a/b are not valid topic names."),
        (
            "internal",
            "streams_invalid_topology: Use of Kafka internal topics __consumer_offsets in a Kafka "
            "Streams topology is prohibited.",
        ),
        ("sourceless", "streams_invalid_topology: No source topics found for subtopology 0"),
    ],
)
def test_impossible_topology_is_refused_and_leaves_nothing(topology: str, answer: str) -> None:
    scenario = Scenario()
    assert scenario.step(f"100 a 0 topology={topology}") == f"    {answer}\n"
    assert scenario.shard.streams == {}


def test_missing_source_topics_are_told_until_they_are_there() -> None:
    check(
        """
        100 a 0 topology=missing
            epoch=1 active=- [19 23 17 22]
            5 Assignment delayed due to the configured initial rebalance delay.
            1 Source topics nope1, nope2 are missing.
        800 a 1
            streams initial delay fires: [21 20]
            epoch=2 [22]
            1 Source topics nope1, nope2 are missing.
        800 state
            NotReady epoch=2 assignment=2
        900 topic nope1 2
        901 topic nope2 3
        3000 a 2
            epoch=3 active=0_0,0_1,0_2 [17 21 20 22]
        """
    )


def test_lost_source_topic_takes_all_tasks_back() -> None:
    scenario = check_settled("")
    del scenario.topics.counts["text"]
    scenario.shard.streams["g-1"].soft.is_metadata_stale = True
    check(
        """
        5000 a 2
            epoch=2 active=- [17 21 20 22]
            1 Source topics text are missing.
        5001 a 2 owned=
            epoch=3 [22]
            1 Source topics text are missing.
        """,
        scenario,
    )


def test_shutdown_request_reaches_everyone_until_the_group_is_empty() -> None:
    told = (
        "4 Streams group member a encountered a fatal error and requested a shutdown for the "
        "entire application."
    )
    check_settled(
        f"""
        3000 a 2 shutdown=yes
            epoch=2
            {told}
        3001 b 0
            epoch=3 active=- [19 17 21 21 20 22]
            {told}
        3002 a -1
            epoch=-1 [-22 -21 -19 17]
        3003 b -1
            epoch=-1 [-22 -21 -19 17]
        3004 b 0
            epoch=3 active=- [19 17 22]
            5 Assignment delayed due to the configured initial rebalance delay.
        """
    )


def test_shutdown_request_counts_with_the_leave_too() -> None:
    check_settled(
        """
        3000 b 0
            epoch=3 active=- [19 17 21 21 20 22]
        3001 a -1 shutdown=yes
            epoch=-1 [-22 -21 -19 17]
        3002 b 3
            epoch=3 active=0_2,0_3,1_2,1_3 [22]
            5 Assignment delayed due to the configured assignment interval.
            4 Streams group member a encountered a fatal error and requested a shutdown for the\
 entire application.
        """
    )


def test_standbys_come_with_the_config_and_only_on_other_processes() -> None:
    scenario = check_settled("")
    for line in ("3000 b 0", "3001 a 2", f"3002 a 2 owned={HALF}", "3003 b 3"):
        scenario.step(line)
    check(
        f"""
        6000 standbys 1
        6001 a 3
            epoch=4 active={HALF} standby=1_2,1_3 [17 21 21 20 22]
        6002 a 4 owned={HALF} copies=1_2,1_3
            epoch=4
        6003 b 3
            epoch=4 active=0_2,0_3,1_2,1_3 standby=1_0,1_1 [22]
        """,
        scenario,
    )


def test_two_threads_of_one_process_hand_a_task_over() -> None:
    check_settled(
        f"""
        3000 b 0 process=p-a
            epoch=3 active=- [19 17 21 21 20 22]
        3001 a 2
            epoch=2 active={HALF} [22]
        3002 a 2 owned={HALF}
            epoch=3 [22]
        3003 b 3
            epoch=3 active=0_2,0_3,1_2,1_3 [22]
        """
    )


def test_without_delay_and_interval_the_first_answer_has_the_tasks() -> None:
    scenario = Scenario(replace(CONFIG, initial_delay_ms=0, assignment_interval_ms=0))
    check(
        f"""
        100 a 0
            epoch=2 active={FULL} [19 23 17 21 20 22]
        """,
        scenario,
    )


def test_state_is_the_same_after_a_replay_of_the_records() -> None:
    scenario = check_settled("")
    for line in ("3000 b 0", "3001 a 2", "3002 b 3"):
        scenario.step(line)
    again = GroupShard()
    for record in scenario.records:
        decoded = rec.decode(rec.encode_key(record.key), rec.encode_value(record))
        assert decoded is not None
        again.replay(decoded, 7, -1)
    before, after = scenario.shard.streams["g-1"], again.streams["g-1"]
    assert after.members == before.members
    assert after.targets == before.targets
    assert after.topology == before.topology
    assert (after.epoch, after.assignment_epoch) == (before.epoch, before.assignment_epoch)
    count = scenario.topics.partition_count
    told = describe(scenario.shard, "g-1", count)
    assert told.error_message is not None
    # Why it was rebalanced is not in the records.
    assert describe(again, "g-1", count) == replace(told, error_message=None)


def test_description_says_why_the_group_was_rebalanced() -> None:
    scenario = check_settled("")
    for line in ("3000 b 0", "3100 a -1", "3200 standbys 1", "3300 b 3", "60000 wait"):
        scenario.step(line)
    told = describe(scenario.shard, "g-1", scenario.topics.partition_count).error_message
    assert told is not None
    newest, *older = told.removeprefix("Last rebalances: ").split(". ")
    assert newest == "epoch 6: member b was not heard of for 45000 ms (session timeout)"
    assert older[:3] == [
        "epoch 5: group configs are num.standby.replicas=1 now",
        "epoch 4: member a left",
        "epoch 3: member b joined from h-1 (c-1)",
    ]


def test_reasons_can_be_switched_off() -> None:
    scenario = Scenario(replace(CONFIG, tells_reasons=False))
    scenario.step("100 a 0")
    count = scenario.topics.partition_count
    assert describe(scenario.shard, "g-1", count).error_message is None


def test_history_keeps_the_last_rebalances_only() -> None:
    history = RebalanceHistory()
    for epoch in range(2, 2 + 3 * HISTORY_MAX):
        history.note("g-1", epoch, [f"cause {epoch}"])
    told = history.text()
    assert told is not None
    assert told.count("epoch") == HISTORY_MAX
    assert told.startswith(f"Last rebalances: epoch {1 + 3 * HISTORY_MAX}: cause")


def test_classic_group_is_taken_over_only_when_it_is_empty() -> None:
    scenario = Scenario()
    member = rec.ClassicMember(
        member_id="m-9",
        client_id="c-9",
        client_host="/h-9",
        session_timeout=9,
        subscription=b"",
        assignment=b"",
    )
    classic = rec.GroupMetadataValue(
        protocol_type="consumer", generation=9, protocol=None, leader=None, members=(member,)
    )
    key = rec.GroupMetadataKey(group="g-1")
    scenario.shard.replay(rec.Record(key, classic), 7, -1)
    refused = scenario.step("100 a 0")
    assert refused == "    group_id_not_found: Group g-1 is not a streams group.\n"
    scenario = Scenario()
    scenario.shard.replay(rec.Record(key, replace(classic, members=())), 8, -1)
    assert "[-2 19 23 17 22]" in scenario.step("101 a 0")
    assert scenario.shard.classic == {}


JOIN: dict[str, Any] = {"member_epoch": i32(0)}
LATER: dict[str, Any] = {"member_epoch": i32(3), "topology": None}
REGEX = rq.Topology(
    epoch=i32(5),
    subtopologies=(
        rq.Subtopology(
            subtopology_id="0",
            source_topic_regex=("a.*",),
            state_changelog_topics=(),
            repartition_source_topics=(),
            copartition_groups=(),
        ),
    ),
)
COUNTED = rq.Topology(
    epoch=i32(5),
    subtopologies=(
        rq.Subtopology(
            subtopology_id="0",
            source_topics=(TopicName("text"),),
            state_changelog_topics=(
                rq.TopicInfo(
                    name=TopicName("q"),
                    partitions=i32(3),
                    replication_factor=i16(0),
                    topic_configs=(),
                ),
            ),
            repartition_source_topics=(),
            copartition_groups=(),
        ),
    ),
)


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"rebalance_timeout": timedelta_ms(-1)}, "RebalanceTimeoutMs must be provided in first"),
        ({"topology": None}, "Topology must be non-null when (re-)joining."),
        ({"active_tasks": request_tasks([("0", 1)])}, "ActiveTasks must be empty when (re-)"),
        ({"standby_tasks": None}, "StandbyTasks must be empty when (re-)joining."),
        ({"warmup_tasks": request_tasks([("0", 1)])}, "WarmupTasks are not supported yet."),
        ({"member_epoch": i32(3)}, "Topology can only be provided when (re-)joining."),
        ({**LATER, "active_tasks": None}, "If one task-type is non-null, all must be non-null."),
        ({"rack_id": ""}, "RackId can't be empty."),
        ({"instance_id": "i-1"}, "Static membership is not yet supported."),
        ({"member_epoch": i32(-2)}, "InstanceId can't be null."),
        ({"member_epoch": i32(-3)}, "MemberEpoch is -3, but must be greater than or equal to -2."),
        ({"member_id": ""}, "MemberId can't be empty."),
        ({"group_id": ""}, "GroupId can't be empty."),
        ({"task_offsets": ()}, "TaskOffsets are not supported yet."),
        ({"topology": REGEX}, "Regular expressions for source topics are not supported yet."),
        ({"topology": COUNTED}, "Changelog topic q must have an undefined partition count"),
    ],
)
def test_malformed_request_is_refused(changes: dict[str, Any], answer: str) -> None:
    joining = StreamsMember("g-1", "a", "p-a", TOPOLOGY, 300_000).poll(0)
    assert joining is not None
    context = HeartbeatContext("c-1", "/h-1", 100, CONFIG, Topics())
    with pytest.raises(ApiError) as refused:
        heartbeat(GroupShard(), replace(joining, **{**JOIN, **changes}), context)
    assert refused.value.message.startswith(answer)


def test_member_that_waits_is_told_to_come_back_soon() -> None:
    scenario = Scenario(replace(CONFIG, unsettled_interval_ms=200, assignment_interval_ms=0))
    del scenario.topics.counts[COUNTS.name]
    check(
        f"""
        100 a 0
            epoch=1 active=- [19 23 17 22] next=200
            5 Assignment delayed due to the configured initial rebalance delay.
            3 Internal topics are missing: app-c-changelog
        300 topic app-c-changelog 4
        1000 a 1
            streams initial delay fires: [21 20]
            epoch=3 active={FULL} [17 21 20 22]
        2000 b 0
            epoch=4 active=- [19 17 21 21 20 22] next=200
        2100 a 3
            epoch=3 active={HALF} [22]
        2200 b 4
            epoch=4 [22] next=200
        2300 a 3 owned={HALF}
            epoch=4 [22]
        2400 b 4
            epoch=4 active=0_2,0_3,1_2,1_3 [22]
        """,
        scenario,
    )


def test_endpoints_are_sent_when_their_epoch_differs() -> None:
    scenario = Scenario()
    topology = StreamsMember("g-1", "a", "p-a", TOPOLOGY, 300_000, endpoint=("h-1", 81))
    context = HeartbeatContext("c-1", "/h-1", 100, replace(CONFIG, initial_delay_ms=0), Topics())
    request = topology.poll(0)
    assert request is not None
    result = heartbeat(scenario.shard, request, context)
    scenario.commit(result)
    entry = result.response.partitions_by_user_endpoint[0]
    assert result.response.endpoint_information_epoch == 1
    assert (entry.user_endpoint.host, entry.user_endpoint.port) == ("h-1", 81)
    assert {each.topic: each.partitions for each in entry.active_partitions} == {
        WORDS.name: (0, 1, 2, 3),
        "text": (0, 1, 2, 3),
    }
    topology.on_response(result.response, 5)
    again = topology.poll(99_999)
    assert again is not None
    answer = heartbeat(scenario.shard, again, context).response
    assert answer.partitions_by_user_endpoint is None


def test_group_configs_stay_within_the_brokers_bounds() -> None:
    settings = BrokerSettings(
        group_streams_min_session_timeout_ms=500, group_streams_session_timeout_ms=700
    )
    own = {
        "streams.session.timeout.ms": "3",
        "streams.num.standby.replicas": "9",
        "streams.assignment.interval.ms": "99999",
        "streams.initial.rebalance.delay.ms": "17",
    }
    config = streams_config(settings, own)
    assert config.session_timeout_ms == 500
    assert config.standby_replicas == 2
    assert config.assignment_interval_ms == 15_000
    assert config.initial_delay_ms == 17
    assert streams_config(settings, {}).session_timeout_ms == 700


def test_topology_of_a_member_is_stored_as_it_was_sent() -> None:
    words = InternalTopic("r", 7, 3, (("cleanup.policy", "delete"),))
    joined = GroupSubtopology("1", ("t1", "t2"), (words,), (), (), (("t1", "t2", "r"),))
    topology = GroupTopology(4, (GroupSubtopology("0", ("up",), (), ("r",)), joined))
    value = topology_value(topology_message(topology))
    assert topology_of_value(value) == topology
