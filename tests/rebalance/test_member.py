"""The member as scenarios: commands at the margin, what the member does indented below."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import replace

import pytest
from kio.schema.errors import ErrorCode
from kio.schema.streams_group_heartbeat.v0 import request as rq
from kio.schema.streams_group_heartbeat.v0 import response as rs
from kio.static.primitive import i8, i32

from streamkit.common.model import TaskId
from streamkit.rebalance.assignor import group_tasks
from streamkit.rebalance.effects import (
    Assign,
    Effect,
    EndpointsChanged,
    FindCoordinator,
    GroupStatus,
    MemberFatal,
    MemberWarning,
    TasksLost,
)
from streamkit.rebalance.member import StreamsMember
from streamkit.rebalance.report import TaskReport, read_report
from streamkit.rebalance.rules import GroupSubtopology, GroupTopology, InternalTopic
from streamkit.rebalance.wire import tasks_of, timedelta_ms, topology_message

TOPOLOGY = GroupTopology(
    7,
    (
        GroupSubtopology("0", ("text",), (), ("app-words-repartition",)),
        GroupSubtopology(
            "1", (), (InternalTopic("app-words-repartition"),), (), (InternalTopic("app-c"),)
        ),
    ),
)


def task_ids(text: str) -> frozenset[TaskId]:
    return frozenset(TaskId.parse(each) for each in text.split(",") if each)


def tasks_text(tasks: Iterable[tuple[object, int]]) -> str:
    return ",".join(f"{each[0]}_{each[1]}" for each in sorted(tasks, key=str)) or "-"


def lists_text(message: rq.StreamsGroupHeartbeatRequest) -> str:
    lists = (message.active_tasks, message.standby_tasks, message.warmup_tasks)
    if all(tasks is None for tasks in lists):
        return "unchanged"
    return "/".join(tasks_text(tasks_of(tasks or ())) for tasks in lists)


def response(options: dict[str, str]) -> rs.StreamsGroupHeartbeatResponse:
    def tasks(name: str) -> tuple[rs.TaskIds, ...] | None:
        if name not in options and "active" not in options:
            return None
        wanted = ((str(s), p) for s, p in task_ids(options.get(name, "")))
        return tuple(
            rs.TaskIds(subtopology_id=each, partitions=tuple(map(i32, partitions)))
            for each, partitions in group_tasks(wanted).items()
        )

    status = [int(code) for code in options.get("status", "").split(",") if code]
    return rs.StreamsGroupHeartbeatResponse(
        throttle_time=timedelta_ms(0),
        error_code=ErrorCode[options.get("error", "none")],
        error_message=options.get("message"),
        member_id="m-1",
        member_epoch=i32(int(options.get("epoch", "3"))),
        heartbeat_interval=timedelta_ms(int(options.get("interval", "5000"))),
        acceptable_recovery_lag=i32(0),
        task_offset_interval=timedelta_ms(0),
        status=tuple(rs.Status(status_code=i8(code), status_detail="why") for code in status),
        active_tasks=tasks("active"),
        standby_tasks=tasks("standby"),
        warmup_tasks=tasks("warmup"),
        endpoint_information_epoch=i32(0),
        partitions_by_user_endpoint=None,
    )


def effect_text(effect: Effect) -> str:
    match effect:
        case Assign(revoke, active, standby):
            texts = (tasks_text(revoke), tasks_text(active), tasks_text(standby))
            return "assign revoke={} active={} standby={}".format(*texts)
        case GroupStatus(ready, statuses):
            names = ",".join(getattr(code, "name", str(code)) for code, _ in statuses) or "-"
            return f"group ready={ready} {names}"
        case MemberFatal(error) | MemberWarning(error):
            return f"{type(effect).__name__} {error}"
        case EndpointsChanged() | TasksLost() | FindCoordinator():
            return type(effect).__name__


class Scenario:
    def __init__(self) -> None:
        self.member = StreamsMember(
            "g-1",
            "m-1",
            "p-1",
            TOPOLOGY,
            300_000,
            endpoint=("host-1", 8080),
            rack="r-1",
            client_tags=[("zone", "z-1")],
        )

    def run(self, script: str) -> str:
        commands = [line for line in script.splitlines() if line and not line.startswith(" ")]
        return "".join(f"{line}\n{self.step(line)}" for line in commands)

    def step(self, line: str) -> str:
        at, verb, *rest = line.split()
        options = dict(word.partition("=")[::2] for word in rest)
        before = self.member.state
        lines = self.act(int(at), verb, options)
        if self.member.state is not before:
            lines.append(f"-> {self.member.state.value}")
        return "".join(f"    {each}\n" for each in lines)

    def act(self, now: int, verb: str, options: dict[str, str]) -> list[str]:
        member = self.member
        effects: list[Effect] = []
        if verb == "poll":
            return [self.sent_text(member.poll(now))]
        if verb == "answer":
            effects = member.on_response(response(options), now)
        elif verb == "disconnect":
            effects = member.on_failure(None, now)
        elif verb == "reconciled":
            active, standby = options.get("active", ""), options.get("standby", "")
            member.reconciled(task_ids(active), task_ids(standby))
        elif verb == "leave":
            member.leave(now)
        elif verb == "stuck":
            effects = member.poll_timeout_expired(now)
        elif verb == "resumed":
            return [f"resumed {member.poll_resumed()}"]
        elif verb == "rejoin":
            member.rejoin()
        elif verb == "shutdown":
            member.request_shutdown()
        elif verb == "wake":
            return [f"wake {member.next_wake_ms()}"]
        else:
            raise ValueError(verb)
        return [effect_text(effect) for effect in effects]

    def sent_text(self, request: rq.StreamsGroupHeartbeatRequest | None) -> str:
        if request is None:
            return "nothing"
        assert (request.group_id, request.member_id) == ("g-1", "m-1")
        text = f"send epoch={request.member_epoch} tasks={lists_text(request)}"
        if request.topology is not None:
            text += f" topology={request.topology.epoch}"
        return text + (" shutdown" if request.shutdown_application else "")


def check(script: str) -> None:
    script = textwrap.dedent(script).lstrip()
    assert Scenario().run(script) == script


def test_member_joins_reconciles_and_acknowledges_at_once() -> None:
    check(
        """
        10 poll
            send epoch=0 tasks=-/-/- topology=7
        11 poll
            nothing
        12 answer epoch=2 active= status=5
            group ready=False ASSIGNMENT_DELAYED
            -> stable
        59 poll
            nothing
        60 poll
            send epoch=2 tasks=-/-/-
        5012 answer epoch=3 active=0_0,1_0 standby=1_1
            group ready=True -
            assign revoke=- active=0_0,1_0 standby=1_1
            -> reconciling
        5100 reconciled active=0_0,1_0 standby=1_1
            -> acknowledging
        5100 poll
            send epoch=3 tasks=0_0,1_0/1_1/-
            -> stable
        5101 answer epoch=3
        10099 poll
            nothing
        10100 poll
            send epoch=3 tasks=unchanged
        """
    )


def test_passing_statuses_are_asked_about_soon_then_less_often() -> None:
    check(
        """
        1000 poll
            send epoch=0 tasks=-/-/- topology=7
        1002 answer epoch=2 active= status=3
            group ready=False MISSING_INTERNAL_TOPICS
            -> stable
        1002 wake
            wake 1050
        1050 poll
            send epoch=2 tasks=-/-/-
        1051 answer epoch=2 status=3
        1051 wake
            wake 1150
        1150 poll
            send epoch=2 tasks=unchanged
        1151 answer epoch=2 status=3 interval=170
        1151 wake
            wake 1320
        1320 poll
            send epoch=2 tasks=unchanged
        1321 answer epoch=3 active=0_0
            group ready=True -
            assign revoke=- active=0_0 standby=-
            -> reconciling
        1321 wake
            wake 6320
        6320 poll
            send epoch=3 tasks=unchanged
        6321 answer epoch=4 status=3
            group ready=False MISSING_INTERNAL_TOPICS
        6321 wake
            wake 6370
        """
    )


def test_missing_source_topics_are_asked_about_at_the_interval() -> None:
    check(
        """
        1000 poll
            send epoch=0 tasks=-/-/- topology=7
        1002 answer epoch=2 active= status=1
            group ready=False MISSING_SOURCE_TOPICS
            -> stable
        1002 wake
            wake 6000
        """
    )


JOINED = """
    10 poll
        send epoch=0 tasks=-/-/- topology=7
    12 answer epoch=3 active=0_0,0_1
        group ready=True -
        assign revoke=- active=0_0,0_1 standby=-
        -> reconciling
    13 reconciled active=0_0,0_1
        -> acknowledging
    13 poll
        send epoch=3 tasks=0_0,0_1/-/-
        -> stable
    14 answer epoch=3
