"""Registry serdes on a real registry (Apicurio's), beside Confluent's own serializers."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient, SchemaRegistryError
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import SerializationContext

import streamkit as sk
from streamkit import serdes
from streamkit.common.errors import SerializationError
from tests.harness import wait_for
from tests.ports import free_ports
from tests.shop_messages import Line, Order

pytestmark = pytest.mark.judge

REGISTRY = Path(__file__).parent / "registry"

SALE = """{"type": "record", "name": "Sale", "namespace": "shop", "fields": [
    {"name": "item", "type": "string"}, {"name": "amount", "type": "long"}]}"""
JSON = """{"title": "Sale", "type": "object", "required": ["item"], "properties": {
    "item": {"type": "string"}, "amount": {"type": "integer"}}}"""
ROW = {"item": "pen", "amount": 7}


@dataclass
class Sale:
    item: str
    amount: int


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_ports(1)
    log = tmp_path_factory.mktemp("registry") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(REGISTRY), "run", str(port)], stdout=output, stderr=subprocess.STDOUT
        )
    made = f"http://127.0.0.1:{port}/apis/ccompat/v7"
    try:
        wait_for(lambda: answers(made), 90, f"the registry ({log})")
        yield made
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def answers(url: str) -> bool:
    from urllib.error import URLError
    from urllib.request import urlopen

    try:
        with urlopen(f"{url}/subjects", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def value_of(topic: str) -> SerializationContext:
    return SerializationContext(topic, "value")


def message() -> Any:
    made = Order(item="pen", amount=7)
    made.price.cents = 250
    return made


CASES: dict[str, tuple[Callable[[str], Any], Callable[[Any], Any], Callable[[Any], Any], Any]] = {
    "avro": (
        lambda url: serdes.avro(SALE, registry=url),
        lambda client: AvroSerializer(client, SALE),
        AvroDeserializer,
        ROW,
    ),
    "json": (
        lambda url: serdes.json_schema(JSON, registry=url),
        lambda client: JSONSerializer(JSON, client),
        lambda client: JSONDeserializer(JSON, None, client),
        ROW,
    ),
    "protobuf": (
        lambda url: serdes.protobuf(Order, registry=url),
        lambda client: ProtobufSerializer(Order, client),
        lambda client: ProtobufDeserializer(Order, None, client),
        message(),
    ),
    "nested": (
        lambda url: serdes.protobuf(Line, registry=url),
        lambda client: ProtobufSerializer(Line, client),
        lambda client: ProtobufDeserializer(Line, None, client),
        Line(number=7),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_both_read_what_the_other_has_written(url: str, name: str) -> None:
    ours, writer, reader, value = CASES[name]
    client = SchemaRegistryClient({"url": url})
    serde = ours(url)
    theirs = writer(client)(value, value_of(f"{name}-theirs"))
    assert serde.deserialize(f"{name}-theirs", theirs, ()) == value
    written = serde.serialize(f"{name}-ours", value, ())
    assert reader(client)(written, value_of(f"{name}-ours")) == value
    assert f"{name}-ours-value" in client.get_subjects()


def test_topology_registers_the_subjects_of_kafka_streams(url: str) -> None:
    app = sk.App("shop")
    sale = serdes.avro(SALE, registry=url, model=Sale)
    text = serdes.avro('"string"', registry=url)
    sales = app.topic("sales", key=text, value=sale)
    latest = (
        app.stream(sales)
        .group_by(lambda _, sale: sale.item, key=text)
        .reduce(lambda _, new: new, name="latest")
    )
    latest.to_stream().to(app.topic("latest", key=text, value=sale))
    with app.test() as t:
        for amount in (7, 8):
            t.pipe(sales, "ann", Sale("pen", amount), at=77)
        assert [record.value for record in t.read("latest")] == [Sale("pen", 7), Sale("pen", 8)]
    subjects = SchemaRegistryClient({"url": url}).get_subjects()
    for topic in ("sales", "latest", "shop-latest-repartition", "shop-latest-changelog"):
        assert {f"{topic}-key", f"{topic}-value"} <= set(subjects)


def test_schema_evolves_and_what_is_not_compatible_is_refused(url: str) -> None:
    client = SchemaRegistryClient({"url": url})
    client.set_compatibility("evolved-value", "BACKWARD")
    old = serdes.avro(SALE, registry=url).serialize("evolved", ROW, ())
    newer = SALE[:-2] + ', {"name": "price", "type": "int", "default": 3}]}'
    serde = serdes.avro(newer, registry=url)
    assert serde.deserialize("evolved", old or b"", ()) == {**ROW, "price": 3}
    assert serde.serialize("evolved", {**ROW, "price": 5}, ()) is not None
    assert len(client.get_versions("evolved-value")) == 2
    broken = serdes.avro(SALE.replace('"long"', '"string"'), registry=url)
    with pytest.raises(SerializationError, match="HTTP status code 409") as caught:
        broken.serialize("evolved", {"item": "pen", "amount": "7"}, ())
    assert isinstance(caught.value.__cause__, SchemaRegistryError)


def test_unknown_id_and_missing_guid_are_told(url: str) -> None:
    with pytest.raises(SerializationError, match=r"schema id 77777: .*HTTP status code 404"):
        serdes.avro(SALE, registry=url).deserialize(
            "t", b"\0" + (77777).to_bytes(4, "big") + b"x", ()
        )
    headed: Any = serdes.avro(SALE, registry=url, id_in_header=True)
    with pytest.raises(SerializationError, match=r"has no GUID.*use id_in_header=False"):
        headed.serialize("t", ROW, [])
