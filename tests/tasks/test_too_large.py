"""A record larger than its topic takes: its policy decides, and the rest is written once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import streamkit as sk
from streamkit.common.errors import ProductionError, StreamkitError
from streamkit.common.model import TopicPartition
from streamkit.tasks.collector import LIMIT_KNOWN_MS, Collector
from streamkit.tasks.local_stores import NotHereError

RECORDS = 60
LARGE = (17, 41)
LIMIT = 2_000
EXACTLY_ONCE = {"processing.guarantee": "exactly_once_v2"}
AT_LEAST_ONCE = {"processing.guarantee": "at_least_once", "commit.interval.ms": 50}


def program(policy: Any, config: Mapping[str, object]) -> sk.App:
    """Counts the records of each key, and repeats each into a topic of small records."""
    app = sk.App("large", on_production_error=policy, config=config)
    stream = app.stream("in", key=str, value=str)
    stream.group_by_key().count(name="counts")
    stream.to("small")
    return app


async def feed(bootstrap: str) -> None:
    async with sk.client.Admin({"bootstrap.servers": bootstrap}) as admin:
        small = {"max.message.bytes": str(LIMIT)}
        topics = [sk.client.NewTopic(name, 1) for name in ("in", "dlq")]
        await admin.create_topics([*topics, sk.client.NewTopic("small", 1, configs=small)])
    async with sk.client.Producer({"bootstrap.servers": bootstrap}) as producer:
        for number in range(RECORDS):
            value = b"x" * (LIMIT + number) if number in LARGE else b"v"
            await producer.send("in", value, key=b"%d" % number)


async def keys_of(bootstrap: str, topic: str, until: bytes) -> list[bytes | None]:
    """The keys of a topic, up to one."""
    config = {"bootstrap.servers": bootstrap, "isolation.level": "read_committed"}
    async with sk.client.Consumer(config) as consumer, asyncio.timeout(30):
        consumer.assign({TopicPartition(topic, 0): 0})
        found = []
        async for record in consumer:
            found.append(record.key)
            if record.key == until:
                return found
    raise AssertionError("the topic has no end")


async def read(counts: Any, key: str) -> int | None:
    """The count of a key; None while its task is rolled back."""
    try:
        count: int | None = await counts.get(key)
    except NotHereError:
        return None
    return count


async def run(bootstrap: str, app: sk.App, state: Path) -> tuple[list[Any], dict[str, int]]:
    """Keys written, and the counts at the end."""
    await feed(bootstrap)
    async with app.worker(bootstrap=bootstrap, config={"state.dir": str(state)}) as worker:
        keys = await keys_of(bootstrap, "small", b"%d" % (RECORDS - 1))
        counts = worker.store("counts")
        async with asyncio.timeout(60):
            while await read(counts, str(RECORDS - 1)) is None:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.02)
        return keys, {key: value async for key, value in counts.range()}


KEPT = [b"%d" % number for number in range(RECORDS) if number not in LARGE]


@pytest.mark.parametrize("policy", ["skip", sk.dead_letter("dlq")], ids=["skip", "dead letter"])
def test_each_other_record_counts_once(policy: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sk.Broker() as broker:
            app = program(policy, EXACTLY_ONCE)
            keys, counts = await run(broker.bootstrap, app, tmp_path)
            assert keys == KEPT
            assert counts == {key.decode(): 1 for key in KEPT}
            if policy != "skip":
                letters = await keys_of(broker.bootstrap, "dlq", b"%d" % LARGE[1])
                assert letters == [b"%d" % number for number in LARGE]

    asyncio.run(scenario())


def test_handler_by_kafka_s_name_ends_only_the_call(tmp_path: Path) -> None:
    config = {**EXACTLY_ONCE, "production.exception.handler": "log_and_continue"}

    async def scenario() -> None:
        async with sk.Broker() as broker:
            keys, counts = await run(broker.bootstrap, program(None, config), tmp_path)
            assert keys == KEPT
            # As in Kafka Streams the store keeps what was put before the record failed.
            assert counts == {str(number): 1 for number in range(RECORDS)}

    asyncio.run(scenario())


def test_at_least_once_goes_on_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sk.Broker() as broker:
            keys, counts = await run(broker.bootstrap, program("skip", AT_LEAST_ONCE), tmp_path)
            assert set(keys) == set(KEPT)
            assert set(counts) >= {key.decode() for key in KEPT}

    asyncio.run(scenario())


def test_without_a_policy_the_worker_says_which_record_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with sk.Broker() as broker:
            await feed(broker.bootstrap)
            app, config = program(None, EXACTLY_ONCE), {"state.dir": str(tmp_path)}
            async with app.worker(bootstrap=broker.bootstrap, config=config), asyncio.timeout(60):
                while f"in-0 offset {LARGE[0]}" not in caplog.text:  # noqa: ASYNC110  # nobody tells
                    await asyncio.sleep(0.02)

    with pytest.raises(StreamkitError, match=f"max.message.bytes={LIMIT}"):
        asyncio.run(scenario())


def test_limit_of_a_topic_counts_headers_and_is_forgotten() -> None:
    collector = Collector(10_000, 0, lambda count: 0)
    collector.now_ms = 5_000
    writer = collector.writer("small")
    writer.set_count(1)
    writer.set_bytes_max(300)
    writer.append(b"k", b"v" * 150, 7)
    with pytest.raises(ProductionError, match="larger than topic small takes"):
        writer.append(b"k", b"v" * 150, 7, (("h", b"x" * 150),))
    collector.now_ms += LIMIT_KNOWN_MS
    writer.append(b"k", b"v" * 900, 7)


def test_what_is_small_once_it_is_compressed_is_not_refused() -> None:
    collector = Collector(10_000, 4, lambda count: 0)
    writer = collector.writer("small")
    writer.set_count(1)
    writer.set_bytes_max(300)
    writer.append(b"k", b"v" * 5_000, 7)
