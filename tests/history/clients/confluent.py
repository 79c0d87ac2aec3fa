"""Clients of the load on librdkafka, one process each; `ROLES` says what they do.

python -m tests.history.clients.confluent PLAN
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from tests.history.clients.plan import (
    ABORT_CHANCE,
    FENCED_STATUS,
    MOVE_CHANCE,
    OPERATION_S,
    SESSION_TIMEOUT_MS,
    TRANSACTION_TIMEOUT_MS,
    Chance,
    Plan,
    StopFlag,
    recorder_of,
    split,
)
from tests.history.model import (
    COMMITTED,
    UNCOMMITTED,
    Commit,
    Committed,
    Ends,
    Outcome,
    Poll,
    Send,
    Step,
)
from tests.history.recorder import Invocation, Recorder

DEBUG = os.environ.get("HISTORY_DEBUG", "")
"""librdkafka's debug contexts, such as `eos,cgrp`, for the log of a client that gets stuck."""

COMMON = {"reconnect.backoff.max.ms": 200, **({"debug": DEBUG} if DEBUG else {"log_level": 0})}
POLL_S = 0.05
RECORDS_MAX = 200
UNACKNOWLEDGED_MAX = 50


class StartAnew(Exception):  # noqa: N818  # an order to the process, not a fault
    """This client cannot go on."""


def partition_of(key: str, offset: int | None = None) -> TopicPartition:
    topic, partition = split(key)
    return (
        TopicPartition(topic, partition)
        if offset is None
        else TopicPartition(topic, partition, offset)
    )


def key_of(part: TopicPartition | Message) -> str:
    topic = part.topic if isinstance(part, TopicPartition) else part.topic()
    number = part.partition if isinstance(part, TopicPartition) else part.partition()
    return f"{topic}-{number}"


def patiently(work: Callable[[float], Any]) -> Any:
    """Try again what is worth it, until the time of an operation is over."""
    deadline = time.monotonic() + OPERATION_S
    while True:
        try:
            return work(max(0.1, deadline - time.monotonic()))
        except KafkaException as error:
            reason = error.args[0]
            if not reason.retriable() and reason.code() != KafkaError._TIMED_OUT:
                raise
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


class Reader:
    """A consumer, and whether its positions may have changed since its last poll."""

    def __init__(self, plan: Plan, isolation: str = COMMITTED) -> None:
        self.consumer = Consumer(
            {
                **COMMON,
                "bootstrap.servers": plan.bootstrap,
                "group.id": plan.group or f"none-{plan.process}",
                "isolation.level": isolation,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": SESSION_TIMEOUT_MS,
                "heartbeat.interval.ms": 500,
                "fetch.wait.max.ms": 100,
            }
        )
        self.is_moved = True

    def move(self, keys: Iterable[str]) -> None:
        """Begin anew, at the start of these partitions."""
        self.consumer.assign([partition_of(key, OFFSET_BEGINNING) for key in keys])
        self.is_moved = True

    def poll(self) -> Poll:
        found: dict[str, list[tuple[int, str]]] = {}
        messages = self.consumer.consume(RECORDS_MAX, POLL_S)
        for message in messages:
            if message.error() is None:
                row = (message.offset(), message.value().decode())
                found.setdefault(key_of(message), []).append(row)
        is_moved, self.is_moved = self.is_moved, self.is_moved and not found
        return Poll({key: tuple(rows) for key, rows in found.items()}, is_moved)


class Writer:
    """A producer that notes where its records landed."""

    def __init__(self, plan: Plan, **config: object) -> None:
        self.offsets: dict[str, int] = {}
        self.producer = Producer(
            {
                **COMMON,
                "bootstrap.servers": plan.bootstrap,
                "enable.idempotence": True,
                "linger.ms": 1,
                "retry.backoff.ms": 20,
                **config,
            }
        )

    def send(self, send: Send, on_done: Callable[[KafkaError | None], None] | None = None) -> None:
        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is None:
                self.offsets[send.value] = message.offset()
            if on_done is not None:
                on_done(error)

        topic, partition = split(send.key)
        self.producer.produce(topic, send.value, partition=partition, on_delivery=on_delivery)

    def placed(self, send: Send) -> Send:
        return Send(send.key, send.value, self.offsets.get(send.value))


def transactional(plan: Plan) -> Writer:
    config = {
        "transactional.id": plan.process,
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
        "message.timeout.ms": TRANSACTION_TIMEOUT_MS,
    }
    writer = Writer(plan, **config)
    patiently(writer.producer.init_transactions)
    return writer


