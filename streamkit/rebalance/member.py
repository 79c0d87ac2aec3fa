"""The member of a streams group: the client's half of KIP-1071 as a state machine.

Pure: the shell asks `poll` for the heartbeat that is due, hands back its answer or failure, and
does what the effects say. Towards Apache Kafka the requests have the Java client's fields, no
more and no less (StreamsMembershipManager, StreamsGroupHeartbeatRequestManager); with
`reports_tasks`, for a broker that advertises it, also what `report` says. Invariants: one
request is out at a time, but for the one that leaves; answers that cross a leave are ignored;
the member id stays the same for life; `owned` changes only in `reconciled` and when tasks are
lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from enum import Enum

from streamkit.protocol import kio_import as _kio_import  # noqa: F401  # before any of kio

# isort: split
from kio.schema.errors import ErrorCode
from kio.schema.streams_group_heartbeat.v0 import request as rq
from kio.schema.types import GroupId
from kio.static.primitive import i32, u16

from streamkit.common.errors import FatalError, RetriableError, StreamkitError
from streamkit.common.model import TaskId
from streamkit.rebalance.assignor import EMPTY_TASKS, Task, Tasks
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
from streamkit.rebalance.report import (
    EMPTY_REPORT,
    TaskReport,
    end_messages,
    offset_messages,
)
from streamkit.rebalance.rules import GroupTopology, StatusCode
from streamkit.rebalance.wire import (
    HeartbeatRequest,
    HeartbeatResponse,
    endpoints_of,
    milliseconds,
    request_tasks,
    tasks_of,
    timedelta_ms,
    topology_message,
)

JOIN_EPOCH = 0
UPDATE_REFUSED = "Topology updates"
"""How Apache Kafka begins its answer to a topology that is not the group's."""
OTHER_PROTOCOL = "is not a streams group."
"""How a coordinator's answer ends that keeps another type of group under this id."""
LEAVE_EPOCH = -1
RETRY_BACKOFF_MS = 100
RETRY_BACKOFF_MAX_MS = 1000
PASSING_BACKOFF_MS = 50
"""How soon to ask again while a status is passing; twice as long each time, up to the interval."""
_AT_ONCE = float("-inf")


class MemberState(Enum):
    """Where the member stands; `_MOVES` says where it may go."""

    UNSUBSCRIBED = "unsubscribed"
    JOINING = "joining"
    RECONCILING = "reconciling"
    ACKNOWLEDGING = "acknowledging"
    STABLE = "stable"
    LEAVING = "leaving"
    FENCED = "fenced"
    STALE = "stale"
    FATAL = "fatal"


_S = MemberState
_IN_GROUP = (_S.JOINING, _S.RECONCILING, _S.ACKNOWLEDGING, _S.STABLE)
_MOVES: dict[MemberState, tuple[MemberState, ...]] = {
    _S.UNSUBSCRIBED: (_S.JOINING, _S.FATAL),
    _S.JOINING: (_S.RECONCILING, _S.STABLE, _S.FENCED, _S.LEAVING, _S.FATAL),
    _S.RECONCILING: (_S.ACKNOWLEDGING, _S.STABLE, _S.FENCED, _S.LEAVING, _S.FATAL),
    _S.ACKNOWLEDGING: (_S.RECONCILING, _S.STABLE, _S.FENCED, _S.LEAVING, _S.FATAL),
    _S.STABLE: (_S.RECONCILING, _S.FENCED, _S.LEAVING, _S.FATAL),
    _S.LEAVING: (_S.UNSUBSCRIBED, _S.STALE, _S.FATAL),
    _S.FENCED: (_S.JOINING, _S.UNSUBSCRIBED, _S.FATAL),
    _S.STALE: (_S.JOINING, _S.UNSUBSCRIBED, _S.FATAL),
    _S.FATAL: (),
}
_NOT_READY = (
    StatusCode.MISSING_SOURCE_TOPICS,
    StatusCode.INCORRECTLY_PARTITIONED_TOPICS,
    StatusCode.MISSING_INTERNAL_TOPICS,
    StatusCode.ASSIGNMENT_DELAYED,
)
_PASSING = (StatusCode.MISSING_INTERNAL_TOPICS, StatusCode.ASSIGNMENT_DELAYED)
"""What the coordinator sees to by itself, within milliseconds or a short delay."""
_LOOK_UP = (ErrorCode.not_coordinator, ErrorCode.coordinator_not_available)
_FENCING = (ErrorCode.fenced_member_epoch, ErrorCode.unknown_member_id)


