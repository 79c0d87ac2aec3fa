"""Produce: append record batches, and answer when they are as safe as `acks` asks.

All partitions are appended first, in the order of the request and without a wait in between, so
that requests of one connection keep their order. Version 13 names topics by id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from streamkit.broker.context import RequestContext
from streamkit.broker.partitions import Partition
from streamkit.net.errors import CloseConnection
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message, response_type
from streamkit.protocol.units import to_ms
from streamkit.protocol.versions import fill

NO_ACKS = 0
ACKS = (-1, 0, 1)
ADMIN_CLIENT_ID = "__admin_client"
TOPIC_IDS_SINCE = 13
RECORD_ERRORS_SINCE = 8
LOG_START_SINCE = 5
CURRENT_LEADER_SINCE = 10


@dataclass(slots=True)
class Appended:
    """What became of one partition's records."""

    index: int
    partition: Partition | None = None
    error: ApiError | None = None
    base_offset: int = -1
    offset_end: int = -1
    log_append_time: int = -1
    log_start_offset: int = -1


@dataclass(slots=True)
class Topic:
    """The partitions of one topic, named as the request named it."""

    key: UUID | str | None
    partitions: list[Appended] = field(default_factory=list)


async def handle(ctx: RequestContext, request: Message) -> Message | None:
    """Append, wait, answer; nothing is answered to acks=0, but a failure closes the connection."""
    topics = _append_all(ctx, request)
    if request.acks == NO_ACKS:
        for topic in topics:
            for appended in topic.partitions:
                if appended.error is not None:
                    raise CloseConnection(f"produce with acks=0: {appended.error}")
        return None
    await _wait_all(ctx, topics, to_ms(request.timeout))
    return _response(ctx, topics)


def _append_all(ctx: RequestContext, request: Message) -> list[Topic]:
    by_id = ctx.api_version >= TOPIC_IDS_SINCE
    topics = []
    for asked in request.topic_data:
        topic = Topic(asked.topic_id if by_id else asked.name)
        for data in asked.partition_data:
            appended = Appended(data.index)
            try:
                _append(ctx, topic.key, data, request, appended)
            except ApiError as error:
                appended.error = error
            topic.partitions.append(appended)
        topics.append(topic)
    return topics


def _append(
    ctx: RequestContext, key: UUID | str | None, data: Message, request: Message, into: Appended
) -> None:
    if request.acks not in ACKS:
        raise ApiError(
            ErrorCode.invalid_required_acks, f"acks must be -1, 0 or 1, not {request.acks}"
        )
    if request.transactional_id is not None:
        raise ApiError(ErrorCode.invalid_txn_state, "this broker does not serve transactions")
    partition = ctx.broker.replicas.find(key, data.index)
    into.partition = partition
    if partition.is_internal and ctx.client_id != ADMIN_CLIENT_ID:
        raise ApiError(
            ErrorCode.invalid_topic_exception, f"{partition.topic} is written by the broker only"
        )
    if data.records is None:
        raise ApiError(ErrorCode.invalid_record, "there are no records")
    info = partition.append(data.records, acks=request.acks)
    into.base_offset = info.base_offset
    into.offset_end = info.last_offset + 1
    into.log_append_time = info.log_append_time
    into.log_start_offset = info.log_start_offset


async def _wait_all(ctx: RequestContext, topics: list[Topic], timeout_ms: int) -> None:
    clock = ctx.broker.seams.clock
    deadline = clock.monotonic_ms() + timeout_ms
    for topic in topics:
        for appended in topic.partitions:
            partition = appended.partition
            if appended.error is not None or partition is None:
                continue
            if partition.log.high_watermark >= appended.offset_end:
                continue
            try:
                remaining_ms = deadline - clock.monotonic_ms()
                await partition.wait_committed(appended.offset_end, remaining_ms)
            except ApiError as error:
                appended.error = error


def _response(ctx: RequestContext, topics: list[Topic]) -> Message:
    version = ctx.api_version
    name = "topic_id" if version >= TOPIC_IDS_SINCE else "name"
    responses = [
        {
            name: topic.key,
            "partition_responses": [
                _partition_response(appended, version) for appended in topic.partitions
            ],
        }
        for topic in topics
    ]
    return fill(response_type(ApiKey.PRODUCE, version), {"responses": responses})


def _partition_response(appended: Appended, version: int) -> dict[str, object]:
    error = appended.error
    values: dict[str, object] = {
        "index": appended.index,
        "error_code": ErrorCode.none if error is None else error.code,
        "base_offset": -1 if error is not None else appended.base_offset,
        "log_append_time": appended.log_append_time,
    }
    if version >= LOG_START_SINCE:
        values["log_start_offset"] = appended.log_start_offset
    if error is None:
        return values
    if version >= RECORD_ERRORS_SINCE:
        values["error_message"] = error.message or None
        values["record_errors"] = [
            {"batch_index": index, "batch_index_error_message": message}
            for index, message in getattr(error, "record_errors", ())
        ]
    is_elsewhere = error.code is ErrorCode.not_leader_or_follower
    if version >= CURRENT_LEADER_SINCE and is_elsewhere and appended.partition is not None:
        # Where the client should go instead (KIP-951).
        leadership = appended.partition.leadership
        values["current_leader"] = {
            "leader_id": leadership.leader_id,
            "leader_epoch": leadership.epoch,
        }
    return values