class Transaction:
    """One transaction of a writer, from its beginning to what is known of its end."""

    def __init__(self, writer: Writer, invocation: Invocation, steps: Sequence[Step] = ()) -> None:
        self._writer = writer
        self._invocation = invocation
        self._steps = list(steps)
        self._is_ending = False

    def run(self, work: Callable[[list[Step]], bool]) -> Outcome:
        """`work` does the steps, notes them and says whether to commit."""
        outcome, is_lost = Outcome.FAIL, False
        try:
            self._writer.producer.begin_transaction()
            outcome = self._end(work(self._steps))
        except KafkaException as error:
            outcome, is_lost = self._undo(error.args[0])
        self._writer.producer.poll(0)
        placed = [
            self._writer.placed(step) if isinstance(step, Send) else step for step in self._steps
        ]
        self._invocation.complete(outcome, placed)
        if is_lost:
            raise StartAnew
        return outcome

    def _end(self, is_commit: bool) -> Outcome:
        producer = self._writer.producer
        producer.flush(OPERATION_S)
        if not is_commit:
            patiently(producer.abort_transaction)
            return Outcome.FAIL
        self._is_ending = True
        patiently(producer.commit_transaction)
        return Outcome.OK

    def _undo(self, reason: KafkaError) -> tuple[Outcome, bool]:
        """What is known of the transaction, and whether the producer is lost."""
        if not reason.fatal():
            if not reason.txn_requires_abort() and self._is_ending:
                return Outcome.INFO, True
            with suppress(KafkaException):
                patiently(self._writer.producer.abort_transaction)
                return Outcome.FAIL, False
        return (Outcome.INFO if self._is_ending else Outcome.FAIL), True


def send_alone(plan: Plan, stop: StopFlag) -> None:
    """Idempotent sends, many under way at once."""
    chance, recorder = Chance(plan), recorder_of(plan)
    writer = Writer(plan, **{"message.timeout.ms": int(OPERATION_S * 1000)})
    while not stop.is_set:
        send = Send(chance.target(), chance.value())
        writer.send(send, _completing(recorder.invoke("send", [send]), writer, send))
        while len(writer.producer) > UNACKNOWLEDGED_MAX:
            writer.producer.poll(0.01)
        writer.producer.poll(chance.pause_s() / 4)
    writer.producer.flush(OPERATION_S)


def _completing(
    invocation: Invocation, writer: Writer, send: Send
) -> Callable[[KafkaError | None], None]:
    def on_done(error: KafkaError | None) -> None:
        outcome = Outcome.OK if error is None else Outcome.INFO
        invocation.complete(outcome, [writer.placed(send)])

    return on_done


def transact(plan: Plan, stop: StopFlag) -> None:
    """Transactions of sends and polls, over assigned partitions."""
    chance, recorder = Chance(plan), recorder_of(plan)
    writer, reader = transactional(plan), Reader(plan)
    reader.move(chance.keys())
    while not stop.is_set:
        if chance.is_so(MOVE_CHANCE):
            reader.move(chance.keys())
        plans = [_micro(chance) for _ in range(chance.up_to(4))]
        invocation = recorder.invoke("txn", [each for each in plans if isinstance(each, Send)])

        def work(steps: list[Step], plans: list[Send | None] = plans) -> bool:
            for each in plans:
                if each is None:
                    steps.append(reader.poll())
                else:
                    steps.append(each)
                    writer.send(each)
            return not chance.is_so(ABORT_CHANCE)

        Transaction(writer, invocation).run(work)
        time.sleep(chance.pause_s())
    reader.consumer.close()


def _micro(chance: Chance) -> Send | None:
    """A send, or a poll."""
    return Send(chance.target(), chance.value()) if chance.is_so(0.6) else None


class ChainReader(Reader):
    """A reader in a classic group, which begins where its group has committed."""

    def __init__(self, plan: Plan, recorder: Recorder) -> None:
        super().__init__(plan)
        self._plan = plan
        self._recorder = recorder
        topics = sorted({split(key)[0] for key in plan.reads})
        self.consumer.subscribe(topics, on_assign=self._on_assign, on_revoke=self._on_revoke)

    def _on_assign(self, consumer: Consumer, parts: list[TopicPartition]) -> None:
        consumer.assign(self._committed(parts))
        self.is_moved = True

    def _on_revoke(self, consumer: Consumer, _parts: list[TopicPartition]) -> None:
        consumer.unassign()
        self.is_moved = True

    def _committed(self, parts: list[TopicPartition]) -> list[TopicPartition]:
        """The group's offsets, noted; the beginning where there is none."""
        if not parts:
            return []
        invocation = self._recorder.invoke("committed")
        found = patiently(lambda timeout_s: self.consumer.committed(parts, timeout_s))
        offsets = {key_of(part): part.offset for part in found if part.offset >= 0}
        invocation.complete(Outcome.OK, [Committed(self._plan.group, offsets)])
        return [partition_of(key_of(part), max(part.offset, 0)) for part in found]

    def rewind(self) -> None:
        """Go back to what the group has committed."""
        self.consumer.assign(self._committed(self.consumer.assignment()))
        self.is_moved = True