class StreamsMember:
    """One member of one streams group; starts out joining."""

    def __init__(
        self,
        group_id: str,
        member_id: str,
        process_id: str,
        topology: GroupTopology,
        rebalance_timeout_ms: int,
        *,
        endpoint: tuple[str, int] | None = None,
        rack: str | None = None,
        client_tags: Iterable[tuple[str, str]] = (),
        reports_tasks: bool = False,
    ) -> None:
        self.group_id = group_id
        self.member_id = member_id
        self.process_id = process_id
        self.topology = topology
        self.rebalance_timeout_ms = rebalance_timeout_ms
        self.endpoint = endpoint
        self.rack = rack
        self.client_tags = tuple(client_tags)
        self.reports_tasks = reports_tasks
        self.state = MemberState.JOINING
        self.member_epoch = JOIN_EPOCH
        self.owned = EMPTY_TASKS
        """The tasks taken over and not yet given back."""
        self.target = EMPTY_TASKS
        """The last assignment received."""
        self.shutdown_requested = False
        self.shutdown_heard = False
        """The coordinator answered a heartbeat that asks for the shutdown."""
        self.heartbeat_interval_ms = 0
        self._report = EMPTY_REPORT
        self._reported: TaskReport | None = None
        self._report_due_ms = _AT_ONCE
        self._report_interval_ms = 0
        self._recovery_lag_max = 0
        self._warm: frozenset[Task] = frozenset()
        self._is_urgent = True
        self._due_ms = 0.0
        self._sent_ms = 0.0
        self._failures = 0
        self._passing = 0
        self._outstanding = 0
        self._is_asking_shutdown = False
        self._ignored = 0
        self._last_sent: Tasks | None = None
        self._is_assigning = False
        self._is_stale = False
        self._tasks_are_lost = True
        self._endpoint_epoch = -1
        self._status: tuple[bool, tuple[tuple[StatusCode | int, str], ...]] | None = None
        self._subtopology_ids = frozenset(each.id for each in topology.subtopologies)

    @property
    def owned_active(self) -> frozenset[TaskId]:
        """The active tasks taken over and not yet given back."""
        return _task_ids(self.owned.active)

    @property
    def owned_standby(self) -> frozenset[TaskId]:
        """The standby tasks taken over and not yet given back."""
        return _task_ids(self.owned.standby)

    def note_report(self, report: TaskReport) -> None:
        """How far the tasks are now; a warm-up that has caught up is told at once."""
        self._report = report
        behind = {task: report.behind(task) for task in self.owned.warmup}
        lag_max = self._recovery_lag_max
        warm = frozenset(t for t, lag in behind.items() if lag is not None and lag <= lag_max)
        if warm - self._warm:
            self._is_urgent = True
            self._report_due_ms = _AT_ONCE
        self._warm = warm

    def next_wake_ms(self) -> float | None:
        """When `poll` may have something; None while only an answer or a call can change that."""
        if self.state is MemberState.LEAVING:
            return _AT_ONCE
        if self.state not in _IN_GROUP or self._outstanding:
            return None
        return _AT_ONCE if self._is_urgent else self._due_ms

    def poll(self, now_ms: float) -> HeartbeatRequest | None:
        """The heartbeat to send now; None when none is due."""
        wake_ms = self.next_wake_ms()
        if wake_ms is None or now_ms < wake_ms:
            return None
        self._outstanding += 1
        self._is_urgent = False
        self._sent_ms = now_ms
        if self.state is MemberState.LEAVING:
            return self._leave_request()
        self._is_asking_shutdown = self.shutdown_requested
        request = self._with_report(self._request(), now_ms)
        if self.state is MemberState.ACKNOWLEDGING:
            is_done = self.owned == self.target
            self._to(MemberState.STABLE if is_done else MemberState.RECONCILING)
        return request

    def on_response(self, response: HeartbeatResponse, now_ms: float) -> list[Effect]:
        """Take the answer to the request that is out."""
        if response.error_code != ErrorCode.none:
            return self.on_failure(response.error_code, now_ms, response.error_message or "")
        if self._is_to_be_ignored() or response.member_epoch < 0:
            return []
        self._failures = 0
        self.shutdown_heard |= self._is_asking_shutdown
        self.heartbeat_interval_ms = milliseconds(response.heartbeat_interval)
        self._due_ms = self._sent_ms + self._wait_ms(response)
        self.member_epoch = response.member_epoch
        self._report_interval_ms = milliseconds(response.task_offset_interval)
        self._recovery_lag_max = response.acceptable_recovery_lag
        effects = self._news(response)
        lists = (response.active_tasks, response.standby_tasks, response.warmup_tasks)
        if all(tasks is None for tasks in lists):
            return effects + self._reconcile()
        if any(tasks is None for tasks in lists):
            return [*effects, *self._fatal("The coordinator sent only some of the task lists.")]
        target = Tasks(*(tasks_of(tasks or ()) for tasks in lists))
        named = target.active | target.standby | target.warmup
        unknown = {task[0] for task in named} - self._subtopology_ids
        if unknown:
            names = ", ".join(sorted(unknown))
            return [
                *effects,
                *self._fatal(f"The coordinator assigned unknown subtopologies {names}"),
            ]
        self.target = target
        if self.owned == target:
            # Nothing is to be done, but the coordinator may wait for tasks back that were given in
            # an answer that was lost: it takes only a full list for an acknowledgement.
            self._last_sent = None
        return effects + self._reconcile()

    def on_failure(self, error: ErrorCode | None, now_ms: float, message: str = "") -> list[Effect]:
        """The request that is out failed; None stands for a lost connection or a timeout."""
        if self._is_to_be_ignored():
            return []
        self._last_sent = None
        self._forget_reported()
        self._is_urgent = False
        if error is None or error == ErrorCode.coordinator_load_in_progress:
            backoff_ms = RETRY_BACKOFF_MS * 2**self._failures
            self._failures = min(self._failures + 1, 10)
            self._due_ms = now_ms + min(backoff_ms, RETRY_BACKOFF_MAX_MS)
            return [FindCoordinator()] if error is None else []
        if error in _LOOK_UP:
            self._due_ms = now_ms
            return [FindCoordinator()]
        if error in _FENCING:
            return self._fenced()
        text = f"group {self.group_id}, member {self.member_id}: {error.name}"
        text = f"{text}: {message}" if message else text
        if error == ErrorCode.topic_authorization_failed:
            self._due_ms = now_ms + max(self.heartbeat_interval_ms, RETRY_BACKOFF_MAX_MS)
            return [MemberWarning(RetriableError(text))]
        if message.startswith(UPDATE_REFUSED):
            text = (
                f"{text} The program's topology, or what it sets for internal topics, is not the "
                "group's: reset the application (streamkit reset PROGRAM), or give it another id."
            )
        if error == ErrorCode.group_id_not_found and message.endswith(OTHER_PROTOCOL):
            text = (
                f"{text} A group of another protocol has this id: stop all of its members and wait "
                "until it is empty (one that does not leave goes with its session timeout), and "
                "its offsets are taken over; or give the program another id."
            )
        return self._fatal(text)

    def reconciled(
        self,
        active: Collection[TaskId],
        standby: Collection[TaskId],
        warmup: Collection[TaskId] = (),
    ) -> None:
        """The tasks now are exactly these: answers `Assign`, and with empty sets `TasksLost`."""
        owned = Tasks(_tasks(active), _tasks(standby), _tasks(warmup))
        if self.state is MemberState.FENCED or self._is_stale:
            self._tasks_are_lost = owned.is_empty
            if self.state is MemberState.FENCED and owned.is_empty:
                self._join()
            return
        if self.state is not MemberState.RECONCILING or not self._is_assigning:
            return
        self.owned = owned
        self._is_assigning = False
        self._to(MemberState.ACKNOWLEDGING)
        self._is_urgent = True

    def leave(self, now_ms: float) -> None:
        """Leave the group with the next poll; the shell closes the tasks itself."""
        self._is_stale = False
        if self.state in (MemberState.STALE, MemberState.FENCED):
            self._to(MemberState.UNSUBSCRIBED)
        elif self.state in _IN_GROUP:
            self._begin_leaving()

    def poll_timeout_expired(self, now_ms: float) -> list[Effect]:
        """Processing is stuck: leave and lose the tasks until `poll_resumed`."""
        if self.state not in _IN_GROUP:
            return []
        self._is_stale = True
        self._begin_leaving()
        self._tasks_are_lost = False
        return [TasksLost()]

    def poll_resumed(self) -> bool:
        """Processing goes on: join again. False while tasks are still to be closed."""
        if self.state is not MemberState.STALE or not self._tasks_are_lost:
            return False
        self._is_stale = False
        self._join()
        return True

    def rejoin(self) -> None:
        """Give up all tasks and join again as soon as `reconciled` says that they are closed.

        For a producer that was fenced: what the coordinator knows of our tasks may be outdated.
        """
        if self.state not in _IN_GROUP:
            return
        self._ignored = self._outstanding
        self._fenced()

    def join(self) -> None:
        """Join again after having left."""
        if self.state is MemberState.UNSUBSCRIBED:
            self._join()

    def request_shutdown(self) -> None:
        """Ask every member of the group to shut down, from the next heartbeat on.

        `shutdown_heard` says that it was heard. Apache Kafka 4.3 also looks for it in the request
        that leaves, whose answer nobody waits for.
        """
        self.shutdown_requested = True
        self._is_urgent = True

    def _to(self, state: MemberState) -> None:
        assert state in _MOVES[self.state], f"a member cannot go from {self.state} to {state}"
        self.state = state

    def _join(self) -> None:
        self._to(MemberState.JOINING)
        self._is_urgent = True

    def _forget_tasks(self) -> None:
        self.member_epoch = JOIN_EPOCH
        self.owned = self.target = EMPTY_TASKS
        self._last_sent = None
        self._forget_reported()
        self._is_assigning = False

    def _forget_reported(self) -> None:
        """What was told may not have been heard."""
        self._reported = None
        self._report_due_ms = _AT_ONCE
        self._warm = frozenset()

    def _fenced(self) -> list[Effect]:
        self._to(MemberState.FENCED)
        self._forget_tasks()
        self._tasks_are_lost = False
        return [TasksLost()]

    def _fatal(self, message: str) -> list[Effect]:
        self._to(MemberState.FATAL)
        return [MemberFatal(FatalError(message))]

    def _begin_leaving(self) -> None:
        self._to(MemberState.LEAVING)
        self._forget_tasks()

    def _is_to_be_ignored(self) -> bool:
        """Count the answer in; answers that crossed a leave, or come after it, say nothing."""
        self._outstanding = max(self._outstanding - 1, 0)
        if self._ignored:
            self._ignored -= 1
            return True
        return self.state not in _IN_GROUP

    def _wait_ms(self, response: HeartbeatResponse) -> int:
        """How long after this heartbeat the next one is due."""
        codes = [int(status.status_code) for status in response.status or ()]
        if not any(code in codes for code in _PASSING):
            self._passing = 0
            return self.heartbeat_interval_ms
        backoff_ms: int = PASSING_BACKOFF_MS * 2**self._passing
        self._passing = min(self._passing + 1, 10)
        return min(backoff_ms, self.heartbeat_interval_ms)

    def _news(self, response: HeartbeatResponse) -> list[Effect]:
        """Changes of the group's status and of the endpoints."""
        effects: list[Effect] = []
        statuses = tuple(
            (_status_code(status.status_code), status.status_detail)
            for status in response.status or ()
        )
        ready = not any(code in _NOT_READY for code, _ in statuses)
        if (ready, statuses) != self._status:
            self._status = (ready, statuses)
            effects.append(GroupStatus(ready, statuses))
        if response.partitions_by_user_endpoint is not None:
            self._endpoint_epoch = response.endpoint_information_epoch
            effects.append(EndpointsChanged(endpoints_of(response.partitions_by_user_endpoint)))
        return effects

    def _reconcile(self) -> list[Effect]:
        """Start moving from owned to target, unless a move is under way or nothing is to do."""
        if self._is_assigning:
            return []
        if self.owned == self.target:
            if self.state in (MemberState.JOINING, MemberState.RECONCILING):
                self._to(MemberState.STABLE)
            return []
        if self.state is not MemberState.RECONCILING:
            self._to(MemberState.RECONCILING)
        self._is_assigning = True
        return [
            Assign(
                revoke=_task_ids(self.owned.active - self.target.active),
                active=_task_ids(self.target.active),
                standby=_task_ids(self.target.standby),
                warmup=_task_ids(self.target.warmup),
            )
        ]

    def _leave_request(self) -> HeartbeatRequest:
        self._ignored = self._outstanding
        self._to(MemberState.STALE if self._is_stale else MemberState.UNSUBSCRIBED)
        return self._message(LEAVE_EPOCH, None)

    def _request(self) -> HeartbeatRequest:
        if self.state is MemberState.JOINING:
            return self._message(JOIN_EPOCH, EMPTY_TASKS, is_joining=True)
        if self.owned == self._last_sent:
            return self._message(self.member_epoch, None)
        self._last_sent = self.owned
        return self._message(self.member_epoch, self.owned)

    def _with_report(self, request: HeartbeatRequest, now_ms: float) -> HeartbeatRequest:
        """The request with what the tasks are at, when that is due and news."""
        if not self.reports_tasks or now_ms < self._report_due_ms:
            return request
        report = EMPTY_REPORT if self.state is MemberState.JOINING else self._report
        if report == self._reported:
            return request
        self._reported = report
        self._report_due_ms = now_ms + self._report_interval_ms
        return replace(
            request, task_offsets=offset_messages(report), task_end_offsets=end_messages(report)
        )

    def _message(
        self, epoch: int, tasks: Tasks | None, *, is_joining: bool = False
    ) -> HeartbeatRequest:
        endpoint = self.endpoint if is_joining else None
        tags = (rq.KeyValue(key=key, value=value) for key, value in self.client_tags)
        return HeartbeatRequest(
            group_id=GroupId(self.group_id),
            member_id=self.member_id,
            member_epoch=i32(epoch),
            endpoint_information_epoch=i32(self._endpoint_epoch),
            rack_id=self.rack if is_joining else None,
            rebalance_timeout=timedelta_ms(self.rebalance_timeout_ms if is_joining else -1),
            topology=topology_message(self.topology) if is_joining else None,
            active_tasks=None if tasks is None else request_tasks(tasks.active),
            standby_tasks=None if tasks is None else request_tasks(tasks.standby),
            warmup_tasks=None if tasks is None else request_tasks(tasks.warmup),
            process_id=self.process_id if is_joining else None,
            user_endpoint=endpoint and rq.Endpoint(host=endpoint[0], port=u16(endpoint[1])),
            client_tags=tuple(tags) if is_joining else None,
            task_offsets=None,
            task_end_offsets=None,
            shutdown_application=self.shutdown_requested,
        )


def error_of(effects: Iterable[Effect]) -> StreamkitError | None:
    """The error that ends the member, when the effects carry one."""
    return next((each.error for each in effects if isinstance(each, MemberFatal)), None)


def _status_code(code: int) -> StatusCode | int:
    return StatusCode(code) if code in StatusCode._value2member_map_ else code


def _task_ids(tasks: Iterable[Task]) -> frozenset[TaskId]:
    return frozenset(TaskId(int(subtopology_id), partition) for subtopology_id, partition in tasks)


def _tasks(task_ids: Iterable[TaskId]) -> frozenset[Task]:
    return frozenset((str(task.subtopology), task.partition) for task in task_ids)
