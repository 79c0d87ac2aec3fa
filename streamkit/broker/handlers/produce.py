"""Produce: append record batches, and answer when they are as safe as `acks` asks.

All partitions are appended first, in the order of the request and without a wait in between, so
that requests of one connection keep their order. Version 13 names topics by id. Before that the
coordinator is asked about transactions that begin in a partition (`verification`), and batches
that take long to check are checked in a thread, with which other connections' requests go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from streamkit.broker.context import RequestContext
from streamkit.broker.log.errors import LogError
from streamkit.broker.log.producer_state import UNVERIFIED
from streamkit.broker.log.settings import LogSettings
from streamkit.broker.log.validator import HEAVY_BYTES_MIN, Prepared, is_heavy, prepare_ahead
from streamkit.broker.partitions import Partition
from streamkit.broker.verification import FirstBatch, Verdict, Verifying, produce_error
from streamkit.common.errors import CorruptBatchError
from streamkit.common.model import TopicPartition
from streamkit.common.seams import Bytes
from streamkit.net.errors import CloseConnection
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message, response_type
from streamkit.protocol.quick import produce_response
from streamkit.protocol.units import to_ms
from streamkit.protocol.versions import fill
from streamkit.records import BatchHeader, read_header

NO_ACKS = 0
ACKS = (-1, 0, 1)
ADMIN_CLIENT_ID = "__admin_client"
TOPIC_IDS_SINCE = 13
RECORD_ERRORS_SINCE = 8
LOG_START_SINCE = 5
CURRENT_LEADER_SINCE = 10
ABORTABLE_SINCE = 11
ATTRIBUTES_POSITION = 22
TOO_LARGE = (ErrorCode.message_too_large, ErrorCode.record_list_too_large)
EXPECTED = (
    *TOO_LARGE,
    ErrorCode.corrupt_message,
    ErrorCode.kafka_storage_error,
    ErrorCode.not_leader_or_follower,
    ErrorCode.unknown_topic_or_partition,
)
"""What Kafka does not count as a failed request (ReplicaManager.appendRecordsToLeader)."""

TRANSACTIONAL = 0x10


Verdicts = Mapping[TopicPartition, Verdict]
Ahead = Mapping[int, Prepared | LogError]
"""What was prepared in a thread, by the `id` of the batch's bytes."""


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
    transactional = list(_transactional(request))
    verdicts: Verdicts = {}
    refusal = None
    if transactional:
        try:
            verdicts = await _verify(ctx, request, transactional)
        except ApiError as error:
            refusal = error
    ahead = await _prepare_heavy(ctx, request) if refusal is None else {}
    topics = _append_all(ctx, request, verdicts, refusal, ahead)
    if request.acks == NO_ACKS:
        for topic in topics:
            for appended in topic.partitions:
                if appended.error is not None:
                    raise CloseConnection(f"produce with acks=0: {appended.error}")
        return None
    await _wait_all(ctx, topics, to_ms(request.timeout))
    return _response(ctx, topics)


def _transactional(request: Message) -> Iterator[tuple[Message, Message]]:
    """The topics and partitions with batches that are part of a transaction."""
    for topic in request.topic_data:
        for data in topic.partition_data:
            records = data.records
            if records is None or len(records) <= ATTRIBUTES_POSITION:
                continue
            if records[ATTRIBUTES_POSITION] & TRANSACTIONAL:
                yield topic, data


async def _verify(
    ctx: RequestContext, request: Message, transactional: list[tuple[Message, Message]]
) -> Verdicts:
    """What the coordinator says of each partition. Raises ApiError for the whole request."""
    if request.transactional_id is None:
        raise ApiError(
            ErrorCode.transactional_id_authorization_failed, "there is no transactional id"
        )
    by_id = ctx.api_version >= TOPIC_IDS_SINCE
    headers: dict[tuple[int, int], list[FirstBatch]] = {}
    for topic, data in transactional:
        header = _header(data.records)
        if header is None:
            continue
        try:
            key = topic.topic_id if by_id else topic.name
            partition = ctx.broker.replicas.find(key, data.index)
        except ApiError:
            continue
        batches = headers.setdefault((header.producer_id, header.producer_epoch), [])
        batches.append(FirstBatch(partition, header.base_sequence))
    if len({producer_id for producer_id, _ in headers}) > 1:
        raise ApiError(
            ErrorCode.invalid_producer_id_mapping, "a request is of one producer's transaction"
        )
    verifying = Verifying.of(ctx.api_version, abortable_since=ABORTABLE_SINCE)
    verdicts: dict[TopicPartition, Verdict] = {}
    for (producer_id, epoch), batches in headers.items():
        found = await ctx.broker.verifier.verify(
            request.transactional_id, producer_id, epoch, batches, verifying
        )
        for tp, verdict in found.items():
            verdicts[tp] = _as_produce_verdict(verdict, verifying)
    return verdicts


