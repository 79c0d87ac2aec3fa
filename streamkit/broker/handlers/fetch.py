"""Fetch: read record batches, wait for more when there are too few, say only what is new.

The records are bytes of the log as they lie there; nothing here looks into them. Sessions
(KIP-227) decide which partitions are read and which are worth an answer; byte limits count over
the request, and the first partition with records gives at least one batch. While many answers wait
for peers that are slow to take them, an answer holds no more than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from streamkit.broker.context import RequestContext
from streamkit.broker.fetch_sessions import CachedPartition, FetchPlan, Key
from streamkit.broker.log.errors import ColdRead, LogError
from streamkit.broker.log.log import Isolation
from streamkit.broker.partitions import Partition
from streamkit.broker.purgatory import park
from streamkit.common.seams import FileSlice, Piece
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message, response_type
from streamkit.protocol.quick import fetch_response
from streamkit.protocol.units import to_ms
from streamkit.protocol.versions import fill

SESSIONS_SINCE = 7
TOPIC_IDS_SINCE = 13
CURRENT_LEADER_SINCE = 12
REPLICA_STATE_SINCE = 15
NO_SESSION = 0
FINAL_EPOCH = -1
READ_COMMITTED = 1
UNSENT_BYTES_MAX = 256 * 1024 * 1024
"""Kafka sends from the page cache; here an answer that is not taken is memory."""

LEADER_ERRORS = (ErrorCode.not_leader_or_follower, ErrorCode.fenced_leader_epoch)


@dataclass(slots=True)
class Read:
    """What was read of one partition."""

    partition: Partition | None = None
    error: ErrorCode = ErrorCode.none
    high_watermark: int = -1
    last_stable_offset: int = -1
    log_start_offset: int = -1
    records: Piece = b""
    aborted: Sequence[tuple[int, int]] | None = None
    diverging: tuple[int, int] | None = None

    @property
    def has_records(self) -> bool:
        return len(self.records) > 0

    @property
    def must_send(self) -> bool:
        return self.has_records or self.error is not ErrorCode.none or self.diverging is not None


async def handle(ctx: RequestContext, request: Message) -> Message:
    """Read until `min_bytes` are there, something is wrong, or `max_wait` is over."""
    try:
        plan = _plan(ctx, request)
    except ApiError as error:
        return _response(ctx, 0, error.code, [], [])
    reads = await _read_until_enough(ctx, request, plan)
    chosen = plan.select(reads)
    _count(ctx, reads, chosen)
    return _response(ctx, plan.session_id, ErrorCode.none, plan.partitions, reads, chosen)


def _plan(ctx: RequestContext, request: Message) -> FetchPlan:
    version = ctx.api_version
    name = "topic_id" if version >= TOPIC_IDS_SINCE else "topic"
    asked = [
        CachedPartition(
            key,
            each.partition,
            each.fetch_offset,
            each.partition_max_bytes,
            getattr(each, "current_leader_epoch", -1),
            getattr(each, "last_fetched_epoch", -1),
        )
        for topic in request.topics
        for key in (getattr(topic, name),)
        for each in topic.partitions
    ]
    is_without = version < SESSIONS_SINCE or (
        request.session_id == NO_SESSION and request.session_epoch == FINAL_EPOCH
    )
    if is_without:
        return FetchPlan(asked, None, is_incremental=False)
    forgotten: list[Key] = [
        (getattr(topic, name), index)
        for topic in request.forgotten_topics_data
        for index in topic.partitions
    ]
    return ctx.broker.fetch_sessions.begin(
        request.session_id,
        request.session_epoch,
        asked,
        forgotten,
        uses_topic_ids=version >= TOPIC_IDS_SINCE,
        is_privileged=_replica_id(request, version) >= 0,
        now_ms=ctx.broker.seams.clock.now_ms(),
    )


def _replica_id(request: Message, version: int) -> int:
    if version >= REPLICA_STATE_SINCE:
        return int(request.replica_state.replica_id)
    return int(request.replica_id)


async def _read_until_enough(ctx: RequestContext, request: Message, plan: FetchPlan) -> list[Read]:
    clock = ctx.broker.seams.clock
    max_wait_ms = to_ms(request.max_wait)
    deadline = clock.monotonic_ms() + max_wait_ms
    isolation = (
        Isolation.LAST_STABLE
        if getattr(request, "isolation_level", 0) == READ_COMMITTED
        else Isolation.HIGH_WATERMARK
    )
    while True:
        room = max(0, UNSENT_BYTES_MAX - ctx.broker.unsent_bytes())
        bytes_max = min(request.max_bytes, ctx.broker.settings.fetch_max_bytes, room)
        reads = await _read_all(ctx, plan.partitions, isolation, bytes_max)
        if max_wait_ms <= 0 or not reads or _is_enough(reads, request.min_bytes):
            return reads
        remaining_ms = deadline - clock.monotonic_ms()
        if remaining_ms <= 0:
            return reads
        await _wait(ctx, reads, remaining_ms)


async def _wait(ctx: RequestContext, reads: list[Read], remaining_ms: float) -> None:
    """Wait for news of one of the partitions."""
    clock, metrics = ctx.broker.seams.clock, ctx.broker.metrics
    watched = [read.partition.watch for read in reads if read.partition is not None]
    started_ms = clock.monotonic_ms()
    metrics.delayed_fetches.value += 1
    try:
        if not await park(watched, remaining_ms / 1000):
            metrics.expired_fetches.value += 1
    finally:
        metrics.delayed_fetches.value -= 1
        ctx.waited_ms += clock.monotonic_ms() - started_ms


def _is_enough(reads: list[Read], bytes_min: int) -> bool:
    size = 0
    for read in reads:
        if read.error is not ErrorCode.none or read.diverging is not None:
            return True
        size += len(read.records)
    return size >= bytes_min


async def _read_all(
    ctx: RequestContext, partitions: Sequence[CachedPartition], isolation: Isolation, bytes_max: int
) -> list[Read]:
    find = ctx.broker.replicas.find
    reads = []
    remaining = bytes_max
    min_one = True
    for asked in partitions:
        read = Read()
        try:
            read.partition = partition = find(asked.topic, asked.index)
            limit = min(remaining, asked.bytes_max)
            try:
                _read_one(partition, asked, isolation, limit, min_one, read, True)
            except ColdRead:
                await partition.look(
                    partial(_read_one, partition, asked, isolation, limit, min_one, read)
                )
        except ApiError as error:
            read.error = error.code
        if read.records:
            remaining = max(0, remaining - len(read.records))
            min_one = False
        reads.append(read)
    return reads


def _read_one(
    partition: Partition,
    asked: CachedPartition,
    isolation: Isolation,
    bytes_max: int,
    min_one: bool,
    into: Read,
    cached_only: bool,
) -> None:
    partition.check(asked.current_leader_epoch)
    log = partition.log
    into.log_start_offset = log.log_start_offset
    into.high_watermark = log.high_watermark
    into.last_stable_offset = log.last_stable_offset
    if asked.last_fetched_epoch >= 0:
        into.diverging = _divergence(partition, asked)
        if into.diverging is not None:
            return
    limit = (
        into.high_watermark if isolation is Isolation.HIGH_WATERMARK else into.last_stable_offset
    )
    if asked.fetch_offset == limit or (bytes_max <= 0 and not min_one):
        return
    found = partition.read(
        asked.fetch_offset, bytes_max, isolation, min_one, cached_only=cached_only, as_slice=True
    )
    into.records = found.records
    if isolation is Isolation.LAST_STABLE:
        into.aborted = found.aborted


def _divergence(partition: Partition, asked: CachedPartition) -> tuple[int, int] | None:
    """The (epoch, end offset) up to which the client's log agrees with ours, if not wholly.

    Raises LogError OFFSET_OUT_OF_RANGE when nothing is known of the client's epoch.
    """
    epoch, end_offset = partition.end_of_epoch(asked.last_fetched_epoch)
    if epoch < 0:
        raise LogError(
            ErrorCode.offset_out_of_range,
            f"{partition} knows no end of epoch {asked.last_fetched_epoch}",
        )
    if epoch < asked.last_fetched_epoch or end_offset < asked.fetch_offset:
        return (epoch, end_offset)
    return None


def _count(ctx: RequestContext, reads: Sequence[Read], chosen: Sequence[int]) -> None:
    metrics = ctx.broker.metrics
    for position in chosen:
        read = reads[position]
        if read.partition is not None:
            counts = metrics.topic(read.partition.topic)
            counts.fetch_requests += 1
            counts.bytes_out += len(read.records)
            counts.failed_fetch_requests += read.error is not ErrorCode.none


def _response(
    ctx: RequestContext,
    session_id: int,
    error: ErrorCode,
    partitions: Sequence[CachedPartition],
    reads: Sequence[Read],
    chosen: Sequence[int] = (),
) -> Message:
    version = ctx.api_version
    plain = _plain(partitions, reads, chosen) if error is ErrorCode.none else None
    if plain is not None:
        ctx.broker.metrics.fetched.value += 1 + len(chosen)
        return fetch_response(version, session_id, plain)
    topics: dict[UUID | str, list[dict[str, object]]] = {}
    for position in chosen:
        partition = partitions[position]
        answer = _partition_response(version, partition.index, reads[position])
        topics.setdefault(partition.topic, []).append(answer)
    name = "topic_id" if version >= TOPIC_IDS_SINCE else "topic"
    values: dict[str, object] = {
        "responses": [{name: topic, "partitions": answers} for topic, answers in topics.items()]
    }
    if version >= SESSIONS_SINCE:
        values["session_id"] = session_id
        values["error_code"] = error
    return fill(response_type(ApiKey.FETCH, version), values)


def _plain(
    partitions: Sequence[CachedPartition], reads: Sequence[Read], chosen: Sequence[int]
) -> dict[UUID | str | None, list[tuple[int, Read]]] | None:
    """What was read, by topic; None when there is more to say than that."""
    topics: dict[UUID | str | None, list[tuple[int, Read]]] = {}
    for position in chosen:
        read = reads[position]
        if read.error is not ErrorCode.none or read.diverging is not None:
            return None
        partition = partitions[position]
        topics.setdefault(partition.topic, []).append((partition.index, read))
    return topics


def _partition_response(version: int, index: int, read: Read) -> dict[str, object]:
    values: dict[str, object] = {
        "partition_index": index,
        "error_code": read.error,
        "high_watermark": read.high_watermark,
        "last_stable_offset": read.last_stable_offset,
        "aborted_transactions": None
        if read.aborted is None
        else [
            {"producer_id": producer_id, "first_offset": first_offset}
            for producer_id, first_offset in read.aborted
        ],
        "records": read.records.read() if isinstance(read.records, FileSlice) else read.records,
    }
    if version >= 5:
        values["log_start_offset"] = read.log_start_offset
    if read.diverging is not None and version >= CURRENT_LEADER_SINCE:
        values["diverging_epoch"] = {
            "epoch": read.diverging[0],
            "end_offset": read.diverging[1],
        }
    if (
        read.error in LEADER_ERRORS
        and version >= CURRENT_LEADER_SINCE
        and read.partition is not None
    ):
        leadership = read.partition.leadership
        values["current_leader"] = {
            "leader_id": leadership.leader_id,
            "leader_epoch": leadership.epoch,
        }
    return values