"""


def check_joined(script: str) -> None:
    check(textwrap.dedent(JOINED) + textwrap.dedent(script).lstrip())


def test_revoked_task_is_given_back_before_the_epoch_moves_on() -> None:
    check_joined(
        """
        5013 poll
            send epoch=3 tasks=unchanged
        5014 answer epoch=3 active=0_0
            assign revoke=0_1 active=0_0 standby=-
            -> reconciling
        5500 reconciled active=0_0
            -> acknowledging
        5500 poll
            send epoch=3 tasks=0_0/-/-
            -> stable
        5501 answer epoch=4 active=0_0
        """
    )


def test_lists_that_change_nothing_are_acknowledged() -> None:
    # Simulation seed 1123: 1_0 was given in an answer that was lost, then is taken back. The
    # coordinator waits for a full list, or for the rebalance timeout.
    check_joined(
        """
        5013 poll
            send epoch=3 tasks=unchanged
        5014 disconnect
            FindCoordinator
        5114 poll
            send epoch=3 tasks=0_0,0_1/-/-
        5115 answer epoch=3 active=0_0,0_1
        10114 poll
            send epoch=3 tasks=0_0,0_1/-/-
        10115 answer epoch=4
        15114 poll
            send epoch=4 tasks=unchanged
        """
    )


def test_newer_target_waits_for_the_reconciliation_under_way() -> None:
    check_joined(
        """
        5013 poll
            send epoch=3 tasks=unchanged
        5014 answer epoch=4 active=0_0,0_1,1_0
            assign revoke=- active=0_0,0_1,1_0 standby=-
            -> reconciling
        10013 poll
            send epoch=4 tasks=unchanged
        10014 answer epoch=4 active=1_0
        10020 reconciled active=0_0,0_1,1_0
            -> acknowledging
        10020 poll
            send epoch=4 tasks=0_0,0_1,1_0/-/-
            -> reconciling
        10021 answer epoch=4
            assign revoke=0_0,0_1 active=1_0 standby=-
        """
    )


def test_acknowledgement_is_not_lost_when_an_answer_crosses_it() -> None:
    check_joined(
        """
        5013 poll
            send epoch=3 tasks=unchanged
        5014 answer epoch=4 active=0_0
            assign revoke=0_1 active=0_0 standby=-
            -> reconciling
        10013 poll
            send epoch=4 tasks=unchanged
        10014 reconciled active=0_0
            -> acknowledging
        10014 poll
            nothing
        10015 answer epoch=4
        10015 poll
            send epoch=4 tasks=0_0/-/-
            -> stable
        """
    )


@pytest.mark.parametrize("error", ["fenced_member_epoch", "unknown_member_id"])
def test_fenced_member_loses_its_tasks_and_rejoins_with_its_member_id(error: str) -> None:
    check_joined(
        f"""
        5013 poll
            send epoch=3 tasks=unchanged
        5014 answer error={error}
            TasksLost
            -> fenced
        5014 poll
            nothing
        5015 reconciled active=0_0
        5016 reconciled
            -> joining
        5016 poll
            send epoch=0 tasks=-/-/- topology=7
        """
    )


@pytest.mark.parametrize("error", ["not_coordinator", "coordinator_not_available"])
def test_moved_coordinator_is_looked_up_and_asked_without_backoff(error: str) -> None:
    check_joined(
        f"""
        5013 poll
            send epoch=3 tasks=unchanged
        5014 answer error={error}
            FindCoordinator
        5014 poll
            send epoch=3 tasks=0_0,0_1/-/-
        """
    )


def test_disconnect_and_load_back_off_and_send_the_tasks_again() -> None:
    check_joined(
        """
        5013 poll
            send epoch=3 tasks=unchanged
        5014 disconnect
            FindCoordinator
        5113 poll
            nothing
        5114 poll
            send epoch=3 tasks=0_0,0_1/-/-
        5115 answer error=coordinator_load_in_progress
        5314 poll
            nothing
        5315 poll
            send epoch=3 tasks=0_0,0_1/-/-
        5316 answer epoch=3
        5316 wake
            wake 10315
        """
    )


def test_topic_authorization_failure_is_reported_and_retried() -> None:
    check_joined(
        """
        5013 poll
            send epoch=3 tasks=unchanged
        5014 answer error=topic_authorization_failed message=text
            MemberWarning group g-1, member m-1: topic_authorization_failed: text
        10014 poll
            send epoch=3 tasks=0_0,0_1/-/-
        """
    )


@pytest.mark.parametrize(
    "error",
    [
        "group_authorization_failed",
        "invalid_request",
        "group_max_size_reached",
        "streams_invalid_topology",
        "streams_invalid_topology_epoch",
        "streams_topology_fenced",
        "unsupported_version",
        "group_id_not_found",
        "unknown_server_error",
    ],
)
def test_every_other_error_is_fatal(error: str) -> None:
    check_joined(
        f"""
        5013 poll
            send epoch=3 tasks=unchanged
        5014 answer error={error}
            MemberFatal group g-1, member m-1: {error}
            -> fatal
        99999 poll
            nothing
        """
    )


def test_leaving_does_not_wait_for_the_request_that_is_out() -> None:
    check_joined(
        """
        5013 poll
            send epoch=3 tasks=unchanged
        5014 leave
            -> leaving
        5014 poll
            send epoch=-1 tasks=unchanged
            -> unsubscribed
        5015 answer epoch=4 active=1_0
        5016 answer epoch=-1
        99999 poll
            nothing
        """
    )


def test_member_of_a_fenced_producer_joins_anew_and_ignores_older_answers() -> None:
    check_joined(
        """
        5013 poll
            send epoch=3 tasks=unchanged
        5014 rejoin
            -> fenced
        5015 rejoin
        5016 reconciled
            -> joining
        5017 answer epoch=3
        5018 poll
            send epoch=0 tasks=-/-/- topology=7
        5019 answer epoch=4 active=0_0
            assign revoke=- active=0_0 standby=-
            -> reconciling
        """
    )


def test_stuck_member_leaves_and_rejoins_when_processing_resumes() -> None:
    check_joined(
        """
        5013 stuck
            TasksLost
            -> leaving
        5013 poll
            send epoch=-1 tasks=unchanged
            -> stale
        5014 answer error=unknown_member_id
        5020 resumed
            resumed False
        5030 reconciled
        5031 resumed
            resumed True
            -> joining
        5031 poll
            send epoch=0 tasks=-/-/- topology=7
        """
    )


def test_shutdown_request_goes_out_at_once_and_stays() -> None:
    check_joined(
        """
        100 shutdown
        100 poll
            send epoch=3 tasks=unchanged shutdown
        101 answer epoch=3 status=4
            group ready=True SHUTDOWN_APPLICATION
        5100 poll
            send epoch=3 tasks=unchanged shutdown
        """
    )


def test_unknown_subtopology_is_fatal() -> None:
    check(
        """
        10 poll
            send epoch=0 tasks=-/-/- topology=7
        12 answer epoch=3 active=9_0
            group ready=True -
            MemberFatal The coordinator assigned unknown subtopologies 9
            -> fatal
        """
    )


def test_joining_request_has_the_fields_of_the_java_client() -> None:
    member = Scenario().member
    request = member.poll(5)
    assert request is not None
    assert request.topology == topology_message(TOPOLOGY)
    assert request.process_id == "p-1"
    assert request.user_endpoint == rq.Endpoint(host="host-1", port=8080)
    assert request.rack_id == "r-1"
    assert request.client_tags == (rq.KeyValue(key="zone", value="z-1"),)
    assert request.rebalance_timeout == timedelta_ms(300_000)
    assert request.endpoint_information_epoch == -1
    assert (request.task_offsets, request.task_end_offsets, request.instance_id) == (None,) * 3


def test_later_requests_say_only_what_changed() -> None:
    member = Scenario().member
    member.poll(5)
    member.on_response(response({"epoch": "3", "active": ""}), 6)
    request = member.poll(9_000)
    assert request is not None
    unsaid = (request.topology, request.process_id, request.user_endpoint, request.rack_id)
    assert unsaid == (None,) * 4
    assert request.client_tags is None
    assert request.rebalance_timeout == timedelta_ms(-1)


def test_refused_topology_update_says_what_to_do() -> None:
    member = Scenario().member
    assert member.poll(10) is not None
    refused = "Topology updates are not supported yet."
    (effect,) = member.on_failure(ErrorCode.invalid_request, 12, refused)
    assert isinstance(effect, MemberFatal)
    assert f"{refused} The program's topology, or what it sets for internal" in str(effect.error)


def test_group_of_another_protocol_is_told_with_what_to_do() -> None:
    member = Scenario().member
    assert member.poll(10) is not None
    refused = "Group g-1 is not a streams group."
    (effect,) = member.on_failure(ErrorCode.group_id_not_found, 12, refused)
    assert isinstance(effect, MemberFatal)
    assert f"{refused} A group of another protocol has this id: stop all" in str(effect.error)


REPORT = TaskReport({("1", 2): 40}, {("1", 2): 900}, {("0", 3): 250}, {("0", 3): 7_000})


def reporting() -> StreamsMember:
    """A stable member that has the warm-up 1_2, told to report every 700 ms."""
    member = StreamsMember("g-1", "m-1", "p-1", TOPOLOGY, 300_000, reports_tasks=True)
    joining = member.poll(5)
    assert joining is not None
    assert (joining.task_offsets, joining.task_end_offsets) == ((), ())
    member.on_response(asked({"epoch": "3", "active": "0_3", "warmup": "1_2"}), 6)
    member.reconciled(task_ids("0_3"), (), task_ids("1_2"))
    return member


def asked(options: dict[str, str]) -> rs.StreamsGroupHeartbeatResponse:
    answer = response({"interval": "500", **options})
    return replace(answer, acceptable_recovery_lag=i32(100), task_offset_interval=timedelta_ms(700))


def test_report_goes_with_a_heartbeat_when_it_is_due_and_news() -> None:
    member = reporting()
    member.note_report(REPORT)
    first = member.poll(10)
    assert first is not None
    assert read_report(first.task_offsets or (), first.task_end_offsets or ()) == REPORT
    sent = []
    for now in (600, 1_200, 1_800):
        member.on_response(asked({"epoch": "3"}), now - 90)
        ahead = replace(REPORT, offsets={("1", 2): 40 + now // 100})
        member.note_report(ahead if now < 1_800 else replace(REPORT, offsets={("1", 2): 52}))
        request = member.poll(now)
        assert request is not None
        sent.append(request.task_offsets is not None)
    assert sent == [False, True, False], "too soon; due; nothing new"


def test_warmup_that_has_caught_up_is_told_at_once() -> None:
    member = reporting()
    member.note_report(REPORT)
    member.poll(10)
    member.on_response(asked({"epoch": "3"}), 12)
    assert member.poll(13) is None
    warm = replace(REPORT, offsets={("1", 2): 800})
    member.note_report(warm)
    request = member.poll(14)
    assert request is not None
    assert read_report(request.task_offsets or (), request.task_end_offsets or ()) == warm
    member.on_response(asked({"epoch": "3"}), 16)
    member.note_report(replace(REPORT, offsets={("1", 2): 801}))
    assert member.poll(17) is None, "told once"


def test_report_that_may_be_lost_is_sent_again() -> None:
    member = reporting()
    member.note_report(REPORT)
    member.poll(10)
    member.on_failure(None, 20)
    request = member.poll(2_000)
    assert request is not None
    assert read_report(request.task_offsets or (), request.task_end_offsets or ()) == REPORT
