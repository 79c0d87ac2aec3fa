"""The blocking twins of Producer and Consumer, for programs without an event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self

from streamkit.client.accumulator import OnDelivery
from streamkit.client.consumer import Consumer
from streamkit.client.offsets import CommittedOffset, ConsumerGroupMetadata
from streamkit.client.portal import Portal
from streamkit.client.producer import Producer
from streamkit.client.records import ConsumedBatch, ConsumerRecord, RecordMetadata
from streamkit.client.shared import NO_LISTENER, RebalanceListener
from streamkit.common.errors import StreamkitError
from streamkit.common.model import Headers, TopicPartition
from streamkit.common.seams import Seams
from streamkit.common.system import system_seams

QUEUE_MAX: Final = 10_000
"""Records between the calling thread and the loop; beyond that `send` waits."""

_Sent = tuple[str, Any, dict[str, Any]]


class BlockingProducer:
    """`Producer` without async.

        with BlockingProducer({"bootstrap.servers": "localhost:9092"}) as producer:
            producer.send("orders", b"one", key=b"k")

    Delivery callbacks run in the client's own thread. Errors of `send` itself (an unknown topic)
    are raised by a later `send` or by `flush`.
    """

    def __init__(self, config: Mapping[str, Any], *, seams: Seams | None = None) -> None:
        seams = seams or system_seams()
        self._producer = Producer(config, seams=seams)
        self._portal = Portal(lambda: self._producer, seams.spawn)
        self._queue: deque[_Sent] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._is_scheduled = False
        self._failure: StreamkitError | None = None

    def __enter__(self) -> Self:
        self._portal.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.flush()
        finally:
            self._portal.close()

    def send(
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
        """As `Producer.send`; waits only while QUEUE_MAX records are on their way to the loop."""
        self._raise_failure()
        if len(self._queue) >= QUEUE_MAX:
            self._portal.run(self._drained())
        options = {
            "key": key,
            "partition": partition,
            "timestamp": timestamp,
            "headers": headers,
            "on_delivery": on_delivery,
        }
        self._queue.append((topic, value, options))
        if not self._is_scheduled:
            self._is_scheduled = True
            self._portal.post(self._start_pump)

    def send_and_wait(
        self,
        topic: str,
        value: bytes | str | None,
        *,
        key: bytes | str | None = None,
        partition: int | None = None,
        timestamp: int | None = None,
        headers: Headers = (),
    ) -> RecordMetadata:
        """As `Producer.send_and_wait`, behind what was sent before."""
        self._portal.run(self._drained())
        return self._portal.run(
            self._producer.send_and_wait(
                topic, value, key=key, partition=partition, timestamp=timestamp, headers=headers
            )
        )

    def flush(self) -> None:
        """As `Producer.flush`."""
        self._portal.run(self._flush())
        self._raise_failure()

    def begin(self) -> None:
        """As `Producer.begin`."""
        self._portal.run(self._producer.begin())

    def send_offsets(
        self,
        offsets: Mapping[TopicPartition, int | CommittedOffset],
        *,
        group: str | ConsumerGroupMetadata,
        member_id: str = "",
        member_epoch: int = -1,
    ) -> None:
        """As `Producer.send_offsets`."""
        work = self._producer.send_offsets(
            offsets, group=group, member_id=member_id, member_epoch=member_epoch
        )
        self._portal.run(work)

    def commit(self) -> None:
        """As `Producer.commit`, with all that was sent before."""
        self._portal.run(self._drained())
        self._raise_failure()
        self._portal.run(self._producer.commit())

    def abort(self) -> None:
        """As `Producer.abort`, with all that was sent before."""
        self._portal.run(self._drained())
        self._failure = None
        self._portal.run(self._producer.abort())

    async def _flush(self) -> None:
        await self._drained()
        await self._producer.flush()

    async def _drained(self) -> None:
        while self._queue or self._pump is not None:
            if self._pump is None:
                self._start_pump()
            if self._pump is not None:
                await asyncio.wait([self._pump])

    def _start_pump(self) -> None:
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(self._pump_all())

    async def _pump_all(self) -> None:
        self._is_scheduled = False
        try:
            while self._queue:
                topic, value, options = self._queue.popleft()
                try:
                    await self._producer.send(topic, value, **options)
                except StreamkitError as error:
                    self._failure = self._failure or error
        finally:
            self._pump = None

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


class BlockingConsumer:
    """`Consumer` without async.

    with BlockingConsumer({"bootstrap.servers": "localhost:9092"}) as consumer:
        consumer.assign({TopicPartition("orders", 0): 0})
        for record in consumer:
            print(record.value)
    """

    def __init__(self, config: Mapping[str, Any], *, seams: Seams | None = None) -> None:
        seams = seams or system_seams()
        self._consumer = Consumer(config, seams=seams)
        self._portal = Portal(lambda: self._consumer, seams.spawn)
        self._moves = 0

    def __enter__(self) -> Self:
        self._portal.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._portal.close()

    def subscribe(
        self,
        topics: Iterable[str] = (),
        *,
        pattern: str | None = None,
        listener: RebalanceListener = NO_LISTENER,
    ) -> None:
        """As `Consumer.subscribe`; the listener is called by another thread within `poll`."""
        self._moves += 1
        names = list(topics)
        self._portal.run(
            _now(lambda: self._consumer.subscribe(names, pattern=pattern, listener=listener))
        )

    def unsubscribe(self) -> None:
        """As `Consumer.unsubscribe`."""
        self._moves += 1
        self._portal.run(self._consumer.unsubscribe())

    def assign(
        self,
        partitions: Iterable[TopicPartition] | Mapping[TopicPartition, int | CommittedOffset],
    ) -> None:
        """As `Consumer.assign`."""
        self._moves += 1
        wanted = partitions if isinstance(partitions, Mapping) else list(partitions)
        self._portal.run(_now(lambda: self._consumer.assign(wanted)))

    def seek(self, tp: TopicPartition, offset: int | CommittedOffset) -> None:
        """As `Consumer.seek`."""
        self._moves += 1
        self._portal.run(_now(lambda: self._consumer.seek(tp, offset)))

    def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        """As `Consumer.seek_to_beginning`."""
        self._moves += 1
        self._portal.run(_now(lambda: self._consumer.seek_to_beginning(*partitions)))

    def seek_to_end(self, *partitions: TopicPartition) -> None:
        """As `Consumer.seek_to_end`."""
        self._moves += 1
        self._portal.run(_now(lambda: self._consumer.seek_to_end(*partitions)))

    def position(self, tp: TopicPartition) -> int:
        """As `Consumer.position`."""
        return self._portal.run(self._consumer.position(tp))

    def pause(self, *partitions: TopicPartition) -> None:
        """As `Consumer.pause`."""
        self._portal.run(_now(lambda: self._consumer.pause(*partitions)))

    def resume(self, *partitions: TopicPartition) -> None:
        """As `Consumer.resume`."""
        self._portal.run(_now(lambda: self._consumer.resume(*partitions)))

    def poll(self, timeout_ms: int | None = None) -> list[ConsumedBatch]:
        """As `Consumer.poll`."""
        return self._portal.run(self._consumer.poll(timeout_ms))

    def __iter__(self) -> Iterator[ConsumerRecord]:
        while True:
            for batch in self.poll():
                moves = self._moves
                for record in batch.records():
                    yield record
                    if moves != self._moves:
                        break

    def partitions_of(self, topic: str) -> list[TopicPartition]:
        """As `Consumer.partitions_of`."""
        return self._portal.run(self._consumer.partitions_of(topic))

    def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """As `Consumer.beginning_offsets`."""
        return self._portal.run(self._consumer.beginning_offsets(partitions))

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """As `Consumer.end_offsets`."""
        return self._portal.run(self._consumer.end_offsets(partitions))

    def offsets_for_times(
        self, timestamps: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """As `Consumer.offsets_for_times`."""
        return self._portal.run(self._consumer.offsets_for_times(timestamps))

    def commit(self, offsets: Mapping[TopicPartition, int | CommittedOffset] | None = None) -> None:
        """As `Consumer.commit`."""
        self._portal.run(self._consumer.commit(offsets))

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """As `Consumer.committed`."""
        return self._portal.run(self._consumer.committed(partitions))

    def committed_offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, CommittedOffset]:
        """As `Consumer.committed_offsets`."""
        return self._portal.run(self._consumer.committed_offsets(partitions))

    def group_metadata(self) -> ConsumerGroupMetadata:
        """As `Consumer.group_metadata`."""
        return self._portal.run(_read(self._consumer.group_metadata))


async def _now(call: Any) -> None:
    call()


async def _read(call: Callable[[], ConsumerGroupMetadata]) -> ConsumerGroupMetadata:
    return call()
