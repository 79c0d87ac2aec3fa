"""What a ConsumerGroupHeartbeat must look like, before anything is asked of the group.

The order and the words are those of Kafka 4.3 (GroupCoordinatorService).
"""

from __future__ import annotations

from collections.abc import Sequence

from streamkit.broker.coordinators.group.consumer.messages import HeartbeatRequest
from streamkit.broker.coordinators.group.consumer.model import (
    JOIN_EPOCH,
    LEAVE_EPOCH,
    LEAVE_STATIC_EPOCH,
)
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.units import to_ms

CLIENT_MEMBER_ID_SINCE = 1
"""From this version on clients make their member ids themselves."""


def check_shape(request: HeartbeatRequest, api_version: int, assignors: Sequence[str]) -> None:
    """Raises ApiError when no group could take the request."""
    epoch = request.member_epoch
    needs_id = api_version >= CLIENT_MEMBER_ID_SINCE or epoch > JOIN_EPOCH or epoch == LEAVE_EPOCH
    if needs_id and not request.member_id:
        raise _invalid("MemberId can't be empty.")
    if not request.group_id:
        raise _invalid("GroupId can't be empty.")
    if request.instance_id == "":
        raise _invalid("InstanceId can't be empty.")
    if request.rack_id == "":
        raise _invalid("RackId can't be empty.")
    if epoch == JOIN_EPOCH:
        _check_join(request)
    elif epoch == LEAVE_STATIC_EPOCH and request.instance_id is None:
        raise _invalid("InstanceId can't be null.")
    elif epoch < LEAVE_STATIC_EPOCH:
        raise _invalid("MemberEpoch is invalid.")
    if request.server_assignor is not None and request.server_assignor not in assignors:
        raise ApiError(
            ErrorCode.unsupported_assignor,
            f"ServerAssignor {request.server_assignor} is not supported. Supported assignors: "
            f"{', '.join(assignors)}.",
        )


def _check_join(request: HeartbeatRequest) -> None:
    if to_ms(request.rebalance_timeout) == -1:
        raise _invalid("RebalanceTimeoutMs must be provided in first request.")
    if request.topic_partitions is None or request.topic_partitions:
        raise _invalid("TopicPartitions must be empty when (re-)joining.")
    if request.subscribed_topic_names is None and request.subscribed_topic_regex is None:
        raise _invalid(
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when "
            "(re-)joining."
        )


def _invalid(message: str) -> ApiError:
    return ApiError(ErrorCode.invalid_request, message)
