"""Serdes with a schema registry, against Confluent's own serializers and a registry over HTTP."""

from __future__ import annotations

import enum
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pytest
from confluent_kafka.schema_registry import (
    SchemaRegistryClient,
    header_schema_id_serializer,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import SerializationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from streamkit import serdes
from streamkit.common.errors import (
    ConfigError,
    RetriableSerializationError,
    SerializationError,
    UsageError,
)
from tests.schema_registry import RegistryServer, subject_of
from tests.shop_messages import Cart, Line, Order

AVRO = """{"type": "record", "name": "Order", "namespace": "shop", "fields": [
    {"name": "item", "type": "string"}, {"name": "amount", "type": "long"},
    {"name": "color", "type": {"type": "enum", "name": "Color", "symbols": ["red", "blue"]}},
    {"name": "on", "type": {"type": "int", "logicalType": "date"}},
    {"name": "note", "type": ["null", "string"], "default": null}]}"""
ROW = {"item": "pen", "amount": 7, "color": "red", "on": date(2026, 11, 21), "note": None}
CLICKS = {
    "title": "Click", "type": "object", "required": ["page"],
    "properties": {"page": {"type": "string"}, "count": {"type": "integer"}},
}  # fmt: skip


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Sale:
    item: str
    amount: int
    color: Color
    on: date
    note: str | None = None


class Click(BaseModel):
    page: str
    at: datetime
    tags: set[str] = set()


@pytest.fixture(scope="module")
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


@pytest.fixture
def client(server: RegistryServer) -> SchemaRegistryClient:
    return SchemaRegistryClient({"url": server.url})


def order() -> Any:
    made = Order(item="pen", amount=7)
    made.at.FromSeconds(77)
    made.price.cents = 250
    return made


def value_of(topic: str) -> SerializationContext:
    return SerializationContext(topic, "value")


PAIRS: list[tuple[str, Callable[[str], Any], Callable[[Any], Any], Callable[[Any], Any], Any]] = [
    (
        "avro",
        lambda url: serdes.avro(AVRO, registry=url),
        lambda client: AvroSerializer(client, AVRO),
        lambda client: AvroDeserializer(client, AVRO),
        ROW,
    ),
    (
        "json",
        lambda url: serdes.json_schema(CLICKS, registry=url),
        lambda client: JSONSerializer(serdes_json(CLICKS), client),
        lambda client: JSONDeserializer(serdes_json(CLICKS), None, client),
        {"page": "/", "count": 7},
    ),
    (
        "protobuf",
        lambda url: serdes.protobuf(Order, registry=url),
        lambda client: ProtobufSerializer(Order, client),
        lambda client: ProtobufDeserializer(Order, None, client),
        order(),
    ),
    (
        "nested",
        lambda url: serdes.protobuf(Line, registry=url),
        lambda client: ProtobufSerializer(Line, client),
        lambda client: ProtobufDeserializer(Line, None, client),
        Line(number=7),
    ),
]


def serdes_json(value: Any) -> str:
    return (serdes.json.serialize("", value, ()) or b"").decode()


@pytest.mark.parametrize(
    ("name", "ours", "write", "read", "value"), PAIRS, ids=[p[0] for p in PAIRS]
)
def test_what_confluent_writes_is_read_and_the_other_way_round(
    server: RegistryServer,
    client: SchemaRegistryClient,
    name: str,
    ours: Callable[[str], Any],
    write: Callable[[Any], Any],
    read: Callable[[Any], Any],
    value: Any,
) -> None:
    serde = ours(server.url)
    theirs = write(client)(value, value_of(name))
    assert serde.deserialize(name, theirs, ()) == value
    written = serde.serialize(f"{name}-2", value, ())
    assert read(client)(written, value_of(f"{name}-2")) == value
    assert f"{name}-2-value" in server.subjects


def test_bytes_are_magic_id_indexes_value(server: RegistryServer) -> None:
    by_item = serdes.avro(AVRO, registry=server.url).serialize("framed", ROW, ())
    schema_id = server.subjects["framed-value"][0].to_bytes(4, "big")
    assert by_item is not None
    assert by_item.startswith(b"\0" + schema_id + b"\x06pen\x0e")
    cart = serdes.protobuf(Cart, registry=server.url).serialize("carts", Cart(owner="x"), ())
    carts = server.subjects["carts-value"][0].to_bytes(4, "big")
    assert cart == b"\0" + carts + b"\0" + Cart(owner="x").SerializeToString()
    line = serdes.protobuf(Line, registry=server.url).serialize("carts", Line(number=5), ())
    # Two indexes, zig-zag: the second message of the file, the second one inside of it.
    assert line == b"\0" + carts + b"\x04\x02\x02" + Line(number=5).SerializeToString()
    (reference,) = server.schemas[server.subjects["carts-value"][0]]["references"]
    assert reference == {"name": "money.proto", "subject": "money.proto", "version": 1}


def test_avro_makes_typed_values_of_records(server: RegistryServer) -> None:
    serde = serdes.avro(AVRO, registry=server.url, model=Sale)
    sale = Sale("pen", 7, Color.BLUE, date(2026, 11, 21), "n")
    data = serde.serialize("sales", sale, ())
    assert data is not None
    assert serde.deserialize("sales", data, ()) == sale
    with pytest.raises(SerializationError, match="topic sales: the serde takes Sale, not dict"):
        serde.serialize("sales", ROW, ())  # type: ignore[arg-type]  # what is refused


def test_json_schema_of_a_model_is_registered_under_its_name(server: RegistryServer) -> None:
    serde = serdes.json_schema(Click, registry=server.url)
    click = Click(page="/", at=datetime(2026, 11, 21, tzinfo=UTC), tags={"a"})
    data = serde.serialize("clicks", click, ())
    assert data is not None
    assert data[5:] == b'{"page":"/","at":"2026-11-21T00:00:00Z","tags":["a"]}'
    assert serde.deserialize("clicks", data, ()) == click
    schema = server.schemas[server.subjects["clicks-value"][0]]
    assert schema["schemaType"] == "JSON"
    assert '"title":"Click"' in schema["schema"]


def test_value_that_does_not_fit_the_schema_is_refused(server: RegistryServer) -> None:
    serde = serdes.json_schema(CLICKS, registry=server.url)
    with pytest.raises(SerializationError, match=r"topic c: .*'page' is a required property"):
        serde.serialize("c", {"count": 7}, ())
    avro = serdes.avro(AVRO, registry=server.url)
    with pytest.raises(SerializationError, match=r"topic c: .*no value and no default for amount"):
        avro.serialize("c", {"item": "pen"}, ())
    with pytest.raises(SerializationError, match="the serde takes Order, not Line"):
        serdes.protobuf(Order, registry=server.url).serialize("c", Line(), ())


def test_keys_have_a_subject_of_their_own(server: RegistryServer) -> None:
    serde = serdes.avro('"string"', registry=server.url)
    for_keys: Any = serdes.serde.for_keys(serde)
    data = for_keys.serialize("people", "ann", ())
    assert "people-key" in server.subjects
    assert "people-value" not in server.subjects
    assert for_keys.deserialize("people", data, ()) == "ann"
    assert serdes.serde.for_keys(for_keys) is for_keys
    windowed = serdes.time_windowed(serde, 60_000)
    inner: Any = serdes.serde.for_keys(windowed)
    inner.serialize("windows", serdes_window("ann"), ())
    assert "windows-key" in server.subjects


def serdes_window(key: str) -> Any:
    from streamkit.common.model import Windowed

    return Windowed(key, 0, 60_000)


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("topic", "named-value"),
        ("record", "shop.Order"),
        ("topic_record", "named-shop.Order"),
        (
            lambda context, record: f"{context.topic}/{context.field}/{record}",
            "named/value/shop.Order",
        ),
    ],
)
def test_subject_is_named_by_choice(subject: Any, expected: str) -> None:
    with RegistryServer() as server:
        serde = serdes.avro(AVRO, registry=server.url, subject=subject)
        data = serde.serialize("named", ROW, ())
        assert list(server.subjects) == [expected]
        assert data is not None
        assert serde.deserialize("named", data, ()) == ROW


