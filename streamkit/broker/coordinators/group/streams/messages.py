"""StreamsGroupHeartbeat's messages on the broker's side: task lists and durations."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from streamkit.protocol import kio_import as _kio_import  # noqa: F401  # before any of kio

# isort: split
from kio.schema.streams_group_heartbeat.v0 import request as rq
from kio.schema.streams_group_heartbeat.v0 import response as rs
from kio.static.primitive import i32, i32Timedelta

from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.rebalance.assignor import Task, Tasks, group_tasks
from streamkit.rebalance.report import TaskReport, read_report

HeartbeatRequest = rq.StreamsGroupHeartbeatRequest
HeartbeatResponse = rs.StreamsGroupHeartbeatResponse


def duration(value_ms: int) -> i32Timedelta:
    """Milliseconds as the type of kio's 32-bit time fields."""
    return i32Timedelta.parse(datetime.timedelta(milliseconds=value_ms))


_EMPTY_RESPONSE: Mapping[str, Any] = {
    "throttle_time": duration(0),
    "error_code": ErrorCode.none,
    "error_message": None,
    "member_id": "",
    "member_epoch": i32(0),
    "heartbeat_interval": duration(0),
    "acceptable_recovery_lag": i32(0),
    "task_offset_interval": duration(0),
    "status": (),
    "active_tasks": None,
    "standby_tasks": None,
    "warmup_tasks": None,
    "endpoint_information_epoch": i32(0),
    "partitions_by_user_endpoint": None,
}


def response(**fields: Any) -> HeartbeatResponse:
    """An answer; what is not given says nothing."""
    return rs.StreamsGroupHeartbeatResponse(**{**_EMPTY_RESPONSE, **fields})


def error_response(error: ApiError) -> HeartbeatResponse:
    """The answer to a refused heartbeat."""
    return response(error_code=error.code, error_message=error.message or None)


def owned_tasks(request: HeartbeatRequest) -> Tasks | None:
    """What the member says it owns; None when it says nothing."""
    if request.active_tasks is None or request.standby_tasks is None:
        return None
    return Tasks(
        tasks_of(request.active_tasks),
        tasks_of(request.standby_tasks),
        tasks_of(request.warmup_tasks or ()),
    )


def reported(request: HeartbeatRequest) -> TaskReport | None:
    """What the member says of its tasks; None when it says nothing."""
    if request.task_offsets is None or request.task_end_offsets is None:
        return None
    return read_report(request.task_offsets, request.task_end_offsets)


def tasks_of(message: Iterable[rq.TaskIds]) -> frozenset[Task]:
    """The tasks of a request's list."""
    return frozenset(
        (entry.subtopology_id, int(partition))
        for entry in message
        for partition in entry.partitions
    )


def response_tasks(tasks: Iterable[Task]) -> tuple[rs.TaskIds, ...]:
    """Assigned tasks as a response carries them."""
    return tuple(
        rs.TaskIds(subtopology_id=subtopology_id, partitions=tuple(map(i32, partitions)))
        for subtopology_id, partitions in group_tasks(tasks).items()
    )