def _as_produce_verdict(verdict: Verdict, verifying: Verifying) -> Verdict:
    return produce_error(verdict, verifying) if isinstance(verdict, ApiError) else verdict


def _header(records: Bytes) -> BatchHeader | None:
    """The header of a batch; None for a damaged one, which the append refuses."""
    try:
        return read_header(records)
    except CorruptBatchError:
        return None


async def _prepare_heavy(ctx: RequestContext, request: Message) -> Ahead:
    """Check, decompress and compress what takes long in a thread; by the batch's identity."""
    heavy: list[tuple[Bytes, LogSettings]] = []
    for topic in request.topic_data:
        for data in topic.partition_data:
            records = data.records
            if records is None or len(records) < HEAVY_BYTES_MIN:
                continue
            key = topic.topic_id if ctx.api_version >= TOPIC_IDS_SINCE else topic.name
            try:
                settings = ctx.broker.replicas.find(key, data.index).log.settings
            except ApiError:
                continue
            if is_heavy(records, settings):
                heavy.append((records, settings))
    if not heavy:
        return {}
    seams = ctx.broker.seams
    now_ms = seams.clock.now_ms()
    return await seams.spawn.in_thread(
        lambda: {
            id(records): prepare_ahead(records, settings, now_ms) for records, settings in heavy
        }
    )


def _append_all(
    ctx: RequestContext,
    request: Message,
    verdicts: Verdicts,
    refusal: ApiError | None,
    ahead: Ahead,
) -> list[Topic]:
    by_id = ctx.api_version >= TOPIC_IDS_SINCE
    topics = []
    for asked in request.topic_data:
        topic = Topic(asked.topic_id if by_id else asked.name)
        for data in asked.partition_data:
            appended = Appended(data.index)
            try:
                if refusal is not None:
                    raise refusal
                prepared = ahead.get(id(data.records))
                _append(ctx, topic.key, data, request, appended, verdicts, prepared)
            except ApiError as error:
                appended.error = error
            topic.partitions.append(appended)
        topics.append(topic)
    return topics


def _append(
    ctx: RequestContext,
    key: UUID | str | None,
    data: Message,
    request: Message,
    into: Appended,
    verdicts: Verdicts,
    prepared: Prepared | LogError | None,
) -> None:
    if request.acks not in ACKS:
        raise ApiError(
            ErrorCode.invalid_required_acks, f"acks must be -1, 0 or 1, not {request.acks}"
        )
    partition = ctx.broker.replicas.find(key, data.index)
    into.partition = partition
    if partition.is_internal and ctx.client_id != ADMIN_CLIENT_ID:
        raise ApiError(
            ErrorCode.invalid_topic_exception, f"{partition.topic} is written by the broker only"
        )
    if data.records is None:
        raise ApiError(ErrorCode.invalid_record, "there are no records")
    verdict: Verdict = UNVERIFIED
    if verdicts:
        verdict = verdicts.get(TopicPartition(partition.topic, data.index), UNVERIFIED)
    if isinstance(verdict, ApiError):
        raise verdict
    counts = ctx.broker.metrics.topic(partition.topic)
    counts.produce_requests += 1
    try:
        info = partition.append(
            data.records, acks=request.acks, transaction=verdict, prepared=prepared
        )
    except ApiError as error:
        counts.failed_produce_requests += error.code not in EXPECTED
        if error.code in TOO_LARGE:
            counts.bytes_rejected += len(data.records)
        raise
    if not info.is_duplicate:
        counts.messages_in += info.last_offset + 1 - info.base_offset
        counts.bytes_in += len(data.records)
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
            started_ms = clock.monotonic_ms()
            metrics = ctx.broker.metrics
            metrics.delayed_produces.value += 1
            try:
                await partition.wait_committed(appended.offset_end, deadline - started_ms)
            except ApiError as error:
                appended.error = error
                metrics.expired_produces.value += error.code is ErrorCode.request_timed_out
            finally:
                metrics.delayed_produces.value -= 1
            ctx.waited_ms += clock.monotonic_ms() - started_ms


def _response(ctx: RequestContext, topics: list[Topic]) -> Message:
    version = ctx.api_version
    if all(each.error is None for topic in topics for each in topic.partitions):
        ctx.broker.metrics.produced.value += sum(len(topic.partitions) for topic in topics)
        return produce_response(version, [(topic.key, topic.partitions) for topic in topics])
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
