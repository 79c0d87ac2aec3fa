"""Clients of the load on aiokafka, one process each; `ROLES` says what they do.

python -m tests.history.clients.aio PLAN
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

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
from tests.history.model import COMMITTED, Commit, Committed, Outcome, Poll, Send, Step
from tests.history.recorder import Invocation, Recorder

POLL_MS = 50
RECORDS_MAX = 200


class StartAnew(Exception):  # noqa: N818  # an order to the process, not a fault
    """This client cannot go on."""


def partition_of(key: str) -> TopicPartition:
    return TopicPartition(*split(key))


def key_of(part: TopicPartition) -> str:
    return f"{part.topic}-{part.partition}"


def consumer_of(plan: Plan, group: str | None) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        bootstrap_servers=plan.bootstrap,
        group_id=group,
        isolation_level=COMMITTED,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=SESSION_TIMEOUT_MS,
        heartbeat_interval_ms=500,
        fetch_max_wait_ms=100,
        retry_backoff_ms=50,
    )


def producer_of(plan: Plan, transactional_id: str | None) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=plan.bootstrap,
        enable_idempotence=True,
        transactional_id=transactional_id,
        transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        retry_backoff_ms=50,
    )


class Reader:
    """A consumer, and whether its positions may have changed since its last poll."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.consumer = consumer
        self.is_moved = True

    def move(self, positions: dict[str, int]) -> None:
        """Begin anew, at these positions."""
        self.consumer.assign([partition_of(key) for key in positions])
        for key, offset in positions.items():
            self.consumer.seek(partition_of(key), offset)
        self.is_moved = True

    async def poll(self) -> Poll:
        batches = await self.consumer.getmany(timeout_ms=POLL_MS, max_records=RECORDS_MAX)
        is_moved, self.is_moved = self.is_moved, self.is_moved and not batches
        found = {
            key_of(part): tuple((record.offset, record.value.decode()) for record in records)
            for part, records in batches.items()
        }
        return Poll(found, is_moved)


async def send_to(producer: AIOKafkaProducer, send: Send) -> Awaitable[Any]:
    topic, partition = split(send.key)
    sent: Awaitable[Any] = await producer.send(topic, send.value.encode(), partition=partition)
    return sent


async def placed(steps: Iterable[Step], sent: dict[str, Awaitable[Any]]) -> list[Step]:
    """The steps, with the offsets that were answered."""
    done: list[Step] = []
    for step in steps:
        found = step
        if isinstance(step, Send) and step.value in sent:
            with suppress(KafkaError, TimeoutError, asyncio.CancelledError):
                record = await asyncio.wait_for(sent[step.value], 0.01)
                found = Send(step.key, step.value, record.offset)
        done.append(found)
    return done


async def run_transaction(
    producer: AIOKafkaProducer,
    invocation: Invocation,
    work: Callable[[list[Step], dict[str, Awaitable[Any]]], Awaitable[bool]],
    steps: Sequence[Step] = (),
) -> Outcome:
    """`work` does the steps, notes them and says whether to commit."""
    noted = list(steps)
    sent: dict[str, Awaitable[Any]] = {}
    outcome, is_ending, is_lost = Outcome.FAIL, False, False
    try:
        async with asyncio.timeout(OPERATION_S):
            await producer.begin_transaction()
            if await work(noted, sent):
                # A failed send does not keep aiokafka from a commit.
                await asyncio.gather(*sent.values())
                is_ending = True
                await producer.commit_transaction()
                outcome = Outcome.OK
            else:
                await producer.abort_transaction()
    except (KafkaError, TimeoutError):
        # What is left of it is settled by the next life's InitProducerId.
        outcome = Outcome.INFO if is_ending else Outcome.FAIL
        is_lost = True
    invocation.complete(outcome, await placed(noted, sent))
    if is_lost:
        raise StartAnew
    return outcome


async def send_alone(plan: Plan, stop: StopFlag) -> None:
    """Idempotent sends, many under way at once."""
    chance, recorder = Chance(plan), recorder_of(plan)
    pending: set[asyncio.Task[None]] = set()
    async with producer_of(plan, None) as producer:
        while not stop.is_set:
            send = Send(chance.target(), chance.value())
            invocation = recorder.invoke("send", [send])
            sent = await asyncio.wait_for(send_to(producer, send), OPERATION_S)
            task = asyncio.create_task(_complete(invocation, send, sent))
            pending.add(task)
            task.add_done_callback(pending.discard)
            await asyncio.sleep(chance.pause_s() / 4)
        await asyncio.wait_for(producer.flush(), OPERATION_S)
        await asyncio.gather(*pending)


async def _complete(invocation: Invocation, send: Send, sent: Awaitable[Any]) -> None:
    try:
        record = await sent
    except KafkaError:
        invocation.complete(Outcome.INFO, [send])
    else:
        invocation.complete(Outcome.OK, [Send(send.key, send.value, record.offset)])


async def transact(plan: Plan, stop: StopFlag) -> None:
    """Transactions of sends and polls, over assigned partitions."""
    chance, recorder = Chance(plan), recorder_of(plan)
    async with consumer_of(plan, None) as consumer, producer_of(plan, plan.process) as producer:
        reader = Reader(consumer)
        reader.move(dict.fromkeys(chance.keys(), 0))
        while not stop.is_set:
            if chance.is_so(MOVE_CHANCE):
                reader.move(dict.fromkeys(chance.keys(), 0))
            plans = [
                Send(chance.target(), chance.value()) if chance.is_so(0.6) else None
                for _ in range(chance.up_to(4))
            ]
            invocation = recorder.invoke("txn", [each for each in plans if each is not None])

            async def work(
                steps: list[Step],
                sent: dict[str, Awaitable[Any]],
                plans: list[Send | None] = plans,
            ) -> bool:
                for each in plans:
                    if each is None:
                        steps.append(await reader.poll())
                    else:
                        steps.append(each)
                        sent[each.value] = await send_to(producer, each)
                return not chance.is_so(ABORT_CHANCE)

            await run_transaction(producer, invocation, work)
            await asyncio.sleep(chance.pause_s())


