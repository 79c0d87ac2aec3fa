"""Sends batches to their leaders: several partitions in a request, several requests in flight.

The decisions are those of `send_state`; here are the connections, the timers and the callbacks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from streamkit.client.batch import Batch, OnDone, ProducerIdentity
from streamkit.client.client import Client
from streamkit.client.connections import Channel
from streamkit.client.draft import Draft
from streamkit.client.errors import (
    ClosedError,
    UnsupportedByBrokerError,
    error_for,
    raise_for,
)
from streamkit.client.produce_request import (
    ProduceAnswer,
    answers_of,
    endpoints_of,
    produce_request,
    version_for,
)
from streamkit.client.send_state import IN_FLIGHT_MAX, Done, SendLimits, SendState
from streamkit.client.settings import ProducerSettings
from streamkit.common.errors import (
    RefreshMetadataError,
    RetriableError,
    StreamkitError,
    UsageError,
)
from streamkit.common.model import TopicPartition
from streamkit.net.dial import Connection
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.units import to_ms
from streamkit.records import BatchBuilder

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Node:
    in_flight: int = 0
    not_before_ms: float = 0.0
    is_connecting: bool = False


class BatchSender:
    """The sending half of a producer: takes filled batches, keeps their order, retries.

        sender = BatchSender(client, settings)
        await sender.wait_room()
        sender.submit(TopicPartition("orders", 0), builder, on_done)
        await sender.flush()

    `on_done(tp, base_offset, error)` is called once for each batch, in the event loop; waiting for
    `flush` inside of it is refused (KIP-1118). With `transactional_id` batches are marked
    transactional and the producer id comes from `set_identity`.
    """

    def __init__(
        self, client: Client, settings: ProducerSettings, *, transactional_id: str | None = None
    ) -> None:
        self._client = client
        self._settings = settings
        self._transactional_id = transactional_id
        self._state = SendState(
            SendLimits(
                is_idempotent=settings.is_idempotent,
                is_transactional=transactional_id is not None,
                delivery_timeout_ms=settings.delivery_timeout_ms,
                retries_max=settings.retries,
                request_bytes_max=settings.max_request_size,
                retry_backoff=settings.retry_backoff,
            )
        )
        self.produce_version_max: int | None = None
        """Speak at most this version of Produce; None: the newest."""
        self._nodes: dict[int, _Node] = {}
        self._topics: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._moved: list[asyncio.Future[None]] = []
        self._is_in_callback = False
        self._is_initialising = False
        self._is_closed = False
        self._in_flight_max = (
            min(settings.max_in_flight_requests_per_connection, IN_FLIGHT_MAX)
            if settings.is_idempotent
            else settings.max_in_flight_requests_per_connection
        )
        client.metadata.on_change(lambda _: self._wake.set())
        self._task = client.background.spawn(self._run(), "produce")

    @property
    def pending_bytes(self) -> int:
        """Bytes, before compression, of batches that are not done."""
        return self._state.pending_bytes

    @property
    def pending_batches(self) -> int:
        """How many batches are not done."""
        return self._state.pending_batches

    @property
    def has_room(self) -> bool:
        """Whether less than `buffer.memory` is pending."""
        return self._state.pending_bytes < self._settings.buffer_memory

    @property
    def is_in_callback(self) -> bool:
        """Whether an `on_done` is being called just now."""
        return self._is_in_callback

    @property
    def identity(self) -> ProducerIdentity:
        """Producer id and epoch; -1, -1 before they are known or without idempotence."""
        return self._state.identity

    def set_identity(self, identity: ProducerIdentity) -> None:
        """The producer id and epoch of a transactional producer."""
        self._state.set_identity(identity)
        self._wake.set()

    def set_gate(self, gate: Callable[[TopicPartition], bool]) -> None:
        """Hold back the batches of partitions for which `gate` is false, until `wake`."""
        self._state.gate = gate

    def wake(self) -> None:
        """Look again at what may be sent."""
        self._wake.set()

    def abort_pending(self, error: StreamkitError) -> None:
        """Fail what is not on the wire, and retry nothing until `set_identity`."""
        self._finish(self._state.abort_pending(error))
        self._wake.set()

    def drop_all(self, error: StreamkitError) -> None:
        """Fail everything; what the broker says of batches on the wire counts no more."""
        self._finish(self._state.fail_all(error))

    def submit(self, tp: TopicPartition, builder: BatchBuilder, on_done: OnDone) -> None:
        """Send a batch after those submitted before. Raises ClosedError.

        The builder must not be appended to any more.
        """
        if self._is_closed:
            raise ClosedError(f"the producer is closed: a batch to {tp} was not sent")
        if tp.topic not in self._topics:
            self._topics[tp.topic] = None
            self._client.metadata.watch([tp.topic])
        self._state.submit(tp, builder, on_done, self._client.seams.clock.monotonic_ms())
        self._wake.set()

    async def wait_room(self) -> None:
        """Wait until less than `buffer.memory` is pending."""
        while not self.has_room and not self._is_closed:
            await self._wait_moved()

    def flush(self) -> Coroutine[Any, Any, None]:
        """Wait until everything submitted so far is done, well or badly.

        Raises UsageError inside of a delivery callback, where it would wait for itself.
        """
        self._refuse_in_callback("flush")
        return self._wait_empty()

    async def close(self, timeout_ms: int | None = None) -> None:
        """Flush for at most `timeout_ms` (for ever when None), fail the rest with ClosedError."""
        self._refuse_in_callback("close")
        if self._is_closed:
            return
        try:
            async with asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000):
                await self._wait_empty()
        except TimeoutError:
            _log.warning("closing: %d batches are not delivered", self._state.pending_batches)
        finally:
            self._end()

    def _end(self) -> None:
        self._is_closed = True
        self._task.cancel()
        self._finish(
            self._state.fail_all(ClosedError("the producer was closed before it was sent"))
        )
        self._client.metadata.unwatch(self._topics)
        self._topics.clear()

    def _refuse_in_callback(self, what: str) -> None:
        if self._is_in_callback:
            raise UsageError(
                f"{what} inside of a delivery callback waits for itself; call it outside (KIP-1118)"
            )

    async def _wait_empty(self) -> None:
        while self._state.pending_batches and not self._is_closed:
            await self._wait_moved()

    async def _wait_moved(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._moved.append(waiter)
        await waiter

    async def _run(self) -> None:
        clock = self._client.seams.clock
        while True:
            self._wake.clear()
            now = clock.monotonic_ms()
            self._finish(self._state.expire(now))
            self._state.bump()
            if self._state.wants_identity and self._transactional_id is None:
                self._initialise()
            self._look_for_leaders()
            for node_id in self._state.nodes(self._client.view, now):
                self._send_to(node_id, now)
            await self._wait(self._state.due_ms(now), clock.monotonic_ms())

    async def _wait(self, due_ms: float | None, now_ms: float) -> None:
        times = [n.not_before_ms for n in self._nodes.values() if n.not_before_ms > now_ms]
        if due_ms is not None:
            times.append(due_ms)
        if not times:
            await self._wake.wait()
            return
        try:
            async with asyncio.timeout(max(min(times) - now_ms, 1.0) / 1000):
                await self._wake.wait()
        except TimeoutError:
            return

    def _initialise(self) -> None:
        if not self._is_initialising and self._state.pending_batches:
            self._is_initialising = True
            self._client.background.spawn(self._init_producer_id(), "init producer id")

    async def _init_producer_id(self) -> None:
        """A producer id of one's own, from any broker."""
        fields = {"transactional_id": None, "transaction_timeout": -1}
        try:
            response = await self._client.request(
                None,
                Draft(ApiKey.INIT_PRODUCER_ID, fields),
                lambda answer: raise_for(answer.error_code, "producer id"),
            )
            self._state.set_identity(
                ProducerIdentity(response.producer_id, response.producer_epoch)
            )
        except RetriableError as error:
            _log.warning("%s", error)
        except StreamkitError as error:
            self._finish(self._state.fail_all(error))
        finally:
            self._is_initialising = False
            self._wake.set()

    def _look_for_leaders(self) -> None:
        lost = self._state.leaderless(self._client.view)
        if not lost:
            return
        for topic in dict.fromkeys(tp.topic for tp in lost):
            code = self._client.view.errors.get(topic)
            error = error_for(code, f"produce to topic {topic!r}") if code else None
            if error is not None and not isinstance(error, RetriableError):
                self._finish(self._state.fail([tp for tp in lost if tp.topic == topic], error))
        self._client.metadata.request_refresh()

    def _send_to(self, node_id: int, now_ms: float) -> None:
        node = self._nodes.setdefault(node_id, _Node())
        if node.not_before_ms > now_ms or node.in_flight >= self._in_flight_max:
            return
        connection = self._client.ready_connection(node_id, Channel.PRODUCE)
        if connection is None:
            self._connect(node_id, node)
            return
        while node.in_flight < self._in_flight_max and not connection.is_closed:
            batches = self._state.collect(node_id, self._client.view, now_ms)
            if not batches:
                return
            self._send(node_id, node, connection, batches)

    def _connect(self, node_id: int, node: _Node) -> None:
        if not node.is_connecting:
            node.is_connecting = True
            self._client.background.spawn(
                self._open(node_id, node), f"produce: connect to broker {node_id}"
            )

    async def _open(self, node_id: int, node: _Node) -> None:
        try:
            await self._client.connection(node_id, Channel.PRODUCE)
        except RetriableError as error:
            _log.info("produce: %s", error)
            self._client.metadata.request_refresh()
            await asyncio.sleep(self._settings.reconnect_backoff_ms / 1000)
        except StreamkitError as error:
            self._finish(self._state.fail_all(error))
        finally:
            node.is_connecting = False
            self._wake.set()

    def _send(
        self, node_id: int, node: _Node, connection: Connection, batches: list[Batch]
    ) -> None:
        view = self._client.view
        newest = connection.version_of(ApiKey.PRODUCE)
        if newest is not None and self.produce_version_max is not None:
            newest = min(newest, self.produce_version_max)
        if newest is None:
            error = UnsupportedByBrokerError(f"broker {node_id} does not serve PRODUCE")
            self._finish(self._state.fail((batch.tp for batch in batches), error))
            return
        request = produce_request(
            version_for(view, batches, newest),
            view,
            batches,
            acks=self._settings.acks_number,
            timeout_ms=self._settings.request_timeout_ms,
            transactional_id=self._transactional_id,
        )
        ids = {view.topic_id(b.tp.topic): b.tp.topic for b in batches}
        node.in_flight += 1
        try:
            answer = connection.send_nowait(request)
        except RetriableError as lost:
            node.in_flight -= 1
            self._on_lost(batches, lost)
            return
        answer.add_done_callback(lambda done: self._on_answer(node, batches, ids, done))

    def _on_answer(
        self,
        node: _Node,
        batches: list[Batch],
        ids: dict[Any, str],
        answer: asyncio.Future[Any],
    ) -> None:
        node.in_flight -= 1
        error = answer.exception()
        if isinstance(error, StreamkitError):
            self._on_lost(batches, error)
        elif error is not None:
            raise error
        elif answer.result() is None:
            # acks=0: handed to the socket is all that will ever be known.
            for batch in batches:
                self._finish(self._state.on_acknowledged(batch, -1))
        else:
            self._on_response(node, batches, ids, answer.result())
        self._wake.set()

    def _on_lost(self, batches: Iterable[Batch], error: StreamkitError) -> None:
        self._client.metadata.request_refresh()
        seams = self._client.seams
        now, chance = seams.clock.monotonic_ms(), seams.random.random()
        for batch in batches:
            self._finish(self._state.on_lost(batch, error, now, chance))
        self._wake.set()

    def _on_response(
        self, node: _Node, batches: list[Batch], ids: dict[Any, str], response: Any
    ) -> None:
        throttle_ms = to_ms(response.throttle_time)
        if throttle_ms:
            node.not_before_ms = self._client.seams.clock.monotonic_ms() + throttle_ms
        answered = set()
        done: list[Done] = []
        for batch, answer in answers_of(response, batches, ids):
            answered.add(batch.tp)
            if answer.code:
                done += self._on_refused(batch, answer, response)
            else:
                done += self._state.on_acknowledged(batch, answer.base_offset)
        self._finish(done)
        missing = [batch for batch in batches if batch.tp not in answered]
        if missing:
            self._on_lost(missing, RefreshMetadataError("the broker passed over a partition"))

    def _on_refused(self, batch: Batch, answer: ProduceAnswer, response: Any) -> list[Done]:
        seams = self._client.seams
        now, chance = seams.clock.monotonic_ms(), seams.random.random()
        done = self._state.on_refused(batch, answer.code, answer.message, now, chance)
        is_news = answer.code != ErrorCode.concurrent_transactions
        _log.log(
            logging.INFO if is_news else logging.DEBUG,
            "produce of %s: code %d", batch.tp, answer.code,
        )  # fmt: skip
        is_known = self._client.metadata.on_leader(
            batch.tp, answer.leader, answer.leader_epoch, endpoints_of(response)
        )
        if not is_known and isinstance(batch.last_error, RefreshMetadataError):
            self._client.metadata.request_refresh()
        return done

    def _finish(self, done: Iterable[Done]) -> None:
        """Call the callbacks, then let those go on who wait for room or for the end."""
        for batch, base_offset, error in done:
            self._is_in_callback = True
            try:
                batch.on_done(batch.tp, base_offset, error)
            finally:
                self._is_in_callback = False
        if done:
            moved, self._moved = self._moved, []
            for waiter in moved:
                if not waiter.done():
                    waiter.set_result(None)


__all__ = ["BatchSender", "ProducerIdentity"]
