"""The public producer: single records in, batches out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, Final, Self

from streamkit.client.accumulator import Accumulator, OnDelivery, OpenBatch
from streamkit.client.client import Client
from streamkit.client.closing import CloseOptions
from streamkit.client.errors import ClosedError, error_for
from streamkit.client.offsets import CommittedOffset, ConsumerGroupMetadata, committed_offset
from streamkit.client.records import RecordMetadata
from streamkit.client.sender import BatchSender
from streamkit.client.settings import ProducerSettings, settings_of
from streamkit.client.transactions import Transactions
from streamkit.common.errors import (
    AbortTransactionError,
    RetriableError,
    StreamkitError,
    UsageError,
)
from streamkit.common.model import Headers, TopicPartition
from streamkit.common.seams import Seams
from streamkit.common.system import system_seams
from streamkit.protocol.errors import ErrorCode
from streamkit.records import compression_of

_log = logging.getLogger(__name__)

UNKNOWN_TOPIC: Final = ErrorCode.unknown_topic_or_partition


class Producer:
    """Sends records; idempotent by default, configured by Kafka's keys.

        async with Producer({"bootstrap.servers": "localhost:9092"}) as producer:
            await producer.send("orders", b"one", key=b"k")
            await producer.flush()

    `send` waits for room and metadata only, not for the broker: `on_delivery` is called with the
    record's place or the error, and `flush` raises the first error of a record that had none.
    Leaving the block flushes.

    With `transactional.id` records are sent in transactions. Entering the block fences older
    producers of the same id; leaving it aborts a transaction that is still open.

        async with Producer({**config, "transactional.id": "shop-1"}) as producer:
            await producer.begin()
            await producer.send("orders", b"one")
            carts = {TopicPartition("carts", 0): 42}
            await producer.send_offsets(carts, group=consumer.group_metadata())
            await producer.commit()

    AbortTransactionError asks for `abort`; RejoinError says that another producer has the id, and
    only a new Producer goes on. After a RetriableError of `commit` or `abort` call it again.
    """

    def __init__(self, config: Mapping[str, Any], *, seams: Seams | None = None) -> None:
        self.settings = settings_of(ProducerSettings, config)
        self._seams = seams or system_seams()
        self._client = Client(self.settings, self._seams)
        self._sender: BatchSender | None = None
        self._transactions: Transactions | None = None
        self._open = Accumulator(
            self.settings.batch_size,
            compression_of(self.settings.compression_type),
            self._seams.random.randrange,
        )
        self._topics: dict[str, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._failure: StreamkitError | None = None

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        transactional_id = self.settings.transactional_id or None
        self._sender = BatchSender(self._client, self.settings, transactional_id=transactional_id)
        if transactional_id is not None:
            try:
                await self._initialise(self._sender, transactional_id)
            except BaseException as error:
                await self._client.__aexit__(type(error), error, error.__traceback__)
                raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._transactions is not None and error is not None:
                await self._abort_quietly(self._transactions)
            if error is None:
                await self.close()
        finally:
            await self._client.__aexit__(kind, error, trace)

    async def send(
        self,
        topic: str,
        value: bytes | str | None,
        *,
        key: bytes | str | None = None,
        partition: int | None = None,
        timestamp: int | None = None,
        headers: Headers = (),
        on_delivery: OnDelivery | None = None,
    ) -> None:
        """Add a record to its partition's batch; text is sent as UTF-8, None is a tombstone.

        `timestamp` in milliseconds, now by default. Waits up to `max.block.ms` for the topic's
        metadata and for room; raises UnknownTopicError or RetriableError then.
        """
        sender = self._sender_or_raise()
        if self._transactions is not None:
            self._transactions.state.check_open(f"send to {topic}")
        count = self._partition_count(topic) or await self._find_partitions(topic)
        if not sender.has_room:
            await self._wait_room(sender)
        raw_key = key.encode() if isinstance(key, str) else key
        raw_value = value.encode() if isinstance(value, str) else value
        if partition is None:
            partition = self._open.choose(topic, raw_key, count)
        elif not 0 <= partition < count:
            raise UsageError(f"topic {topic!r} has {count} partitions, {partition} is none of them")
        closed = self._open.append(
            TopicPartition(topic, partition),
            raw_key,
            raw_value,
            self._seams.clock.now_ms() if timestamp is None else timestamp,
            headers,
            on_delivery,
            self._seams.clock.monotonic_ms(),
        )
        if closed is not None:
            self._submit(closed)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(
                self.settings.linger_ms / 1000, self._on_linger
            )

    async def send_and_wait(
        self,
        topic: str,
        value: bytes | str | None,
        *,
        key: bytes | str | None = None,
        partition: int | None = None,
        timestamp: int | None = None,
        headers: Headers = (),
    ) -> RecordMetadata:
        """Send one record and wait until it is acknowledged; raises what the broker answered."""
        answer: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()

        def on_delivery(metadata: RecordMetadata | None, error: StreamkitError | None) -> None:
            if answer.done():
                return
            if metadata is not None:
                answer.set_result(metadata)
            else:
                answer.set_exception(error or ClosedError("the record was not sent"))

        await self.send(
            topic,
            value,
            key=key,
            partition=partition,
            timestamp=timestamp,
            headers=headers,
            on_delivery=on_delivery,
        )
        return await answer

    async def partitions_of(self, topic: str) -> int:
        """How many partitions a topic has; waits for its metadata up to `max.block.ms`."""
        return self._partition_count(topic) or await self._find_partitions(topic)

    def flush(self) -> Coroutine[Any, Any, None]:
        """Send what is open and wait until all is acknowledged.

        Raises the first error of a record without `on_delivery`, and UsageError inside of a
        delivery callback, where it would wait for itself (KIP-1118).
        """
        sender = self._sender_or_raise()
        self._submit_all()
        return self._flush(sender.flush())

    async def begin(self) -> None:
        """Begin a transaction. Raises UsageError while one is open."""
        self._transactions_or_raise().begin()

    async def send_offsets(
        self,
        offsets: Mapping[TopicPartition, int | CommittedOffset],
        *,
        group: str | ConsumerGroupMetadata,
        member_id: str = "",
        member_epoch: int = -1,
    ) -> None:
        """Commit a group's offsets, those of the next records to read, with the transaction.

        Where the group has members, `group` is the `Consumer.group_metadata()` of the one that
        read them, or its name with the member's id and epoch (or generation): otherwise nothing
        keeps a member that lost its partitions from committing for them (KIP-447). Raises
        AbortTransactionError when the member is out of the group or has another epoch by now.
        """
        committed = {tp: committed_offset(each) for tp, each in offsets.items()}
        member = _member_of(group, member_id, member_epoch)
        await self._transactions_or_raise().send_offsets(member, committed)

    async def commit(self) -> None:
        """Deliver everything that was sent, then commit. Raises what failed."""
        transactions = self._transactions_or_raise()
        self._submit_all()
        try:
            await transactions.commit()
        finally:
            # The transaction itself has said what failed in it.
            self._failure = None

    async def abort(self) -> None:
        """Drop what was sent since `begin`; read_committed consumers never see it."""
        transactions = self._transactions_or_raise()
        dropped = AbortTransactionError("the transaction is aborted")
        for batch in self._open.close_older(float("inf")):
            self._on_done(batch)(batch.tp, -1, dropped)
        await transactions.abort()
        self._failure = None

    async def close(self, options: CloseOptions | None = None) -> None:
        """Flush within the time of `options` (without: for ever); what is left then fails."""
        sender = self._sender
        if sender is None:
            return
        if self._transactions is not None:
            await self._abort_quietly(self._transactions)
        self._submit_all()
        await sender.close(options.timeout_ms if options is not None else None)
        self._sender = None
        self._raise_failure()

    async def _flush(self, waiting: Coroutine[Any, Any, None]) -> None:
        await waiting
        self._raise_failure()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    async def _initialise(self, sender: BatchSender, transactional_id: str) -> None:
        self._transactions = Transactions(
            self._client,
            sender,
            transactional_id,
            transaction_timeout_ms=self.settings.transaction_timeout_ms,
            timeout_ms=self.settings.max_block_ms,
        )
        await self._transactions.initialise()

    async def _abort_quietly(self, transactions: Transactions) -> None:
        if not transactions.state.may_abort:
            return
        try:
            await self.abort()
        except StreamkitError as error:
            _log.info("the open transaction is left to time out: %s", error)

    def _transactions_or_raise(self) -> Transactions:
        self._sender_or_raise()
        if self._transactions is None:
            raise UsageError("transactions need the setting transactional.id")
        return self._transactions

    def _sender_or_raise(self) -> BatchSender:
        if self._sender is None:
            raise ClosedError("the producer is not open: use `async with Producer(...)`")
        return self._sender

    def _partition_count(self, topic: str) -> int:
        view = self._client.view.topics.get(topic)
        return len(view.partitions) if view is not None else 0

    async def _find_partitions(self, topic: str) -> int:
        if topic not in self._topics:
            self._topics[topic] = None
            self._client.metadata.watch([topic])

        async def attempt() -> int:
            view = await self._client.metadata.refresh()
            count = self._partition_count(topic)
            if not count:
                raise error_for(view.errors.get(topic, UNKNOWN_TOPIC), f"topic {topic!r}")
            return count

        return await self._client.retrying(attempt, self.settings.max_block_ms)

    async def _wait_room(self, sender: BatchSender) -> None:
        self._submit_all()
        try:
            async with asyncio.timeout(self.settings.max_block_ms / 1000):
                await sender.wait_room()
        except TimeoutError:
            raise RetriableError(
                f"buffer.memory={self.settings.buffer_memory} was full for "
                f"max.block.ms={self.settings.max_block_ms}: the brokers do not keep up"
            ) from None

    def _on_linger(self) -> None:
        self._timer = None
        now = self._seams.clock.monotonic_ms()
        for batch in self._open.close_older(now - self.settings.linger_ms):
            self._submit(batch)
        oldest = self._open.oldest_ms()
        if oldest is not None:
            wait_ms = max(oldest + self.settings.linger_ms - now, 1.0)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(wait_ms / 1000, self._on_linger)

    def _submit_all(self) -> None:
        for batch in self._open.close_older(float("inf")):
            self._submit(batch)

    def _submit(self, batch: OpenBatch) -> None:
        on_done = self._on_done(batch)
        if self._transactions is not None:
            try:
                self._transactions.submit(batch.tp, batch.builder, on_done)
            except StreamkitError as error:
                on_done(batch.tp, -1, error)
        elif self._sender is not None:
            self._sender.submit(batch.tp, batch.builder, on_done)

    def _on_done(self, batch: OpenBatch) -> _Delivery:
        return _Delivery(self, batch)

    def on_part(
        self,
        batch: OpenBatch,
        part: range,
        tp: TopicPartition,
        base_offset: int,
        error: StreamkitError | None,
    ) -> None:
        """What became of some records of a batch."""
        if error is not None and not batch.has_all_callbacks:
            self._failure = self._failure or error
        for index, timestamp, callback in batch.callbacks:
            if index not in part:
                continue
            place = None
            if error is None:
                offset = base_offset + index - part.start if base_offset >= 0 else -1
                place = RecordMetadata(tp.topic, tp.partition, offset, timestamp)
            self._call(callback, place, error)

    def _call(
        self, callback: OnDelivery, place: RecordMetadata | None, error: StreamkitError | None
    ) -> None:
        try:
            callback(place, error)
        except Exception:
            # The user's code is an edge: its error must not stop the deliveries of others.
            _log.exception("a delivery callback failed")


def _member_of(
    group: str | ConsumerGroupMetadata, member_id: str, member_epoch: int
) -> ConsumerGroupMetadata:
    if isinstance(group, str):
        return ConsumerGroupMetadata(group, member_id, member_epoch)
    if member_id or member_epoch >= 0:
        raise UsageError("the group's metadata says who the member is: leave out id and epoch")
    return group


class _Delivery:
    """Tells the callbacks of a batch's records; of a batch that was split, part by part."""

    __slots__ = ("_batch", "_producer")

    def __init__(self, producer: Producer, batch: OpenBatch) -> None:
        self._producer = producer
        self._batch = batch

    def __call__(self, tp: TopicPartition, base_offset: int, error: StreamkitError | None) -> None:
        self.on_part(0, self._batch.builder.count, tp, base_offset, error)

    def on_part(
        self,
        first: int,
        count: int,
        tp: TopicPartition,
        base_offset: int,
        error: StreamkitError | None,
    ) -> None:
        part = range(first, first + count)
        self._producer.on_part(self._batch, part, tp, base_offset, error)
