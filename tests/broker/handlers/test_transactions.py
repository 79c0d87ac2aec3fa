"""Transactions through the handlers: both client generations, from InitProducerId to the marker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

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
        return found.results_by_partition[0].partition_error_code

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
        return answer.topics[0].partitions[0].error_code


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