def test_registry_is_asked_once_for_a_schema() -> None:
    with RegistryServer() as server:
        serde = serdes.avro(AVRO, registry=server.url)
        data = [serde.serialize("cached", ROW, ()) for _ in range(5)]
        reader = serdes.avro(registry=f"{server.url}/")
        assert [reader.deserialize("cached", each or b"", ()) for each in data] == [ROW] * 5
        assert [request.split("?")[0] for request in server.requests] == [
            "POST /subjects/cached-value/versions",
            f"GET /schemas/ids/{server.subjects['cached-value'][0]}",
        ]
        assert subject_of(server.requests[1]) == "cached-value"


def test_without_auto_register_the_schema_must_be_there(
    server: RegistryServer, client: SchemaRegistryClient
) -> None:
    serde = serdes.avro(AVRO, registry=server.url, auto_register=False)
    with pytest.raises(SerializationError, match=r"Subject 'strict-value' not found") as caught:
        serde.serialize("strict", ROW, ())
    assert not isinstance(caught.value, RetriableSerializationError)
    AvroSerializer(client, AVRO)(ROW, value_of("strict"))
    assert serde.serialize("strict", ROW, ()) is not None


def test_newest_version_is_what_is_written_and_read(
    server: RegistryServer, client: SchemaRegistryClient
) -> None:
    newer = AVRO[:-2] + ', {"name": "price", "type": "int", "default": 3}]}'
    old = serdes.avro(AVRO, registry=server.url).serialize("evolved", ROW, ())
    AvroSerializer(client, newer)({**ROW, "price": 9}, value_of("evolved"))
    serde = serdes.avro(registry=f"{server.url}//", use_latest=True)
    assert serde.deserialize("evolved", old or b"", ()) == {**ROW, "price": 3}
    data = serde.serialize("evolved", {**ROW, "price": 5}, ())
    assert int.from_bytes((data or b"")[1:5], "big") == server.subjects["evolved-value"][1]


