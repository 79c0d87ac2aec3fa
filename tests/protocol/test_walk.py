"""The walk is the same compiled and interpreted."""

from __future__ import annotations

import random
from typing import Any

import pytest

import streamkit.protocol.walk as imported
from streamkit.protocol import shapes
from streamkit.protocol.apis import VERSIONS, ApiKey
from streamkit.protocol.errors import MalformedMessage
from streamkit.protocol.messages import (
    REQUEST_ITEMS_MAX,
    decode_request,
    encode_request,
    read_request_header,
    request_type,
    response_type,
)
from streamkit.protocol.versions import fill
from tests.interpreted import interpreted

INTERPRETED = interpreted("protocol.walk")
assert not INTERPRETED.COMPILED


def interpreted_shape(shape: Any) -> Any:
    """The same shape in the interpreted module's classes."""
    steps = [
        INTERPRETED.Step(
            step.op,
            step.name,
            step.size,
            step.nullable,
            step.shape and interpreted_shape(step.shape),
            step.tags and {tag: interpreted_shape(item) for tag, item in step.tags.items()},
        )
        for step in shape.steps
    ]
    return INTERPRETED.Shape(steps)


def outcome(module: Any, shape: Any, data: bytes, position: int) -> object:
    try:
        return module.walk(shape, data, position), module.checked(shape, data, position)
    except MalformedMessage as error:
        return str(error)


@pytest.mark.parametrize("api", list(VERSIONS), ids=lambda api: api.name)
def test_compiled_and_interpreted_agree(api: ApiKey, make_message: Any) -> None:
    rng = random.Random(api.name)
    entity = request_type(api, VERSIONS[api].max)
    compiled, interpreted = shapes.shape_of(entity), interpreted_shape(shapes.shape_of(entity))
    for _ in range(10):
        data = encode_request(7, None, make_message(entity, rng))
        at = read_request_header(data).body_at
        assert INTERPRETED.walk(interpreted, data, at) == len(data)
        for _ in range(10):
            damaged = bytearray(data)
            bad = rng.randrange(at, len(data) + 1)
            damaged[bad : bad + rng.randrange(3)] = rng.choice((b"", b"\xff" * 5, b"\x7f"))
            assert outcome(imported, compiled, bytes(damaged), at) == outcome(
                INTERPRETED, interpreted, bytes(damaged), at
            )


@pytest.mark.parametrize("length", [b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff\xff\xff\xfe"])
@pytest.mark.parametrize("module", [imported, INTERPRETED], ids=["imported", "interpreted"])
def test_lying_lengths_are_malformed(module: Any, length: bytes) -> None:
    for op in (module.LONG_BYTES, module.ARRAY):
        item = module.Shape([module.Step(module.SHORT_TEXT, "item")])
        shape = module.Shape([module.Step(op, "field", nullable=True, shape=item)])
        with pytest.raises(MalformedMessage):
            module.walk(shape, length + b"abc", 0)


def test_no_item_of_an_array_is_empty() -> None:
    # Else a count could be large without any bytes to show for it.
    def check(shape: Any) -> None:
        for step in shape.steps:
            if step.op in (imported.ARRAY, imported.COMPACT_ARRAY):
                assert step.shape.size != 0, step.name
            if step.shape is not None:
                check(step.shape)

    for api, versions in VERSIONS.items():
        for version in range(versions.min, versions.max + 1):
            check(shapes.shape_of(request_type(api, version)))
            check(shapes.shape_of(response_type(api, version)))


@pytest.mark.parametrize("module", [imported, INTERPRETED], ids=["imported", "interpreted"])
def test_marker_of_a_nullable_entity_is_one_of_two(module: Any) -> None:
    # kio takes any other marker for an entity and reads on where the walk would not.
    inner = module.Shape([module.Step(module.FIXED, "inner", size=2)])
    shape = module.Shape([module.Step(module.ENTITY, "field", nullable=True, shape=inner)])
    assert module.walk(shape, b"\x01ab", 0) == 3
    assert module.walk(shape, b"\xff", 0) == 1
    for marker in (b"\x00", b"\x02", b"\xf1"):
        with pytest.raises(MalformedMessage, match="marker"):
            module.walk(shape, marker + b"ab", 0)


@pytest.mark.parametrize("module", [imported, INTERPRETED], ids=["imported", "interpreted"])
def test_null_entity_in_a_tagged_field_is_cut_out(module: Any) -> None:
    # Kafka says null by a varint of 0; kio reads a marker, and knows null only by absence.
    inner = module.Shape([module.Step(module.FIXED, "inner", size=2)])
    field = module.Shape([module.Step(module.ENTITY, "field", nullable=True, shape=inner)])
    shape = module.Shape([module.Step(module.TAGS, "tags", tags={5: field})])
    there, null = b"\1\5\3\1ab", b"\1\5\1\0"
    assert module.checked(shape, there + b"rest", 0) == there + b"rest"
    assert module.walk(shape, null + b"rest", 0) == len(null)
    assert module.checked(shape, null + b"rest", 0) == b"\0rest"
    with pytest.raises(MalformedMessage, match="marker 2"):
        module.walk(shape, b"\1\5\3\2ab", 0)


@pytest.mark.parametrize("module", [imported, INTERPRETED], ids=["imported", "interpreted"])
def test_arrays_hold_so_many_items_together(module: Any) -> None:
    number = module.Shape([module.Step(module.FIXED, "number", size=1)])
    inner = module.Shape([module.Step(module.COMPACT_ARRAY, "inner", shape=number)])
    shape = module.Shape([module.Step(module.COMPACT_ARRAY, "outer", shape=inner)])
    data = b"\3" + b"\5abcd" + b"\3ab"
    assert module.checked(shape, data, 0, 8) == data
    with pytest.raises(MalformedMessage, match="too many"):
        module.checked(shape, data, 0, 7)


def test_request_of_too_many_items_is_refused() -> None:
    groups = ["g"] * (REQUEST_ITEMS_MAX + 1)
    request = request_type(ApiKey.DESCRIBE_GROUPS, 5)
    data = encode_request(7, None, fill(request, {"groups": groups[1:]}))
    assert len(decode_request(data).message.groups) == REQUEST_ITEMS_MAX
    with pytest.raises(MalformedMessage, match="too many"):
        decode_request(encode_request(7, None, fill(request, {"groups": groups})))