async def chain(plan: Plan, stop: StopFlag) -> None:
    """Consume, transform, produce: assigned partitions, one owner, fenced by transactional id."""
    chance, recorder = Chance(plan), recorder_of(plan)
    # The producer first: its start settles the transaction that a killed life left open.
    async with (
        producer_of(plan, plan.process) as producer,
        consumer_of(plan, plan.group) as consumer,
    ):
        reader = Reader(consumer)
        consumer.assign([partition_of(key) for key in plan.reads])
        reader.move(await group_offsets(plan, recorder, consumer))
        while not stop.is_set:
            if await _chain_once(plan, chance, recorder, producer, reader) is not Outcome.OK:
                reader.move(await group_offsets(plan, recorder, consumer))
            await asyncio.sleep(chance.pause_s())


async def group_offsets(
    plan: Plan, recorder: Recorder, consumer: AIOKafkaConsumer
) -> dict[str, int]:
    """Where the group is, noted; 0 where it has no offset."""
    invocation = recorder.invoke("committed")
    found = {key: await consumer.committed(partition_of(key)) for key in plan.reads}
    offsets = {key: offset for key, offset in found.items() if offset is not None}
    invocation.complete(Outcome.OK, [Committed(plan.group, offsets)])
    return {key: offset or 0 for key, offset in found.items()}


async def _chain_once(
    plan: Plan,
    chance: Chance,
    recorder: Recorder,
    producer: AIOKafkaProducer,
    reader: Reader,
) -> Outcome:
    poll = await reader.poll()
    offsets = {key: rows[-1][0] + 1 for key, rows in poll.records.items() if rows}
    if not offsets:
        recorder.rest()
        return Outcome.OK
    sends = [
        Send(chance.target(), f"{chance.value()}<{key}@{offset}")
        for key, rows in poll.records.items()
        for offset, _ in rows
    ]
    steps = [poll, *sends, Commit(plan.group, offsets)]

    async def work(_: list[Step], sent: dict[str, Awaitable[Any]]) -> bool:
        for send in sends:
            sent[send.value] = await send_to(producer, send)
        positions = {partition_of(key): offset for key, offset in offsets.items()}
        await producer.send_offsets_to_transaction(positions, plan.group)
        return not chance.is_so(ABORT_CHANCE)

    return await run_transaction(producer, recorder.invoke("chain", steps), work, steps)


async def group(plan: Plan, stop: StopFlag) -> None:
    """A member of a classic group that commits what it polled."""
    chance, recorder = Chance(plan), recorder_of(plan)
    async with consumer_of(plan, plan.group) as consumer:
        reader = Reader(consumer)
        topics = sorted({split(key)[0] for key in plan.reads})
        consumer.subscribe(topics, listener=_Moves(plan, recorder, reader))
        while not stop.is_set:
            invocation = recorder.invoke("poll")
            poll = await reader.poll()
            invocation.complete(Outcome.OK, [poll])
            offsets = {key: rows[-1][0] + 1 for key, rows in poll.records.items() if rows}
            if offsets:
                await _commit(plan, recorder, consumer, offsets)
            await asyncio.sleep(chance.pause_s())


async def _commit(
    plan: Plan, recorder: Recorder, consumer: AIOKafkaConsumer, offsets: dict[str, int]
) -> None:
    steps = [Commit(plan.group, offsets)]
    invocation = recorder.invoke("commit", steps)
    positions = {partition_of(key): offset for key, offset in offsets.items()}
    try:
        await asyncio.wait_for(consumer.commit(positions), OPERATION_S)
    except (KafkaError, TimeoutError):
        invocation.complete(Outcome.INFO, steps)
    else:
        invocation.complete(Outcome.OK, steps)


class _Moves(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    def __init__(self, plan: Plan, recorder: Recorder, reader: Reader) -> None:
        self._plan, self._recorder, self._reader = plan, recorder, reader

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        self._reader.is_moved = True

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        self._reader.is_moved = True
        invocation = self._recorder.invoke("committed")
        offsets = {}
        for part in assigned:
            offset = await self._reader.consumer.committed(part)
            if offset is not None:
                offsets[key_of(part)] = offset
        invocation.complete(Outcome.OK, [Committed(self._plan.group, offsets)])


ROLES: dict[str, Callable[[Plan, StopFlag], Awaitable[None]]] = {
    "send": send_alone,
    "transact": transact,
    "chain": chain,
    "group": group,
}


async def live(plan: Plan) -> None:
    await ROLES[plan.role](plan, StopFlag())


def main() -> int:
    """One life."""
    logging.disable(logging.CRITICAL)
    plan = Plan.from_argv()
    try:
        asyncio.run(live(plan))
    except (StartAnew, KafkaError, TimeoutError, OSError) as error:
        print(f"{plan.process}.{plan.life} starts anew: {error!r}", file=sys.stderr, flush=True)
        return FENCED_STATUS
    return 0


if __name__ == "__main__":
    sys.exit(main())