def test_id_in_the_header_is_written_and_read_by_both(
    server: RegistryServer, client: SchemaRegistryClient
) -> None:
    serde = serdes.avro(AVRO, registry=server.url, id_in_header=True)
    stale: Any = [("h", b"x"), ("__value_schema_id", b"stale")]
    data = serde.serialize("headed", ROW, stale)
    (schema,) = [server.schemas[i] for i in server.subjects["headed-value"]]
    assert [name for name, _ in stale] == ["h", "__value_schema_id"]
    assert stale[1][1] == b"\x01" + bytes.fromhex(schema["guid"].replace("-", ""))
    assert (data or b"").startswith(b"\x06pen")
    assert serde.deserialize("headed", data or b"", tuple(stale)) == ROW
    context = SerializationContext("headed", "value", stale)
    assert AvroDeserializer(client, AVRO)(data, context) == ROW
    theirs: Any = []
    writer = AvroSerializer(
        client, AVRO, conf={"schema.id.serializer": header_schema_id_serializer}
    )
    bare = writer(ROW, SerializationContext("headed", "value", theirs))
    assert serdes.avro(AVRO, registry=server.url).deserialize("headed", bare, tuple(theirs)) == ROW


def test_value_of_few_bytes_is_read_by_its_header(server: RegistryServer) -> None:
    serde = serdes.avro('"long"', registry=server.url, id_in_header=True)
    headers: Any = []
    assert serde.serialize("short", 7, headers) == b"\x0e"  # type: ignore[arg-type]  # no record
    assert serde.deserialize("short", b"\x0e", tuple(headers)) == 7


def test_id_in_front_takes_away_what_a_header_says(server: RegistryServer) -> None:
    serde = serdes.avro(AVRO, registry=server.url)
    headers: Any = [("__value_schema_id", b"\x01stale"), ("h", b"x")]
    data = serde.serialize("plain", ROW, headers)
    assert headers == [("h", b"x")]
    assert serde.deserialize("plain", data or b"", tuple(headers)) == ROW


def test_state_has_the_id_in_front_even_when_topics_have_it_in_a_header(
    server: RegistryServer,
) -> None:
    serde = serdes.avro(AVRO, registry=server.url, id_in_header=True)
    data = serde.serialize("store", ROW, (("h", b"x"),))
    assert (data or b"")[0] == 0
    assert serde.deserialize("store", data or b"", ()) == ROW


@pytest.mark.parametrize("data", [b"", b'{"page":"/"}', b"\x02\0\0\0\x07x"])
def test_bytes_without_the_magic_byte_are_refused(server: RegistryServer, data: bytes) -> None:
    with pytest.raises(
        SerializationError, match=r"topic t: .*does not begin with the magic byte 0"
    ):
        serdes.avro(AVRO, registry=server.url).deserialize("t", data, ())


def test_unknown_id_is_no_reason_to_try_again(server: RegistryServer) -> None:
    with pytest.raises(SerializationError, match=r"schema id 77: .*Schema 77 not found") as caught:
        serdes.avro(AVRO, registry=server.url).deserialize("t", b"\0\0\0\0\x4dxyz", ())
    assert not isinstance(caught.value, RetriableSerializationError)


def test_truncated_value_is_refused(server: RegistryServer) -> None:
    serde = serdes.avro(AVRO, registry=server.url)
    data = serde.serialize("cut", ROW, ()) or b""
    with pytest.raises(
        SerializationError, match=r"topic cut: schema id 7\d\d: Expected 3 bytes, read 2"
    ):
        serde.deserialize("cut", data[:8], ())


def test_registry_out_of_reach_is_retriable_and_keeps_its_password() -> None:
    registry = serdes.SchemaRegistry("http://ann:secret@127.0.0.1:9", config={"max.retries": 0})
    with pytest.raises(
        RetriableSerializationError, match=r"registry http://127\.0\.0\.1:9 cannot be reached"
    ) as caught:
        serdes.avro(AVRO, registry=registry).serialize("t", ROW, ())
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(registry)


