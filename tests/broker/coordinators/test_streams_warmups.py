"""Members that report their offsets: warm-ups, promotion in place, weights, and what is told."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from typing import Any

import pytest

from streamkit.broker.coordinators.group.streams.config import StreamsConfig, streams_config
from streamkit.broker.coordinators.group.streams.describe import Silence, describe
from streamkit.broker.coordinators.group.streams.heartbeat import HeartbeatContext, heartbeat
from streamkit.broker.kraft.group_config import validate_group_configs
from streamkit.broker.settings import BrokerSettings
from streamkit.common.errors import ConfigError
from streamkit.protocol.units import to_ms
from streamkit.rebalance.description import described_group
from streamkit.rebalance.reasons import reasons
from streamkit.rebalance.report import TaskReport, end_messages, offset_messages
from streamkit.rebalance.wire import request_tasks
from tests.broker.coordinators.test_streams_heartbeat import (
    CONFIG,
    FULL,
    HALF,
    Scenario,
    parse_tasks,
)

LAG_MAX = 100
WARMING = replace(
    CONFIG,
    initial_delay_ms=0,
    assignment_interval_ms=0,
    takes_task_offsets=True,
    task_offset_interval_ms=700,
    warmup_replicas=2,
    recovery_lag_max=LAG_MAX,
    warmup_timeout_ms=30_000,
)
STATEFUL = ("1_0", "1_1", "1_2", "1_3")
LARGE = ",".join(f"{name}:9000" for name in STATEFUL)


class Reporting(Scenario):
    """`offsets=1_0:70,...` and `ends=` report; `warm=` are owned warm-ups."""

    def __init__(self, config: StreamsConfig = WARMING) -> None:
        super().__init__(config)

    def request(self, member_id: str, epoch: int, options: dict[str, str]) -> Any:
        request = super().request(member_id, epoch, options)
        changes: dict[str, Any] = {}
        if "warm" in options:
            changes["warmup_tasks"] = request_tasks(parse_tasks(options["warm"]))
        if "offsets" in options:
            report = TaskReport(
                numbers(options["offsets"]),
                numbers(options.get("ends", options["offsets"])),
                numbers(options.get("busy", "")),
                numbers(options.get("waiting", "")),
            )
            changes["task_offsets"] = offset_messages(report)
            changes["task_end_offsets"] = end_messages(report)
        return replace(request, **changes)

    def beat(self, member_id: str, epoch: int, options: dict[str, str]) -> list[str]:
        lines = super().beat(member_id, epoch, options)
        group = self.shard.streams.get("g-1")
        member = group.members.get(member_id) if group is not None else None
        if member is not None and member.assigned.warmup and "active=" in lines[0]:
            lines[0] += f" warm={tasks_text_of(member.assigned.warmup)}"
        return lines

    def told(self, now_ms: int = 0) -> Any:
        silence = Silence(now_ms, 10_000, 45_000) if now_ms else None
        return described_group(describe(self.shard, "g-1", self.topics.partition_count, silence))


def numbers(text: str) -> dict[tuple[str, int], int]:
    words = [word.split(":") for word in text.split(",") if word]
    return {parse_tasks(name)[0]: int(value) for name, value in words}


def tasks_text_of(tasks: Any) -> str:
    return ",".join(f"{each[0]}_{each[1]}" for each in sorted(tasks))


def play(script: str, scenario: Reporting | None = None) -> Reporting:
    scenario = scenario or Reporting()
    script = textwrap.dedent(script).lstrip()
    assert scenario.run(script) == script
    return scenario


SETTLED = f"""
    100 a 0 offsets=
        epoch=2 active={FULL} [19 23 17 21 20 22]
    200 a 2 owned={FULL} offsets={LARGE}
        epoch=2
"""
JOINED = """
    300 b 0 offsets=
        epoch=3 active=- [19 17 21 21 20 22] warm=1_2,1_3
    400 b 3 owned= warm=1_2,1_3 offsets=1_2:0,1_3:0
        epoch=3 [22]
    500 a 2
        epoch=2 active=0_0,0_1,1_0,1_1,1_2,1_3 [22]
    600 a 2 owned=0_0,0_1,1_0,1_1,1_2,1_3
        epoch=3 [22]
    700 b 3 owned= warm=1_2,1_3
        epoch=3 active=0_2,0_3 [22] warm=1_2,1_3
    800 b 3 owned=0_2,0_3 warm=1_2,1_3
        epoch=3
    801 state
        Stable epoch=3 assignment=3
