"""A Kafka Streams application in Java as a streams group on our broker, through crashes.

Its final tables must be those that the input gives when it is counted directly.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient

from streamkit.testing.broker import Broker
from tests.foreign import create_topics, read_confluent
from tests.harness import wait_for
from tests.judges.conftest import KafkaTool
from tests.judges.java_application import JavaInstance
from tests.judges.word_feed import group_lag

pytestmark = pytest.mark.judge

GROUP = "java-shop"
PARTITIONS = 4
WINDOW_MS = 10_000
CUSTOMERS = 200
REGIONS = ("north", "east", "south", "west", "centre")
ORDERS_PER_S = 1_500
FEED_S = 20.0
BEGIN_MS = int(time.time()) * 1000
"""Older records would fall to the topics' retention."""

REPARTITION = f"{GROUP}-per-region-repartition"
CHANGELOGS = [f"{GROUP}-{store}-changelog" for store in ("customers", "sums", "per-region")]

WINDOW = {"type": "tumbling", "size_ms": WINDOW_MS, "grace_ms": 86_400_000}
TOPOLOGY = [
    {"id": "orders", "op": "stream", "topic": "orders", "key": "string", "value": "long"},
    {
        "id": "customers",
        "op": "table",
        "topic": "customers",
        "key": "string",
        "value": "string",
        "store": {"name": "customers"},
    },
    {"id": "by-customer", "op": "group_by_key", "of": "orders", "key": "string", "value": "long"},
    {"id": "windows", "op": "windowed_by", "of": "by-customer", "window": WINDOW},
    {
        "id": "sums",
        "op": "reduce",
        "of": "windows",
        "fn": "sum",
        "store": {"name": "sums", "value": "long"},
    },
    {"id": "sums-out", "op": "to_stream", "of": "sums", "key_fn": "key | text"},
    {"op": "to", "of": "sums-out", "topic": "sums", "key": "string", "value": "long"},
    {
        "id": "joined",
        "op": "join",
        "of": "orders",
        "with": "customers",
        "fn": "last",
        "value": "long",
        "other_value": "string",
    },
    {
        "id": "by-region",
        "op": "group_by",
        "of": "joined",
        "fn": "value",
        "name": "per-region",
        "key": "string",
        "value": "string",
    },
    {"id": "region-windows", "op": "windowed_by", "of": "by-region", "window": WINDOW},
    {"id": "counts", "op": "count", "of": "region-windows", "store": {"name": "per-region"}},
    {"id": "counts-out", "op": "to_stream", "of": "counts", "key_fn": "key | text"},
    {"op": "to", "of": "counts-out", "topic": "regions", "key": "string", "value": "long"},
]


@dataclass(slots=True)
class Orders:
    """A steady stream of orders, and the tables that must come of it."""

    bootstrap: str
    sums: Counter[str] = field(default_factory=Counter)
    regions: Counter[str] = field(default_factory=Counter)
    count: int = 0

    def send_customers(self) -> None:
        producer = confluent_kafka.Producer({"bootstrap.servers": self.bootstrap})
        for number in range(CUSTOMERS):
            region = region_of(number)
            producer.produce("customers", region, f"c{number}", timestamp=BEGIN_MS)
        assert producer.flush(30) == 0

    def feed(self) -> None:
        """Write orders for FEED_S seconds; their timestamps follow the clock."""
        chance = random.Random(7_411)
        producer = confluent_kafka.Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 5})
        began = time.monotonic()
        while (passed := time.monotonic() - began) < FEED_S:
            while self.count < passed * ORDERS_PER_S:
                self._send(producer, chance)
            producer.poll(0.01)
        assert producer.flush(60) == 0

    def _send(self, producer: confluent_kafka.Producer, chance: random.Random) -> None:
        number, amount = chance.randrange(CUSTOMERS), chance.randrange(1_000)
        at = self.count * 1000 // ORDERS_PER_S + 1
        value = amount.to_bytes(8, "big")
        producer.produce("orders", value, f"c{number}", timestamp=BEGIN_MS + at)
        start = (BEGIN_MS + at) // WINDOW_MS * WINDOW_MS
        window = f"{start}/{start + WINDOW_MS}"
        self.sums[f"c{number}@{window}"] += amount
        self.regions[f"{region_of(number)}@{window}"] += 1
        self.count += 1


def region_of(customer: int) -> str:
    return REGIONS[customer % len(REGIONS)]


def committed_table(bootstrap: str, topic: str) -> dict[str, int]:
    """The last committed value of each key."""
    rows = read_confluent(bootstrap, topic, PARTITIONS)
    return {(key or b"").decode(): int.from_bytes(value or b"", "big") for key, value in rows}


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as running:
        create_topics(running.bootstrap, PARTITIONS, "orders", "customers", "sums", "regions")
        yield running