def next_offsets(poll: Poll) -> dict[str, int]:
    return {key: rows[-1][0] + 1 for key, rows in poll.records.items() if rows}


def chain(plan: Plan, stop: StopFlag) -> None:
    """Consume, transform, produce, with the offsets in the transaction."""
    chance, recorder = Chance(plan), recorder_of(plan)
    writer, reader = transactional(plan), ChainReader(plan, recorder)
    while not stop.is_set:
        poll = reader.poll()
        offsets = next_offsets(poll)
        if not offsets:
            recorder.rest()
            continue
        sends = [
            Send(chance.target(), f"{chance.value()}<{key}@{offset}")
            for key, rows in poll.records.items()
            for offset, _ in rows
        ]
        commit = Commit(plan.group, offsets)
        invocation = recorder.invoke("chain", [poll, *sends, commit])

        def work(
            _: list[Step], sends: list[Send] = sends, offsets: dict[str, int] = offsets
        ) -> bool:
            for send in sends:
                writer.send(send)
            positions = [partition_of(key, offset) for key, offset in offsets.items()]
            metadata = reader.consumer.consumer_group_metadata()
            patiently(
                lambda timeout_s: writer.producer.send_offsets_to_transaction(
                    positions, metadata, timeout_s
                )
            )
            return not chance.is_so(ABORT_CHANCE)

        if Transaction(writer, invocation, [poll, *sends, commit]).run(work) is not Outcome.OK:
            reader.rewind()
        time.sleep(chance.pause_s())
    reader.consumer.close()


def watch(plan: Plan, stop: StopFlag) -> None:
    """Read uncommitted records too, and ask for the ends of the logs."""
    chance, recorder = Chance(plan), recorder_of(plan, UNCOMMITTED)
    reader = Reader(plan, UNCOMMITTED)
    admin = AdminClient({**COMMON, "bootstrap.servers": plan.bootstrap})
    reader.move(plan.reads)
    while not stop.is_set:
        if chance.is_so(MOVE_CHANCE):
            reader.move(chance.keys())
        recorder.invoke("poll").complete(Outcome.OK, [reader.poll()])
        if chance.is_so(0.5):
            invocation = recorder.invoke("ends")
            try:
                invocation.complete(Outcome.OK, [Ends(ends_of(admin, plan.reads))])
            except (KafkaException, LookupError):
                invocation.complete(Outcome.INFO, [])
                # It would ask with the old leader epoch again and again.
                admin = AdminClient({**COMMON, "bootstrap.servers": plan.bootstrap})
        time.sleep(chance.pause_s())
    reader.consumer.close()


def ends_of(admin: AdminClient, keys: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """(earliest, last stable, latest) of each key. Raises KafkaException or LookupError."""
    parts = [partition_of(key) for key in keys]
    earliest = _list(admin, parts, OffsetSpec.earliest(), UNCOMMITTED)
    stable = _list(admin, parts, OffsetSpec.latest(), COMMITTED)
    latest = _list(admin, parts, OffsetSpec.latest(), UNCOMMITTED)
    return {key: (earliest[key], stable[key], latest[key]) for key in keys}


def _list(
    admin: AdminClient, parts: Sequence[TopicPartition], spec: OffsetSpec, isolation: str
) -> dict[str, int]:
    from confluent_kafka import IsolationLevel

    level = IsolationLevel[isolation.upper()]
    asked = admin.list_offsets(
        dict.fromkeys(parts, spec), isolation_level=level, request_timeout=OPERATION_S
    )
    found = {key_of(part): future.result(OPERATION_S).offset for part, future in asked.items()}
    if min(found.values()) < 0:
        # A connection that is lost in between gives this, and no error.
        raise LookupError(f"offsets without a value: {found}")
    return found


ROLES: dict[str, Callable[[Plan, StopFlag], None]] = {
    "send": send_alone,
    "transact": transact,
    "chain": chain,
    "watch": watch,
}


def main() -> int:
    """One life."""
    plan, stop = Plan.from_argv(), StopFlag()
    try:
        ROLES[plan.role](plan, stop)
    except (StartAnew, KafkaException) as error:
        print(f"{plan.process}.{plan.life} starts anew: {error}", file=sys.stderr, flush=True)
        return FENCED_STATUS
    return 0


if __name__ == "__main__":
    sys.exit(main())