"""


def settled(more: str = "", config: StreamsConfig = WARMING) -> Reporting:
    return play(textwrap.dedent(SETTLED) + textwrap.dedent(more).lstrip(), Reporting(config))


def test_large_task_moves_when_its_new_owner_has_caught_up() -> None:
    scenario = settled(textwrap.dedent(JOINED).lstrip())
    assert reasons(scenario.told(), scenario.topics.partition_count) == [
        "Task 1_2 stays with a until its state is warm on b: 9000 offsets behind.",
        "Task 1_3 stays with a until its state is warm on b: 9000 offsets behind.",
    ]
    play(
        """
        900 b 3 offsets=1_2:8899,1_3:50
            epoch=3
        1000 b 3 offsets=1_2:8900,1_3:50
            epoch=4 [17 21 21 20 22]
        1100 a 3
            epoch=3 active=0_0,0_1,1_0,1_1,1_3 [22]
        1200 a 3 owned=0_0,0_1,1_0,1_1,1_3
            epoch=4 [22]
        1300 b 4
            epoch=4 active=0_2,0_3,1_2 [22] warm=1_3
        1400 b 4 owned=0_2,0_3,1_2 warm=1_3
            epoch=4
        1500 state
            Stable epoch=4 assignment=4
        """,
        scenario,
    )
    assert "epoch 4: task 1_2 on member b is warm, 100 offsets behind" in scenario.told().note


def test_warmup_that_comes_no_nearer_moves_as_it_is() -> None:
    scenario = settled(textwrap.dedent(JOINED).lstrip())
    assert scenario.step("30000 b 3 offsets=1_2:10,1_3:0") == "    epoch=3\n"
    scenario.step("30450 b 3")
    assert "task 1_3 on member b is 9000 offsets behind and came no nearer for" in (
        scenario.told().note
    )
    assert scenario.told().members[1].target.warmup == {("1", 2)}


def test_small_tasks_move_at_once() -> None:
    settled(
        f"""
        250 a 2 offsets={LARGE.replace("9000", "100")}
            epoch=2
        300 b 0 offsets=
            epoch=3 active=- [19 17 21 21 20 22]
        400 a 2
            epoch=2 active={HALF} [22]
        """
    )


@pytest.mark.parametrize(
    "config",
    [
        replace(WARMING, warmup_replicas=0),
        replace(WARMING, recovery_lag_max=9_000),
    ],
)
def test_switched_off_tasks_move_at_once(config: StreamsConfig) -> None:
    settled(
        f"""
        300 b 0 offsets=
            epoch=3 active=- [19 17 21 21 20 22]
        400 a 2
            epoch=2 active={HALF} [22]
        """,
        config,
    )


def test_member_that_does_not_report_gets_its_tasks_at_once() -> None:
    scenario = settled(
        f"""
        300 b 0
            epoch=3 active=- [19 17 21 21 20 22]
        400 a 2
            epoch=2 active={HALF} [22]
        """
    )
    beat = scenario.request("b", 3, {})
    assert beat.task_offsets is None


def test_task_of_an_owner_that_is_behind_itself_does_not_wait() -> None:
    settled(
        f"""
        250 a 2 offsets={LARGE.replace("9000", "50")} ends={LARGE}
            epoch=2
        300 b 0 offsets=
            epoch=3 active=- [19 17 21 21 20 22]
        400 a 2
            epoch=2 active={HALF} [22]
        """
    )


def test_heir_that_leaves_takes_nothing_along() -> None:
    scenario = settled(textwrap.dedent(JOINED).lstrip())
    scenario.step("900 b -1")
    scenario.step("1000 a 3")
    (owner,) = scenario.told().members
    assert tasks_text_of(owner.target.active) == FULL
    assert not owner.target.warmup


def test_owner_that_dies_leaves_its_tasks_to_the_warmup() -> None:
    scenario = settled(textwrap.dedent(JOINED).lstrip())
    scenario.step("900 a -1")
    scenario.step("1000 b 3 offsets=1_2:7,1_3:7")
    (heir,) = scenario.told().members
    assert tasks_text_of(heir.target.active) == FULL


def test_moves_that_wait_for_a_place_are_told() -> None:
    scenario = settled(config=replace(WARMING, warmup_replicas=1))
    scenario.step("300 b 0 offsets=")
    told = scenario.told()
    assert "Waiting for a place to warm up (streams.num.warmup.replicas): 1_3 to b." in told.note
    assert told.members[1].target.warmup == {("1", 2)}


def test_reporting_members_are_told_how_and_others_nothing() -> None:
    scenario = settled()
    context = HeartbeatContext("c-1", "/h-1", 300, WARMING, scenario.topics)
    answer = heartbeat(scenario.shard, scenario.request("a", 2, {}), context).response
    assert answer.acceptable_recovery_lag == LAG_MAX
    assert to_ms(answer.task_offset_interval) == 700
    plain = heartbeat(scenario.shard, scenario.request("j", 0, {}), context).response
    assert (plain.acceptable_recovery_lag, to_ms(plain.task_offset_interval)) == (0, 0)


def test_offsets_are_refused_where_they_are_switched_off() -> None:
    scenario = Reporting(replace(WARMING, takes_task_offsets=False))
    assert scenario.step("100 a 0 offsets=") == (
        "    invalid_request: TaskOffsets are not supported yet.\n"
    )


def test_standby_is_promoted_in_place_for_those_who_report() -> None:
    config = replace(WARMING, standby_replicas=1, warmup_replicas=0)
    scenario = settled(config=config)
    scenario.step("300 b 0 offsets=")
    scenario.step("400 a 2")
    scenario.step(f"500 a 2 owned={HALF}")
    scenario.step("600 b 3")
    scenario.step("700 b 3 owned=0_2,0_3,1_2,1_3 copies=1_0,1_1 offsets=1_2:9000,1_3:9000")
    scenario.step("750 a 3 owned=0_0,0_1,1_0,1_1 copies=1_2,1_3")
    scenario.step("800 b -1")
    assert scenario.step("900 a 3") == f"    epoch=4 active={FULL} [21 20 22]\n"


def test_without_the_switch_a_standby_is_given_back_first() -> None:
    config = replace(WARMING, standby_replicas=1, warmup_replicas=0, promotes_in_place=False)
    scenario = settled(config=config)
    scenario.step("300 b 0 offsets=")
    scenario.step("400 a 2")
    scenario.step(f"500 a 2 owned={HALF}")
    scenario.step("600 b 3")
    scenario.step("750 a 3 owned=0_0,0_1,1_0,1_1 copies=1_2,1_3")
    scenario.step("800 b -1")
    assert scenario.step("900 a 3") == f"    epoch=3 active={HALF} [21 20 22]\n"


def test_silent_member_is_told_before_its_session_ends() -> None:
    scenario = settled()
    assert "not been heard of" not in scenario.told(now_ms=10_200).note
    assert (
        "Member a has not been heard of for 10001 ms; its tasks go to others after 45000 ms."
        in scenario.told(now_ms=10_201).note
    )


def test_what_is_not_ready_is_told_with_its_detail() -> None:
    scenario = Reporting()
    scenario.step("100 a 0 topology=missing")
    assert "Not ready: Source topics nope1, nope2 are missing." in scenario.told().note


def test_application_that_stops_says_who_asked_for_it() -> None:
    scenario = settled()
    scenario.step("300 a 2 shutdown")
    assert "Member a asked all members to stop." in scenario.told().note


WEIGHED = replace(WARMING, task_weights="1=3", warmup_replicas=0)


def test_tasks_are_spread_by_weights() -> None:
    scenario = settled(config=WEIGHED)
    scenario.step("300 b 0 offsets=")
    for member in scenario.told().members:
        costs = [3 if task[0] == "1" else 1 for task in member.target.active]
        assert sum(costs) == 8


def test_changed_weights_start_a_rebalance() -> None:
    scenario = settled(config=replace(WEIGHED, task_weights=""))
    scenario.config = WEIGHED
    scenario.step("300 a 2")
    assert "task.weights=1=3" in scenario.told().note


def test_uneven_lags_are_looked_at_now_and_then() -> None:
    config = replace(WARMING, is_balanced_by_lag=True, warmup_replicas=0, balance_interval_ms=5_000)
    scenario = settled(config=config)
    scenario.step("300 b 0 offsets=")
    scenario.step("400 a 2")
    first = {each.member_id: each.target.active for each in scenario.told().members}
    scenario.step(f"500 a 2 owned={tasks_text_of(first['a'])} offsets=")
    scenario.step("600 b 3")
    scenario.step(f"700 b 3 owned={tasks_text_of(first['b'])} offsets=")
    late = ",".join(f"{name}:800000" for name in tasks_text_of(sorted(first["a"])[:2]).split(","))
    scenario.step(f"800 a 3 offsets= waiting={late}")
    assert scenario.told().epoch == 3, "it is not time yet"
    scenario.step("5400 b 3")
    assert "epoch 4: load is uneven: one member has" in scenario.told().note
    second = {each.member_id: each.target.active for each in scenario.told().members}
    waiting = numbers(late).keys()
    assert [len(active & waiting) for active in second.values()] == [1, 1]


def test_group_configs_of_ours_are_checked() -> None:
    settings = BrokerSettings()
    own = {
        "streams.num.warmup.replicas": "7",
        "streams.rack.aware.assignment.tags": "zone,cluster",
        "streams.task.weights": "0=1,1=2.5",
        "streams.balance.by.lag": "true",
        "streams.acceptable.recovery.lag": "77",
    }
    validate_group_configs(own, settings.to_mapping())
    config = streams_config(settings, own)
    assert (config.warmup_replicas, config.recovery_lag_max) == (7, 77)
    assert config.spread_by == ("zone", "cluster")
    assert config.is_balanced_by_lag
    assert config.assignment_configs == {
        "num.standby.replicas": "0",
        "task.weights": "0=1,1=2.5",
        "balance.by.lag": "true",
        "rack.aware.assignment.tags": "zone,cluster",
    }
    with pytest.raises(ConfigError, match=r"streams\.task\.weights"):
        validate_group_configs({"streams.task.weights": "1=-4"}, settings.to_mapping())
    with pytest.raises(ConfigError, match=r"task\.weights"):
        BrokerSettings.from_mapping({"group.streams.task.weights": "x"})


def test_by_default_the_record_has_kafkas_configs_only() -> None:
    assert streams_config(BrokerSettings(), {}).assignment_configs == {"num.standby.replicas": "0"}
