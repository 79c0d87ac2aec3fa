"""Transactions through the handlers: both client generations, from InitProducerId to the marker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest

from streamkit.broker.coordinators.transaction.rules import SendMarkers
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode
from streamkit.records import decode, scan

OLD, NEW = 10, 13
"""Produce of clients that add partitions themselves, and of those of transaction.version 2."""


@dataclass
class Producer:
    """One transactional producer, as a client of the given generation is."""

    asker: Any
    transactional_id: str = "shop-3"
    is_new: bool = True
    id: int = -1
    epoch: int = -1
    sequence: int = 0

    async def init(self, **fields: object) -> Any:
        """Take the id over; retries while the transaction before ends."""
        given = {"transactional_id": self.transactional_id, "transaction_timeout": 60_000}
        await find(self.asker, self.transactional_id)
        while True:
            answer = await self.asker.ask(ApiKey.INIT_PRODUCER_ID, **{**given, **fields})
            if answer.error_code is not ErrorCode.concurrent_transactions:
                break
            await asyncio.sleep(0.02)
        if answer.error_code is ErrorCode.none:
            self.id, self.epoch, self.sequence = answer.producer_id, answer.producer_epoch, 0
        return answer

    async def add(self, topic: str, *partitions: int) -> ErrorCode:
        answer = await self.asker.ask(
            ApiKey.ADD_PARTITIONS_TO_TXN,
            3,
            v3_and_below_transactional_id=self.transactional_id,
            v3_and_below_producer_id=self.id,
            v3_and_below_producer_epoch=self.epoch,
            v3_and_below_topics=[{"name": topic, "partitions": list(partitions)}],
        )
        (found,) = answer.results_by_topic_v3_and_below
        return ErrorCode(found.results_by_partition[0].partition_error_code)

    async def send(self, topic_id: UUID, *values: str, **build: Any) -> Any:
        """One batch to partition 0 of a topic `orders`."""
        version = NEW if self.is_new else OLD
        version = build.pop("version", version)
        numbers = {
            "producer_id": self.id,
            "producer_epoch": self.epoch,
            "base_sequence": self.sequence,
            "transactional": True,
        }
        records = batch(*values, **{**numbers, **build})
        name = {"topic_id": topic_id} if version >= 13 else {"name": "orders"}
        answer = await self.asker.ask(
            ApiKey.PRODUCE,
            version,
            transactional_id=self.transactional_id,
            acks=-1,
            timeout=1000,
            topic_data=[{**name, "partition_data": [{"index": 0, "records": records}]}],
        )
        (found,) = answer.responses[0].partition_responses
        if found.error_code is ErrorCode.none:
            self.sequence += len(values)
        return found

    async def end(self, *, commit: bool, epoch: int | None = None, settle: bool = True) -> Any:
        """EndTxn; then wait for the markers, as nobody else is there."""
        answer = await self.asker.ask(
            ApiKey.END_TXN,
            5 if self.is_new else 3,
            transactional_id=self.transactional_id,
            producer_id=self.id,
            producer_epoch=self.epoch if epoch is None else epoch,
            committed=commit,
        )
        if settle:
            await asyncio.sleep(0.05)
        if answer.error_code is ErrorCode.none and self.is_new:
            self.id, self.epoch, self.sequence = answer.producer_id, answer.producer_epoch, 0
        return answer

    async def commit_offset(
        self, group: str, offset: int, version: int | None = None, **member: object
    ) -> ErrorCode:
        chosen = (5 if self.is_new else 3) if version is None else version
        answer = await self.asker.ask(
            ApiKey.TXN_OFFSET_COMMIT,
            chosen,
            transactional_id=self.transactional_id,
            group_id=group,
            producer_id=self.id,
            producer_epoch=self.epoch,
            topics=[
                {
                    "name": "orders",
                    "partitions": [
                        {
                            "partition_index": 0,
                            "committed_offset": offset,
                            "committed_metadata": "note",
                        }
                    ],
                }
            ],
            **member,
        )
        return ErrorCode(answer.topics[0].partitions[0].error_code)


def batch(*values: str, **build: Any) -> bytes:
    from streamkit.records import encode

    at = 1_699_999_000_000
    return bytes(encode([(b"k", each.encode(), at, ()) for each in values], **build))


async def find(asker: Any, key: str, kind: int = 1) -> Any:
    answer = await asker.ask(ApiKey.FIND_COORDINATOR, key_type=kind, coordinator_keys=[key])
    assert answer.coordinators[0].error_code is ErrorCode.none
    return answer.coordinators[0]


async def read_committed(asker: Any, topic_id: UUID) -> list[str]:
    """What a consumer of committed records gets: aborted ones and markers dropped."""
    answer = await asker.fetch(topic_id, 0, isolation_level=1)
    assert answer.error_code is ErrorCode.none
    records = bytes(answer.records or b"")
    aborted = sorted(
        (each.first_offset, each.producer_id) for each in answer.aborted_transactions or ()
    )
    open_aborts: set[int] = set()
    found = []
    for header in scan(records):
        while aborted and aborted[0][0] <= header.last_offset:
            open_aborts.add(aborted.pop(0)[1])
        if header.is_control:
            open_aborts.discard(header.producer_id)
        elif header.producer_id not in open_aborts:
            found += [(value or b"").decode() for value in decode(records, header).values]
    return found


async def committed_offset(asker: Any, group: str, *, stable: bool = False) -> Any:
    answer = await asker.ask(
        ApiKey.OFFSET_FETCH,
        9,
        groups=[{"group_id": group, "topics": [{"name": "orders", "partition_indexes": [0]}]}],
        require_stable=stable,
    )
    return answer.groups[0].topics[0].partitions[0]


@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize("commit", [False, True])
def test_outcome_decides_what_readers_of_committed_records_see(
    world: Any, is_new: bool, commit: bool
) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders")
        producer = Producer(asker, is_new=is_new)
        await producer.init()
        if not is_new:
            assert await producer.add("orders", 0) is ErrorCode.none
        sent = await producer.send(topic_id, "a", "b")
        assert sent.error_code is ErrorCode.none, sent
        before = await read_committed(asker, topic_id)
        epoch = producer.epoch
        ended = await producer.end(commit=commit)
        assert ended.error_code is ErrorCode.none
        return before, await read_committed(asker, topic_id), producer.epoch - epoch

    before, after, bump = world.run(scenario)
    assert before == []
    assert after == (["a", "b"] if commit else [])
    assert bump == (1 if is_new else 0)


# What the leader lets into its log: table 8.3, and hanging transactions (KIP-890)


@pytest.mark.parametrize(
    ("version", "expected"),
    [(10, ErrorCode.invalid_txn_state), (11, ErrorCode.transaction_abortable)],
)
def test_partition_that_was_never_added_is_refused(
    world: Any, version: int, expected: ErrorCode
) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders")
        producer = Producer(asker)
        await producer.init()
        sent = await producer.send(topic_id, "a", version=version)
        await asker.produce(topic_id, "plain")
        return sent.error_code, await read_committed(asker, topic_id)

    assert world.run(scenario) == (expected, ["plain"])


@pytest.mark.parametrize("version", [10, 11, 12, 13])
def test_fenced_producer_writes_nothing(world: Any, version: int) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders")
        zombie, heir = Producer(asker), Producer(asker)
        await zombie.init()
        assert (await zombie.send(topic_id, "z")).error_code is ErrorCode.none
        await heir.init()
        sent = await zombie.send(topic_id, "zombie", version=version)
        await heir.send(topic_id, "heir")
        await heir.end(commit=True)
        return sent.error_code, await read_committed(asker, topic_id)

    assert world.run(scenario) == (ErrorCode.invalid_producer_epoch, ["heir"])


def test_other_producer_id_is_refused_as_it_is(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders")
        producer = Producer(asker)
        await producer.init()
        return (await producer.send(topic_id, "a", producer_id=producer.id + 900)).error_code

    assert world.run(scenario) is ErrorCode.invalid_producer_id_mapping


def test_transactional_batch_needs_a_transactional_id(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders")
        numbers = {"producer_id": 5, "producer_epoch": 2, "base_sequence": 0}
        return await asker.produce(topic_id, "a", transactional=True, **numbers)

    assert world.run(scenario).error_code is ErrorCode.transactional_id_authorization_failed


def test_plain_batch_in_an_open_transaction_is_refused(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders")
        producer = Producer(asker)
        await producer.init()
        await producer.send(topic_id, "a")
        return (await producer.send(topic_id, "b", transactional=False)).error_code

    assert world.run(scenario) is ErrorCode.invalid_txn_state


@pytest.mark.parametrize("is_new", [False, True])
def test_late_batch_of_an_aborted_transaction_holds_nobody_up(world: Any, is_new: bool) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders")
        producer = Producer(asker, is_new=is_new)
        await producer.init()
        if not is_new:
            await producer.add("orders", 0)
        await producer.send(topic_id, "a")
        epoch = producer.epoch
        await producer.end(commit=False)
        late = await producer.send(topic_id, "late", producer_epoch=epoch, base_sequence=1)
        await asker.produce(topic_id, "plain")
        return late.error_code, await read_committed(asker, topic_id)

    code, found = world.run(scenario)
    expected = ErrorCode.invalid_producer_epoch if is_new else ErrorCode.invalid_txn_state
    assert (code, found) == (expected, ["plain"])


def test_next_transaction_follows_at_once(world: Any) -> None:
    """Markers may still be on their way: the leader retries, the client does not notice."""

    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders")
        producer = Producer(asker)
        await producer.init()
        for number in range(4):
            assert (await producer.send(topic_id, f"{number}")).error_code is ErrorCode.none
            ended = await producer.end(commit=number != 2, settle=False)
            assert ended.error_code is ErrorCode.none
        await asyncio.sleep(0.05)
        return await read_committed(asker, topic_id)

    assert world.run(scenario) == ["0", "1", "3"]


@pytest.mark.parametrize("markers_s", [0.03, 0.5])
def test_leader_waits_a_little_for_the_markers_before(world: Any, markers_s: float) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders")
        producer = Producer(asker)
        await producer.init()
        await producer.send(topic_id, "a")
        transactions = asker.node.dispatcher._parts.transactions
        write = transactions._write_markers

        async def slowly(end: Any, partitions: Any) -> Any:
            await asyncio.sleep(markers_s)
            return await write(end, partitions)

        transactions._write_markers = slowly
        await producer.end(commit=True, settle=False)
        sent = await producer.send(topic_id, "b")
        await asyncio.sleep(1)
        return sent.error_code, await read_committed(asker, topic_id)

    code, found = world.run(scenario)
    is_quick = markers_s < 0.1
    assert code is (ErrorCode.none if is_quick else ErrorCode.concurrent_transactions)
    assert found == ["a"]


def test_first_batch_of_an_unknown_producer_begins_at_zero(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders")
        producer = Producer(asker)
        await producer.init()
        gap = await producer.send(topic_id, "b", base_sequence=3)
        return gap.error_code, (await producer.send(topic_id, "a")).error_code

    assert world.run(scenario) == (ErrorCode.out_of_order_sequence_number, ErrorCode.none)


# Offsets in transactions (KIP-447)


@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize("commit", [False, True])
def test_offsets_count_when_the_transaction_does(world: Any, is_new: bool, commit: bool) -> None:
    async def scenario(asker: Any) -> Any:
        await asker.create("orders")
        await find(asker, "shop", 0)
        producer = Producer(asker, is_new=is_new)
        await producer.init()
        if not is_new:
            added = await asker.ask(
                ApiKey.ADD_OFFSETS_TO_TXN,
                3,
                transactional_id=producer.transactional_id,
                producer_id=producer.id,
                producer_epoch=producer.epoch,
                group_id="shop",
            )
            assert added.error_code is ErrorCode.none
        assert await producer.commit_offset("shop", 77) is ErrorCode.none
        open_now = await committed_offset(asker, "shop")
        unstable = await committed_offset(asker, "shop", stable=True)
        await producer.end(commit=commit)
        return open_now, unstable, await committed_offset(asker, "shop", stable=True)

    open_now, unstable, after = world.run(scenario)
    assert (open_now.committed_offset, unstable.committed_offset) == (-1, -1)
    assert unstable.error_code is ErrorCode.unstable_offset_commit
    assert (after.error_code, after.committed_offset) == (ErrorCode.none, 77 if commit else -1)


def test_offsets_of_a_topic_made_again_are_not_those_of_before(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        await asker.create("orders")
        await find(asker, "shop", 0)
        producer = Producer(asker)
        await producer.init()
        assert await producer.commit_offset("shop", 77) is ErrorCode.none
        deleted = await asker.ask(
            ApiKey.DELETE_TOPICS, topics=[{"name": "orders", "topic_id": None}], timeout=1000
        )
        assert deleted.responses[0].error_code is ErrorCode.none
        await asyncio.sleep(1)
        await producer.end(commit=True)
        await asker.create("orders")
        return await committed_offset(asker, "shop")

    assert world.run(scenario).committed_offset == -1


@pytest.mark.parametrize(
    ("version", "expected"),
    [(3, ErrorCode.invalid_txn_state), (4, ErrorCode.transaction_abortable)],
)
def test_offsets_partition_that_was_never_added_is_refused(
    world: Any, version: int, expected: ErrorCode
) -> None:
    async def scenario(asker: Any) -> Any:
        await asker.create("orders")
        await find(asker, "shop", 0)
        producer = Producer(asker)
        await producer.init()
        return await producer.commit_offset("shop", 77, version)

    assert world.run(scenario) is expected


def test_offsets_of_a_fenced_producer_are_refused(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        await asker.create("orders")
        await find(asker, "shop", 0)
        zombie, heir = Producer(asker), Producer(asker)
        await zombie.init()
        await heir.init()
        return await zombie.commit_offset("shop", 77)

    assert world.run(scenario) is ErrorCode.invalid_producer_epoch


def test_offsets_of_a_member_without_a_group_are_refused(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        await asker.create("orders")
        await find(asker, "shop", 0)
        producer = Producer(asker)
        await producer.init()
        code = await producer.commit_offset("shop", 77, generation_id=4, member_id="m-2")
        await producer.end(commit=False)
        return code, (await committed_offset(asker, "shop")).committed_offset

    assert world.run(scenario) == (ErrorCode.illegal_generation, -1)


# Ends: restarts, time-outs, topics that went, hanging transactions


async def state_of(asker: Any, transactional_id: str = "shop-3") -> Any:
    answer = await asker.ask(ApiKey.DESCRIBE_TRANSACTIONS, transactional_ids=[transactional_id])
    return answer.transaction_states[0]


@pytest.mark.parametrize("commit", [False, True])
@pytest.mark.parametrize("is_new", [False, True])
def test_crash_between_outcome_and_markers_is_made_good(
    world: Any, is_new: bool, commit: bool
) -> None:
    async def main() -> Any:
        node = world.node(**DURABLE)
        await node.start()
        asker = world.asker(node)
        topic_id = await asker.create("orders")
        await find(asker, "shop", 0)
        producer = Producer(asker, is_new=is_new)
        await producer.init()
        if not is_new:
            await producer.add("orders", 0)
        await producer.send(topic_id, "a")
        if is_new:
            await producer.commit_offset("shop", 77)
        hold_markers(node)
        assert (await producer.end(commit=commit)).error_code is ErrorCode.none
        prepared = await state_of(asker)
        assert await read_committed(asker, topic_id) == []
        await crash(world, node)
        async with world.node(**DURABLE) as heir:
            asker = producer.asker = world.asker(heir)
            await find(asker, producer.transactional_id)
            await asyncio.sleep(0.3)
            found = await read_committed(asker, topic_id)
            offset = (await committed_offset(asker, "shop")).committed_offset
            complete = await state_of(asker)
            sent = await producer.send(topic_id, "b") if is_new else None
            return prepared, found, offset, complete, sent

    prepared, found, offset, complete, sent = world.simulation.run(main())
    name = "Commit" if commit else "Abort"
    assert prepared.transaction_state == f"Prepare{name}"
    assert complete.transaction_state == f"Complete{name}"
    assert found == (["a"] if commit else [])
    assert offset == (77 if commit and is_new else -1)
    assert sent is None or sent.error_code is ErrorCode.none


DURABLE = {"log_flush_interval_messages": "1"}
"""What was acknowledged outlives the machine."""


async def crash(world: Any, node: Any) -> None:
    world.disk.crash(world.simulation.random)
    await node.abandon()


def hold_markers(node: Any) -> None:
    """From now on no marker is written, as if the machine died before."""

    async def never(_end: Any, partitions: Any) -> Any:
        return dict.fromkeys(partitions, ErrorCode.not_leader_or_follower)

    node.dispatcher._parts.transactions._write_markers = never


def test_open_transaction_goes_on_after_a_crash(world: Any) -> None:
    async def main() -> Any:
        node = world.node(**DURABLE)
        await node.start()
        asker = world.asker(node)
        topic_id = await asker.create("orders")
        producer = Producer(asker)
        await producer.init()
        await producer.send(topic_id, "a")
        await crash(world, node)
        async with world.node(**DURABLE) as heir:
            asker = producer.asker = world.asker(heir)
            await find(asker, producer.transactional_id)
            assert await read_committed(asker, topic_id) == []
            sent = await producer.send(topic_id, "b")
            ended = await producer.end(commit=True)
            return sent.error_code, ended.error_code, await read_committed(asker, topic_id)

    assert world.simulation.run(main()) == (ErrorCode.none, ErrorCode.none, ["a", "b"])


@pytest.mark.parametrize("partitions", ["2", "50"])
def test_ids_are_where_they_were_whatever_the_setting_says(world: Any, partitions: str) -> None:
    async def main() -> Any:
        producers = []
        async with world.node(transaction_state_log_num_partitions="4") as node:
            for name in range(8):
                producer = Producer(world.asker(node), f"shop-{name}")
                assert (await producer.init()).error_code is ErrorCode.none
                producers.append(producer)
        async with world.node(transaction_state_log_num_partitions=partitions) as node:
            for producer in producers:
                before = producer.id
                producer.asker = world.asker(node)
                assert (await producer.init()).error_code is ErrorCode.none
                assert (producer.id, producer.epoch) == (before, 1)

    world.simulation.run(main())


@pytest.mark.parametrize("is_new", [False, True])
def test_transaction_that_takes_too_long_is_aborted(world: Any, is_new: bool) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders")
        producer = Producer(asker, is_new=is_new)
        await producer.init(transaction_timeout=3_000)
        if not is_new:
            await producer.add("orders", 0)
        await producer.send(topic_id, "a")
        await asyncio.sleep(14)
        await asker.produce(topic_id, "plain")
        ended = await producer.end(commit=True)
        return ended.error_code, await read_committed(asker, topic_id), await state_of(asker)

    code, found, state = world.run(scenario)
    # With an epoch per transaction its own epoch is that of a retry, of another outcome.
    expected = ErrorCode.invalid_txn_state if is_new else ErrorCode.producer_fenced
    assert (code, found) == (expected, ["plain"])
    assert state.transaction_state == "CompleteAbort"


@pytest.mark.parametrize("timeout_ms", [0, -1, 900_001])
def test_time_out_beyond_the_limits_is_refused(world: Any, timeout_ms: int) -> None:
    async def scenario(asker: Any) -> Any:
        return (await Producer(asker).init(transaction_timeout=timeout_ms)).error_code

    assert world.run(scenario) is ErrorCode.invalid_transaction_timeout


def test_deleted_topic_needs_no_marker(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders")
        producer = Producer(asker)
        await producer.init()
        await producer.send(topic_id, "a")
        await asker.ask(ApiKey.DELETE_TOPICS, topics=[{"name": "orders", "topic_id": UUID(int=0)}])
        await producer.end(commit=True)
        return await state_of(asker)

    assert world.run(scenario).transaction_state == "CompleteCommit"


def test_operator_ends_a_hanging_transaction(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders")
        partition = asker.node.dispatcher._parts.replicas.find("orders", 0)
        numbers = {"producer_id": 9001, "producer_epoch": 4, "base_sequence": 0}
        partition.log.append_as_leader(
            batch("h", transactional=True, **numbers), 0, 1_699_999_000_000
        )
        partition.advance_high_watermark(partition.log.log_end_offset)
        await asker.produce(topic_id, "plain")
        hanging = await read_committed(asker, topic_id)
        asked = [{"name": "orders", "partition_indexes": [0]}]
        described = await asker.ask(ApiKey.DESCRIBE_PRODUCERS, topics=asked)
        (producer,) = described.topics[0].partitions[0].active_producers
        marker = {
            "producer_id": 9001,
            "producer_epoch": producer.producer_epoch,
            "transaction_result": False,
            "coordinator_epoch": 0,
            "topics": asked,
        }
        written = await asker.ask(ApiKey.WRITE_TXN_MARKERS, 1, markers=[marker])
        code = written.markers[0].topics[0].partitions[0].error_code
        return hanging, producer, code, await read_committed(asker, topic_id)

    hanging, producer, code, found = world.run(scenario)
    assert (hanging, code, found) == ([], ErrorCode.none, ["plain"])
    assert (producer.current_txn_start_offset, producer.coordinator_epoch) == (0, -1)


def test_markers_of_unknown_partitions(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        marker = {
            "producer_id": 9001,
            "producer_epoch": 4,
            "transaction_result": False,
            "coordinator_epoch": 0,
            "topics": [{"name": "nowhere", "partition_indexes": [3]}],
        }
        return await asker.ask(ApiKey.WRITE_TXN_MARKERS, markers=[marker])

    answer = world.run(scenario)
    code = answer.markers[0].topics[0].partitions[0].error_code
    assert code is ErrorCode.unknown_topic_or_partition


def test_transactions_are_listed_and_described(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders")
        for name in ("shop-3", "shop-4", "till-5"):
            producer = Producer(asker, name)
            await producer.init()
            await producer.send(topic_id, "a")
        listed = await asker.ask(
            ApiKey.LIST_TRANSACTIONS,
            state_filters=["Ongoing", "Odd"],
            transactional_id_pattern="shop-.*",
        )
        return listed, await state_of(asker), await state_of(asker, "nobody")

    listed, described, unknown = world.run(scenario)
    assert [each.transactional_id for each in listed.transaction_states] == ["shop-3", "shop-4"]
    assert list(listed.unknown_state_filters) == ["Odd"]
    assert (described.topics[0].topic, described.topics[0].partitions) == ("orders", (0,))
    assert unknown.error_code is ErrorCode.transactional_id_not_found


@pytest.mark.parametrize("version", range(4))
def test_one_bad_partition_keeps_the_others_out(world: Any, version: int) -> None:
    async def scenario(asker: Any) -> Any:
        await asker.create("orders")
        producer = Producer(asker)
        await producer.init()
        answer = await asker.ask(
            ApiKey.ADD_PARTITIONS_TO_TXN,
            version,
            v3_and_below_transactional_id=producer.transactional_id,
            v3_and_below_producer_id=producer.id,
            v3_and_below_producer_epoch=producer.epoch,
            v3_and_below_topics=[{"name": "orders", "partitions": [0, 9]}],
        )
        return answer.results_by_topic_v3_and_below[0].results_by_partition

    good, bad = world.run(scenario)
    assert good.partition_error_code is ErrorCode.operation_not_attempted
    assert bad.partition_error_code is ErrorCode.unknown_topic_or_partition


@pytest.mark.parametrize("version", range(6))
def test_zombie_that_comes_back_is_told_in_its_version(world: Any, version: int) -> None:
    async def scenario(asker: Any) -> Any:
        zombie = Producer(asker)
        await zombie.init()
        await Producer(asker).init()
        own = {"producer_id": zombie.id, "producer_epoch": zombie.epoch} if version >= 3 else {}
        return (await ask_init(asker, version, **own)).error_code

    expected = {3: ErrorCode.invalid_producer_epoch, 4: ErrorCode.producer_fenced}
    assert world.run(scenario) is expected.get(min(version, 4), ErrorCode.none)


async def ask_init(asker: Any, version: int, **fields: object) -> Any:
    given = {"transactional_id": "shop-3", "transaction_timeout": 60_000, **fields}
    return await asker.ask(ApiKey.INIT_PRODUCER_ID, version, **given)


def test_markers_are_sent_until_they_are_taken(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders")
        producer = Producer(asker, is_new=False)
        await producer.init()
        await producer.add("orders", 0)
        await producer.send(topic_id, "a")
        transactions = asker.node.dispatcher._parts.transactions
        write = transactions._write_markers
        tries: list[int] = []

        async def at_the_third_try(end: Any, partitions: Any) -> Any:
            tries.append(len(partitions))
            if len(tries) < 3:
                return dict.fromkeys(partitions, ErrorCode.not_enough_replicas)
            return await write(end, partitions)

        transactions._write_markers = at_the_third_try
        await producer.end(commit=True)
        busy = await producer.add("orders", 0)
        await asyncio.sleep(1)
        return tries, busy, await read_committed(asker, topic_id), transactions._finishing

    tries, busy, found, finishing = world.run(scenario)
    assert (tries, busy) == ([1, 1, 1], ErrorCode.concurrent_transactions)
    assert (found, finishing) == (["a"], {})


def test_marker_that_is_superseded_ends_nothing_more(world: Any) -> None:
    """Loaded again, a coordinator sends markers again: the sender of before must not come late."""

    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders")
        producer = Producer(asker, is_new=False)
        await producer.init()
        await producer.add("orders", 0)
        await producer.send(topic_id, "a")
        transactions = asker.node.dispatcher._parts.transactions
        write = transactions._write_markers
        hold_markers(asker.node)
        await producer.end(commit=True)
        transactions._write_markers = write
        index = transactions.partition_for("shop-3")
        prepared = replace(transactions._finishing["shop-3"])
        transactions.perform(index, SendMarkers(prepared))
        await asyncio.sleep(0.02)
        assert await producer.add("orders", 0) is ErrorCode.none
        await producer.send(topic_id, "b")
        await asyncio.sleep(1)
        return await read_committed(asker, topic_id)

    assert world.run(scenario) == ["a"]