@pytest.mark.parametrize(("status", "is_retriable"), [(503, True), (500, True), (409, False)])
def test_registry_in_trouble_is_retriable(status: int, is_retriable: bool) -> None:
    with RegistryServer() as server:
        server.fails_with = status
        registry = serdes.SchemaRegistry(server.url, config={"max.retries": 0})
        with pytest.raises(SerializationError, match=r"in trouble") as caught:
            serdes.avro(AVRO, registry=registry).serialize("t", ROW, ())
        assert isinstance(caught.value, RetriableSerializationError) == is_retriable


def test_user_info_goes_with_the_requests() -> None:
    with RegistryServer(user_info="ann:secret") as server:
        config = {"basic.auth.user.info": "ann:secret", "timeout": 5}
        known = serdes.SchemaRegistry(server.url, config=config)
        assert serdes.avro(AVRO, registry=known).serialize("t", ROW, ()) is not None
        with pytest.raises(SerializationError, match=r"Unauthorized.*; set basic.auth.user.info"):
            serdes.avro(AVRO, registry=server.url).serialize("t", ROW, ())


def test_misspelt_config_is_told_where_it_stands() -> None:
    with pytest.raises(ConfigError, match=r"'max.retrys'.*did you mean 'max.retries'"):
        serdes.SchemaRegistry("http://h:8081", config={"max.retrys": 5})
    with pytest.raises(ConfigError, match=r"url: .*begins with http"):
        serdes.SchemaRegistry("h:8081")
    with pytest.raises(UsageError, match=r"subject='topics': use one of topic"):
        serdes.avro(AVRO, registry="mock://x", subject="topics")  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="is no schema"):
        serdes.avro("{", registry="mock://x")
    with pytest.raises(UsageError, match="registry=7: give an address"):
        serdes.avro(AVRO, registry=7)  # type: ignore[call-overload]  # what is refused
    with pytest.raises(UsageError, match="give a message class"):
        serdes.protobuf(Sale, registry="mock://x")


@pytest.mark.parametrize(
    ("library", "make", "extra"),
    [
        ("fastavro", lambda: serdes.avro(AVRO, registry="mock://x"), "avro"),
        ("cachetools", lambda: serdes.avro(AVRO, registry="mock://x"), "avro"),
        ("jsonschema", lambda: serdes.json_schema(Click, registry="mock://x"), "json-schema"),
        ("google.protobuf", lambda: serdes.protobuf(Cart, registry="mock://x"), "protobuf"),
    ],
)
def test_missing_library_is_one_line_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, library: str, make: Callable[[], Any], extra: str
) -> None:
    def find(name: str) -> Any:
        return None if name == library else importlib.util.find_spec(name)

    monkeypatch.setattr("streamkit.serdes.registry.client.find_spec", find)
    with pytest.raises(UsageError) as caught:
        make()
    wanted = f"needs the library {library}: pip install 'streamkit[{extra}]'"
    assert str(caught.value).endswith(wanted)
    assert "\n" not in str(caught.value)


def test_mock_registries_of_one_name_are_one() -> None:
    data = serdes.avro(AVRO, registry="mock://one").serialize("t", ROW, ())
    reader = serdes.avro(registry=serdes.SchemaRegistry("mock://one"))
    assert reader.deserialize("t", data or b"", ()) == ROW
    assert serdes.SchemaRegistry("mock://one").client.get_subjects() == ["t-value"]
    with pytest.raises(SerializationError, match="Schema Not Found"):
        serdes.avro(registry="mock://other", use_latest=False).deserialize("t", data or b"", ())


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(deadline=None, max_examples=60)
@given(item=text, amount=st.integers(-(2**63), 2**63 - 1), note=st.none() | text)
def test_avro_round_trips(item: str, amount: int, note: str | None) -> None:
    serde = serdes.avro(AVRO, registry="mock://rounds", model=Sale)
    sale = Sale(item, amount, Color.RED, date(1970, 1, 2), note)
    assert serde.deserialize("t", serde.serialize("t", sale, ()) or b"", ()) == sale


@settings(deadline=None, max_examples=60)
@given(item=text, amount=st.integers(-(2**31), 2**31 - 1))
def test_protobuf_round_trips(item: str, amount: int) -> None:
    serde = serdes.protobuf(Order, registry="mock://rounds")
    value = Order(item=item, amount=amount)
    assert serde.deserialize("p", serde.serialize("p", value, ()) or b"", ()) == value


@settings(deadline=None, max_examples=60)
@given(page=text, at=st.datetimes(timezones=st.just(UTC)), tags=st.sets(text, max_size=3))
def test_json_schema_round_trips(page: str, at: datetime, tags: set[str]) -> None:
    serde = serdes.json_schema(Click, registry="mock://rounds")
    click = Click(page=page, at=at, tags=tags)
    assert serde.deserialize("j", serde.serialize("j", click, ()) or b"", ()) == click