@dataclass(frozen=True, slots=True)
class Shop:
    """The application: its topology in a file, and where its instances keep their state."""

    broker: Broker
    directory: Path

    def instance(self, name: str) -> JavaInstance:
        settings = {
            "application.id": GROUP,
            "bootstrap.servers": self.broker.bootstrap,
            "group.protocol": "streams",
            "processing.guarantee": "exactly_once_v2",
            "commit.interval.ms": "200",
            "auto.offset.reset": "earliest",
            "transaction.timeout.ms": "10000",
        }
        return JavaInstance(self.directory / "shop.json", self.directory / name, settings)

    def wait_processed(self) -> None:
        sources = dict.fromkeys(("orders", "customers", REPARTITION), PARTITIONS)
        lag = partial(group_lag, self.broker.bootstrap, GROUP, sources)
        wait_for(lambda: lag() == 0, 60, "all input processed")

    def tables(self) -> tuple[dict[str, int], dict[str, int]]:
        at = self.broker.bootstrap
        return committed_table(at, "sums"), committed_table(at, "regions")

    def topics(self) -> set[str]:
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap})
        return {name for name in admin.list_topics(timeout=60).topics if name.startswith(GROUP)}


@pytest.fixture(scope="module")
def shop(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    directory = tmp_path_factory.mktemp("shop")
    (directory / "shop.json").write_text(json.dumps({"topology": TOPOLOGY}))
    return Shop(broker, directory)


@pytest.fixture(scope="module")
def orders(broker: Broker) -> Orders:
    return Orders(broker.bootstrap)


def test_life_of_an_application(shop: Shop, orders: Orders, kafka_tool: KafkaTool) -> None:
    tables_are_exact_after_kills_and_restarts(shop, orders, kafka_tool)
    reset_by_tool_computes_the_same_tables_again(shop, orders, kafka_tool)
    delete_by_tool_takes_the_internal_topics_along(shop, kafka_tool)


def tables_are_exact_after_kills_and_restarts(
    shop: Shop, orders: Orders, kafka_tool: KafkaTool
) -> None:
    at = ("--bootstrap-server", shop.broker.bootstrap)
    config = "streams.num.standby.replicas=1"
    kafka_tool("configs", *at, "--group", GROUP, "--alter", "--add-config", config)
    orders.send_customers()
    with ExitStack() as stack:
        first, second, third = (stack.enter_context(shop.instance(name)) for name in "abc")
        for each in (first, second, third):
            each.wait_running(tasks=1)
        feed = threading.Thread(target=orders.feed, name="feed")
        feed.start()
        described = kafka_tool("streams-groups", *at, "--describe", "--group", GROUP, "--members")
        assert described.count("StreamThread-1-consumer") == 3, described
        for each in (first, second, third):
            wait_for(lambda each=each: each.events("standby_start"), 30, "its standbys")
        lags = kafka_tool("streams-groups", *at, "--describe", "--group", GROUP, "--verbose")
        assert lags.count(REPARTITION) == PARTITIONS, lags
        first.kill()
        second.wait_running(tasks=3)
        first.start()
        first.wait_running(tasks=1)
        assert second.stop() == 0
        third.kill()
        second.start()
        third.start()
        feed.join()
        shop.wait_processed()
        for each in (first, second, third):
            each.wait_running(tasks=1)
            assert each.stop() == 0
            assert not each.events("error"), each.events("error")
    assert shop.tables() == (orders.sums, orders.regions)
    print(f"\n{orders.count} orders, {len(orders.sums)} sums: exact\n{described}\n{lags}")


def reset_by_tool_computes_the_same_tables_again(
    shop: Shop, orders: Orders, kafka_tool: KafkaTool
) -> None:
    streams_groups = partial(
        kafka_tool, "streams-groups", "--bootstrap-server", shop.broker.bootstrap
    )
    described = ("--describe", "--group", GROUP, "--state", "--verbose")
    # An instance that says nothing when it stops is gone after its session: 45 s.
    wait_for(lambda: "Empty" in streams_groups(*described), 90, "an empty group")
    state = streams_groups(*described)
    told = streams_groups(
        "--group", GROUP, "--reset-offsets", "--to-earliest", "--all-input-topics", "--execute",
        "--delete-all-internal-topics",
    )  # fmt: skip
    print(f"\n{state}\n{told}")
    wait_for(lambda: not shop.topics(), 10, "the end of the internal topics")
    with shop.instance("anew") as instance:
        instance.wait_running(tasks=2 * PARTITIONS)
        shop.wait_processed()
        assert instance.stop() == 0
    assert shop.tables() == (orders.sums, orders.regions)
    assert shop.topics() == {REPARTITION, *CHANGELOGS}


def delete_by_tool_takes_the_internal_topics_along(shop: Shop, kafka_tool: KafkaTool) -> None:
    at = ("--bootstrap-server", shop.broker.bootstrap)
    assert GROUP in kafka_tool("streams-groups", *at, "--list")
    told = kafka_tool(
        "streams-groups", *at, "--delete", "--group", GROUP, "--delete-all-internal-topics"
    )
    print(f"\n{told}")
    assert GROUP not in kafka_tool("streams-groups", *at, "--list")
    wait_for(lambda: not shop.topics(), 10, "the end of the internal topics")
