"""Produce and Fetch: what is appended is read, and who is told what when it is not."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from streamkit.net.errors import CloseConnection
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode
from streamkit.records import decode, encode, scan

UNKNOWN = UUID(int=987654)


def values_of(records: bytes) -> list[str]:
    found: list[str] = []
    for header in scan(records):
        found += [(value or b"").decode() for value in decode(records, header).values]
    return found


def test_what_was_produced_is_fetched(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        topic = await asker.create("orders")
        first = await asker.produce(topic, "a", "b", "c")
        second = await asker.produce(topic, "d")
        return first, second, await asker.fetch(topic, 0)

    first, second, fetched = world.run(scenario)
    assert (first.base_offset, second.base_offset) == (0, 3)
    assert values_of(fetched.records) == ["a", "b", "c", "d"]
    assert (fetched.high_watermark, fetched.log_start_offset) == (4, 0)


@pytest.mark.parametrize("version", range(3, 13))
def test_old_produce_versions_name_the_topic(world: Any, version: int) -> None:
    async def scenario(asker: Any) -> Any:
        await asker.create("orders")
        records = encode([(b"k", b"v", 1_699_999_000_000, ())])
        data = [{"name": "orders", "partition_data": [{"index": 0, "records": records}]}]
        answer = await asker.ask(ApiKey.PRODUCE, version, acks=1, timeout=1000, topic_data=data)
        return answer.responses[0]

    answer = world.run(scenario)
    assert answer.name == "orders"
    assert answer.partition_responses[0].error_code == ErrorCode.none


@pytest.mark.parametrize("version", range(4, 13))
def test_old_fetch_versions_name_the_topic(world: Any, version: int) -> None:
    async def scenario(asker: Any) -> Any:
        topic = await asker.create("orders")
        await asker.produce(topic, "x", "y")
        partition = {"partition": 0, "fetch_offset": 1, "partition_max_bytes": 9999}
        answer = await asker.ask(
            ApiKey.FETCH,
            version,
            max_wait=0,
            min_bytes=1,
            max_bytes=9999,
            topics=[{"topic": "orders", "partitions": [partition]}],
        )
        return answer.responses[0]

    answer = world.run(scenario)
    assert answer.topic == "orders"
    assert values_of(answer.partitions[0].records) == ["x", "y"]


def test_acks_zero_gets_no_answer_and_a_failure_closes(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        topic = await asker.create("orders")
        assert await asker.produce(topic, "quiet", acks=0) is None
        with pytest.raises(CloseConnection):
            await asker.produce(UNKNOWN, "lost", acks=0)
        return await asker.fetch(topic, 0)

    assert values_of(world.run(scenario).records) == ["quiet"]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"acks": 2}, ErrorCode.invalid_required_acks),
        ({"partition": 5}, ErrorCode.unknown_topic_or_partition),
        ({"base_offset": 0, "producer_id": 8, "base_sequence": -1}, ErrorCode.invalid_record),
    ],
)
def test_bad_produce_is_refused(world: Any, given: dict[str, int], code: ErrorCode) -> None:
    async def scenario(asker: Any) -> Any:
        topic = await asker.create("orders")
        return await asker.produce(topic, "v", **given)

    assert world.run(scenario).error_code in (code, ErrorCode.unknown_topic_id)


def test_unknown_topic_id_is_told_apart(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        return await asker.produce(UNKNOWN, "v"), await asker.fetch(UNKNOWN, 0)

    produced, fetched = world.run(scenario)
    assert produced.error_code == ErrorCode.unknown_topic_id
    assert fetched.error_code == ErrorCode.unknown_topic_id


def test_internal_topic_takes_no_records_of_clients(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        await asker.ask(ApiKey.FIND_COORDINATOR, key_type=0, coordinator_keys=["shop"])
        answer = await asker.ask(ApiKey.METADATA, topics=[{"name": "__consumer_offsets"}])
        topic = answer.topics[0]
        assert topic.is_internal
        return await asker.produce(topic.topic_id, "v")

    assert world.run(scenario).error_code == ErrorCode.invalid_topic_exception


def test_repeated_sequence_is_answered_with_its_first_offset(world: Any) -> None:
    async def scenario(asker: Any) -> list[Any]:
        topic = await asker.create("orders")
        made = await asker.ask(ApiKey.INIT_PRODUCER_ID, transactional_id=None)
        assert made.error_code == ErrorCode.none
        as_producer = {"producer_id": made.producer_id, "producer_epoch": made.producer_epoch}
        answers = [await asker.produce(topic, "before")]
        for sequence in (0, 0, 1, 5):
            answers.append(
                await asker.produce(topic, "once", base_sequence=sequence, **as_producer)
            )
        return answers

    _, first, again, second, gap = world.run(scenario)
    assert (first.base_offset, again.base_offset, second.base_offset) == (1, 1, 2)
    assert again.error_code == ErrorCode.none
    assert gap.error_code == ErrorCode.out_of_order_sequence_number


def test_producer_ids_are_given_once_also_over_a_restart(world: Any) -> None:
    async def ids(node: Any) -> list[int]:
        asker = world.asker(node)
        return [
            (await asker.ask(ApiKey.INIT_PRODUCER_ID, transactional_id=None)).producer_id
            for _ in range(3)
        ]

    async def main() -> list[int]:
        found: list[int] = []
        for _ in range(2):
            async with world.node() as node:
                found += await ids(node)
        return found

    found = world.simulation.run(main())
    assert len(set(found)) == 6


def test_fetch_waits_for_records(world: Any) -> None:
    async def scenario(asker: Any) -> tuple[Any, float]:
        topic = await asker.create("orders")
        waiting = asyncio.ensure_future(asker.fetch(topic, 0, max_wait=30_000))
        await asyncio.sleep(4.0)
        assert not waiting.done()
        await asker.produce(topic, "late")
        return await waiting, world.simulation.loop.time()

    fetched, now_s = world.run(scenario)
    assert values_of(fetched.records) == ["late"]
    assert now_s < 5.0


def test_fetch_waits_for_min_bytes_no_longer_than_max_wait(world: Any) -> None:
    async def scenario(asker: Any) -> tuple[Any, float]:
        topic = await asker.create("orders")
        await asker.produce(topic, "little")
        started = world.simulation.loop.time()
        fetched = await asker.fetch(topic, 0, max_wait=7_000, min_bytes=100_000)
        return fetched, world.simulation.loop.time() - started

    fetched, waited_s = world.run(scenario)
    assert values_of(fetched.records) == ["little"]
    assert waited_s == pytest.approx(7.0)


def test_fetch_outside_the_log_is_told_its_start(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        topic = await asker.create("orders")
        await asker.produce(topic, "only")
        return await asker.fetch(topic, 9)

    fetched = world.run(scenario)
    assert fetched.error_code == ErrorCode.offset_out_of_range
    assert fetched.log_start_offset == 0


def test_first_partition_gives_a_whole_batch_over_the_limit(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        topic = await asker.create("orders", 2)
        for index in (0, 1):
            await asker.produce(topic, "v" * 500, partition=index)
        partitions = [
            {"partition": index, "fetch_offset": 0, "partition_max_bytes": 10} for index in (0, 1)
        ]
        answer = await asker.ask(
            ApiKey.FETCH,
            max_wait=0,
            min_bytes=1,
            max_bytes=100,
            topics=[{"topic_id": topic, "partitions": partitions}],
        )
        return answer.responses[0].partitions

    first, second = world.run(scenario)
    assert values_of(first.records) == ["v" * 500]
    assert values_of(second.records or b"") == []


def test_stale_and_future_leader_epochs_are_refused(world: Any) -> None:
    async def scenario(asker: Any) -> list[int]:
        topic = await asker.create("orders")
        codes = []
        for epoch in (-1, 0, 31):
            partition = {
                "partition": 0,
                "fetch_offset": 0,
                "partition_max_bytes": 10,
                "current_leader_epoch": epoch,
            }
            fetched = await asker.fetch(
                topic, 0, topics=[{"topic_id": topic, "partitions": [partition]}]
            )
            codes.append(fetched.error_code)
        return codes

    assert world.run(scenario) == [
        ErrorCode.none,
        ErrorCode.none,
        ErrorCode.unknown_leader_epoch,
    ]


@pytest.mark.parametrize(
    ("last_epoch", "code", "diverging"),
    [
        (0, ErrorCode.none, None),
        (1, ErrorCode.none, (0, 2)),
        (2, ErrorCode.none, (0, 2)),
        (3, ErrorCode.none, None),
        (4, ErrorCode.offset_out_of_range, None),
    ],
)
def test_reader_is_told_where_what_it_read_was_lost(
    world: Any, last_epoch: int, code: ErrorCode, diverging: tuple[int, int] | None
) -> None:
    """Epochs 1 and 2 left nothing, and in epoch 3 nothing is written yet."""

    async def scenario(asker: Any) -> Any:
        topic = await asker.create("orders")
        await asker.produce(topic, "a", "b")
        partition = asker.node.dispatcher._parts.replicas.find(topic, 0)
        partition.lead(partition.leadership._replace(epoch=3), is_leader=True)
        asked = {
            "partition": 0,
            "fetch_offset": 2,
            "last_fetched_epoch": last_epoch,
            "partition_max_bytes": 1000,
            "current_leader_epoch": 3,
        }
        fetched = await asker.fetch(topic, 0, topics=[{"topic_id": topic, "partitions": [asked]}])
        ends = await asker.ask(
            ApiKey.OFFSET_FOR_LEADER_EPOCH,
            topics=[
                {
                    "topic": "orders",
                    "partitions": [
                        {"partition": 0, "current_leader_epoch": 3, "leader_epoch": last_epoch}
                    ],
                }
            ],
        )
        return fetched, ends.topics[0].partitions[0]

    fetched, end = world.run(scenario)
    assert fetched.error_code is code
    if diverging is not None:
        told = fetched.diverging_epoch
        assert (told.epoch, told.end_offset) == diverging == (end.leader_epoch, end.end_offset)
    if code is not ErrorCode.none:
        assert (end.leader_epoch, end.end_offset) == (-1, -1)


def test_session_says_only_what_is_new(world: Any) -> None:
    async def scenario(asker: Any) -> list[Any]:
        topic = await asker.create("orders", 3)
        partitions = [
            {"partition": index, "fetch_offset": 0, "partition_max_bytes": 999}
            for index in range(3)
        ]
        common = {"max_wait": 0, "min_bytes": 1, "max_bytes": 9999}
        full = await asker.ask(
            ApiKey.FETCH,
            session_id=0,
            session_epoch=0,
            topics=[{"topic_id": topic, "partitions": partitions}],
            **common,
        )
        await asker.produce(topic, "new", partition=1)
        more = {"session_id": full.session_id, "topics": []}
        second = await asker.ask(ApiKey.FETCH, session_epoch=1, **more, **common)
        wrong = await asker.ask(ApiKey.FETCH, session_epoch=1, **more, **common)
        return [full, second, wrong]

    full, second, wrong = world.run(scenario)
    assert full.session_id > 0
    assert [each.partition_index for each in full.responses[0].partitions] == [0, 1, 2]
    assert [each.partition_index for each in second.responses[0].partitions] == [1]
    assert wrong.error_code == ErrorCode.invalid_fetch_session_epoch
    assert wrong.responses == ()


def test_too_few_insync_replicas_refuse_acks_all_only(world: Any) -> None:
    async def scenario(asker: Any) -> list[int]:
        topic = await asker.create("orders", min_insync_replicas="2")
        return [(await asker.produce(topic, "v", acks=acks)).error_code for acks in (-1, 1)]

    assert world.run(scenario) == [ErrorCode.not_enough_replicas, ErrorCode.none]
