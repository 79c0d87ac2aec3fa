"""ConsumerGroupHeartbeat's messages on the broker's side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from streamkit.protocol import kio_import as _kio_import  # noqa: F401  # before any of kio

# isort: split
from kio.schema.consumer_group_heartbeat.v1 import request as rq
from kio.schema.consumer_group_heartbeat.v1 import response as rs
from kio.static.primitive import i32, i32Timedelta

from streamkit.broker.coordinators.group.consumer.model import Partition, Partitions
from streamkit.broker.coordinators.group.consumer.translate import by_topic
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.units import from_ms

HeartbeatRequest = rq.ConsumerGroupHeartbeatRequest
HeartbeatResponse = rs.ConsumerGroupHeartbeatResponse

_EMPTY_RESPONSE: Mapping[str, Any] = MappingProxyType(
    {
        "throttle_time": i32Timedelta.parse(from_ms(0)),
        "error_code": ErrorCode.none,
        "error_message": None,
        "member_id": None,
        "member_epoch": i32(0),
        "heartbeat_interval": i32Timedelta.parse(from_ms(0)),
        "assignment": None,
    }
)


def response(
    member_id: str,
    member_epoch: int,
    heartbeat_interval_ms: int = 0,
    assigned: Iterable[Partition] | None = None,
) -> HeartbeatResponse:
    """An answer; without `assigned` the member keeps what it has."""
    assignment = None
    if assigned is not None:
        assignment = rs.Assignment(
            topic_partitions=tuple(
                rs.TopicPartitions(topic_id=topic_id, partitions=tuple(map(i32, indexes)))
                for topic_id, indexes in by_topic(assigned).items()
            )
        )
    return HeartbeatResponse(
        **{
            **_EMPTY_RESPONSE,
            "member_id": member_id,
            "member_epoch": i32(member_epoch),
            "heartbeat_interval": i32Timedelta.parse(from_ms(heartbeat_interval_ms)),
            "assignment": assignment,
        }
    )


def error_response(error: ApiError) -> HeartbeatResponse:
    """The answer to a refused heartbeat."""
    told = {"error_code": error.code, "error_message": error.message or None}
    return HeartbeatResponse(**{**_EMPTY_RESPONSE, **told})


def owned_partitions(request: HeartbeatRequest) -> Partitions | None:
    """What the member says it owns; None when it says nothing."""
    if request.topic_partitions is None:
        return None
    return frozenset(
        (each.topic_id, int(index))
        for each in request.topic_partitions
        if each.topic_id is not None
        for index in each.partitions
    )
