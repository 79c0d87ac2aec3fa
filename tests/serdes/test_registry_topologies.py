"""Registry serdes in topologies: subjects as Kafka Streams names them, and records that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer
from confluent_kafka.serialization import SerializationContext

import streamkit as sk
from streamkit import serdes
from streamkit.common.errors import DeserializationError, RetriableSerializationError
from streamkit.common.model import TaskId
from streamkit.state.cache import CacheBudget
from streamkit.tasks.collector import Collector
from streamkit.tasks.failures import Failures, TaskFailedError
from streamkit.tasks.savepoint import Savepoint
from streamkit.topology.failures import Policies
from streamkit.topology.operators.node import Node, ProcessorContext, SourceNode
from tests.schema_registry import RegistryServer
from tests.shop_messages import Order

SALE = """{"type": "record", "name": "Sale", "fields": [
    {"name": "item", "type": "string"}, {"name": "amount", "type": "long"}]}"""
TEXT = '"string"'


def subjects(name: str) -> set[str]:
    return set(serdes.SchemaRegistry(f"mock://{name}").client.get_subjects())


def by_item(sale: dict[str, Any]) -> str:
    return str(sale["item"])


def test_internal_topics_have_the_subjects_of_kafka_streams() -> None:
    app = sk.App("shop")
    text, sale = (serdes.avro(schema, registry="mock://shop") for schema in (TEXT, SALE))
    sales = app.topic("sales", key=text, value=sale)
    latest = (
        app.stream(sales)
        .group_by(lambda _, sale: sale["item"], key=text)
        .reduce(lambda _, new: new, name="latest")
    )
    latest.to_stream().to(app.topic("latest", key=text, value=sale))
    with app.test() as t:
        t.pipe(sales, "ann", {"item": "pen", "amount": 7}, at=77)
        t.pipe(sales, "bob", {"item": "pen", "amount": 8}, at=78)
        found = [(record.key, record.value["amount"]) for record in t.read("latest")]
        assert found == [("pen", 7), ("pen", 8)]
        assert t.store("latest").get("pen") == {"item": "pen", "amount": 8}
    topics = ("sales", "latest", "shop-latest-repartition", "shop-latest-changelog")
    sides = {f"{topic}-{side}" for topic in topics for side in ("key", "value")}
    assert subjects("shop") == sides


def test_windowed_and_foreign_keys_have_the_subjects_of_kafka_streams() -> None:
    app = sk.App("joined")
    text, sale = (serdes.avro(schema, registry="mock://joined") for schema in (TEXT, SALE))
    sales = app.table(app.topic("sales", key=text, value=sale))
    items = app.table(app.topic("items", key=text, value=sale))
    joined = sales.join(
        items, lambda sale, _: sale, on=lambda _, sale: by_item(sale), node="priced", value=sale
    )
    joined.to_stream().to(app.topic("priced", key=text, value=sale))
    with app.test() as t:
        t.pipe("items", "pen", {"item": "blue", "amount": 1}, at=77)
        t.pipe("sales", "ann", {"item": "pen", "amount": 7}, at=78)
        assert [(r.key, r.value["amount"]) for r in t.read("priced")] == [("ann", 7)]
    registration = "joined-priced-subscription-registration-topic"
    found = {name for name in subjects("joined") if "subscription" in name}
    # KTableImpl gives the serdes pseudo-topics: primary key, foreign key, hashed value.
    assert found == {
        f"{registration}-key", f"{registration}-pk-key", f"{registration}-fk-key",
        f"{registration}-vh-value", "joined-priced-subscription-response-topic-key",
        "joined-priced-subscription-response-topic-value",
    }  # fmt: skip


def test_ids_in_headers_go_through_a_topology() -> None:
    registry = "mock://headed"
    app = sk.App("headed")
    sale = serdes.avro(SALE, registry=registry, id_in_header=True)
    sales, out = app.topic("sales", key=str, value=sale), app.topic("out", key=str, value=sale)
    plain = app.topic("plain", key=str, value=serdes.avro(SALE, registry=registry))
    stream = app.stream(sales)
    stream.to(out)
    stream.to(plain)
    stream.to_table(name="rows")
    with app.test() as t:
        t.pipe(sales, "ann", {"item": "pen", "amount": 7}, at=77, headers=(("h", b"x"),))
        written = {record.tp.topic: record for record in t.written}
        names = [name for name, _ in written["out"].headers]
        assert names == ["h", "__value_schema_id"]
        assert (written["out"].value or b"")[0] != 0
        assert (written["plain"].value or b"")[0] == 0
        assert [name for name, _ in written["plain"].headers] == ["h"]
        assert [r.value for r in t.read(out)] == [{"item": "pen", "amount": 7}]
        assert [r.value for r in t.read(plain)] == [{"item": "pen", "amount": 7}]
        assert t.store("rows").get("ann") == {"item": "pen", "amount": 7}


def test_poison_goes_to_the_dead_letters_with_the_reason() -> None:
    app = sk.App("poison", on_deserialization_error=sk.dead_letter("dlq"))
    sales = app.topic("sales", key=str, value=serdes.avro(SALE, registry="mock://poison"))
    app.stream(sales).map_values(by_item, value=str).to("out")
    with app.test() as t:
        t.pipe_bytes("sales", b"k", b"{}", at=77)
        t.pipe_bytes("sales", b"k", b"\0\0\0\0\x4dxyz", at=77)
        letters = [dict(record.headers) for record in t.written if record.tp.topic == "dlq"]
        said = [letter["__streams.errors.message"] or b"" for letter in letters]
        assert b"does not begin with the magic byte 0" in said[0]
        assert b"schema id 77: the schema registry mock://poison says" in said[1]


class Context(ProcessorContext):
    """A record under way at one node."""

    def __init__(self, node: Node) -> None:
        super().__init__("app", TaskId(0, 3))
        self.topic, self.partition, self.offset = "sales", 3, 77
        self.current = node


UNREACHABLE = DeserializationError("topic sales: cannot be reached")
UNREACHABLE.__cause__ = RetriableSerializationError("cannot be reached")


def test_record_that_cannot_be_read_for_now_waits_up_to_the_task_timeout() -> None:
    context = Context(SourceNode("source", "sales", serdes.string, serdes.string))
    failures = Failures(context, Policies(deserialization=sk.skip()), None, timeout_ms=60_000)
    now_ms, waits = 5_000.0, []
    while not failures.on_record(UNREACHABLE, now_ms):
        waits.append(failures.due_ms - now_ms)
        now_ms = failures.due_ms
    assert waits[:4] == [100, 200, 400, 800]
    assert max(waits) == 10_000
    assert sum(waits) == 60_000
    assert failures.dropped == 1
    failures.settle()
    assert not failures.on_record(UNREACHABLE, now_ms), "another time begins anew"


def test_record_that_went_on_waits_only_where_it_can_be_undone() -> None:
    context = Context(Node("map"))
    with pytest.raises(TaskFailedError, match="cannot be reached"):
        Failures(context, Policies(), None, timeout_ms=60_000).on_record(UNREACHABLE, 5.0)
    collector = Collector(1 << 14, 0, lambda count: 0)
    undone: list[int] = []
    savepoint = Savepoint(collector, CacheBudget(0))
    savepoint.begin()
    savepoint.journal.append((undone.append, (7,)))
    failures = Failures(context, Policies(), savepoint, timeout_ms=60_000)
    assert not failures.on_record(UNREACHABLE, 5.0)
    assert (undone, failures.due_ms) == ([7], 105.0)


def test_worker_waits_for_the_registry_and_loses_nothing(tmp_path: Any) -> None:
    """Confluent writes, a worker reads and writes, Confluent reads; the registry is late."""
    server = RegistryServer()
    registry = serdes.SchemaRegistry(
        server.url, config={"max.retries": 0, "retries.wait.ms": 1, "timeout": 5}
    )
    app = sk.App("late", on_deserialization_error="skip")
    sales = app.topic("sales", key=str, value=serdes.avro(SALE, registry=registry))
    orders = app.topic("orders", key=str, value=serdes.protobuf(Order, registry=registry))

    @app.processor(sales, to=orders)
    def order(sale: dict[str, Any]) -> Order:
        return Order(item=sale["item"], amount=sale["amount"])

    async def scenario() -> list[Any]:
        async with sk.Broker() as broker:
            await make_topics(broker.bootstrap, "sales", "orders")
            await asyncio.to_thread(write_sales, broker.bootstrap, server.url, range(5))
            server.fails_with = 503
            config = {"state.dir": str(tmp_path)}
            async with app.worker(bootstrap=broker.bootstrap, config=config):
                async with asyncio.timeout(60):
                    while not asked_in_vain(server):  # noqa: ASYNC110  # a server tells nobody
                        await asyncio.sleep(0.01)
                server.fails_with = None
                return await asyncio.to_thread(
                    read_values, broker.bootstrap, "orders", 5, order_reader(server.url)
                )

    with server:
        found = asyncio.run(scenario())
    assert [(each.item, each.amount) for each in found] == [(f"item {i}", i) for i in range(5)]


def asked_in_vain(server: RegistryServer) -> bool:
    return sum("/schemas/ids/" in request for request in server.requests) > 2


async def make_topics(bootstrap: str, *names: str) -> None:
    async with sk.client.Admin({"bootstrap.servers": bootstrap}) as admin:
        await admin.create_topics([sk.client.NewTopic(name, 1) for name in names])


def write_sales(bootstrap: str, url: str, numbers: Iterable[int]) -> None:
    write = AvroSerializer(SchemaRegistryClient({"url": url}), SALE)
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
    for i in numbers:
        value = write({"item": f"item {i}", "amount": i}, SerializationContext("sales", "value"))
        producer.produce("sales", value, b"k")
    assert producer.flush(20) == 0


def order_reader(url: str) -> Callable[[bytes], Any]:
    read = ProtobufDeserializer(Order, None, SchemaRegistryClient({"url": url}))
    return lambda data: read(data, SerializationContext("orders", "value"))


def read_values(bootstrap: str, topic: str, count: int, read: Callable[[bytes], Any]) -> list[Any]:
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "judge",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([topic])
    found: list[Any] = []
    for _ in range(200):
        message = consumer.poll(0.1)
        if message is not None:
            assert message.error() is None
            found.append(read(message.value()))
        if len(found) == count:
            break
    consumer.close()
    return found
