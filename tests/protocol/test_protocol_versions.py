"""Canonical messages: up and down between versions, and entities from plain values."""

from __future__ import annotations

import random
from dataclasses import fields
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from streamkit.protocol.apis import VERSIONS, ApiKey, newest_version
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.messages import nested_types, request_type, response_type
from streamkit.protocol.units import from_ms, from_timestamp, to_ms, to_timestamp
from streamkit.protocol.versions import (
    canonical_request,
    canonical_response,
    downgrade,
    fill,
    upgrade,
)

TOPIC_ID = UUID(int=77)


def loses_nothing(source: type[Any], target: type[Any]) -> bool:
    """Whether the target has all fields of the source, all the way down."""
    have = {field.name for field in fields(target)}
    nested = nested_types(target)
    return all(field.name in have for field in fields(source)) and all(
        loses_nothing(entity, nested[name]) for name, entity in nested_types(source).items()
    )


@pytest.mark.parametrize("api", list(VERSIONS), ids=lambda api: api.name)
def test_up_and_down_again_is_the_same_message(api: ApiKey, make_message: Any) -> None:
    rng = random.Random(api.name)
    for version in range(VERSIONS[api].min, VERSIONS[api].max + 1):
        for load in (request_type, response_type):
            entity = load(api, version)
            message = make_message(entity, rng)
            canonical = upgrade(message)
            assert type(canonical) is load(api, newest_version(api))
            again = downgrade(canonical, version)
            assert type(again) is entity
            if loses_nothing(entity, type(canonical)):
                assert again == message


@pytest.mark.parametrize("api", list(VERSIONS), ids=lambda api: api.name)
def test_canonical_message_goes_down_to_every_version(api: ApiKey, make_message: Any) -> None:
    rng = random.Random(api.name)
    for canonical in (canonical_request(api), canonical_response(api)):
        message = make_message(canonical, rng)
        for version in range(VERSIONS[api].min, VERSIONS[api].max + 1):
            assert downgrade(message, version).__version__ == version


def test_same_version_is_the_same_object() -> None:
    message = fill(canonical_request(ApiKey.FETCH), {})
    assert upgrade(message) is message
    assert downgrade(message, message.__version__) is message


def test_new_fields_get_schema_defaults() -> None:
    old = fill(
        request_type(ApiKey.FETCH, 4),
        {
            "max_wait": 500,
            "topics": [{"topic": "lines", "partitions": [{"partition": 3, "fetch_offset": 41}]}],
        },
    )
    new = upgrade(old)
    assert new.session_epoch == -1
    assert to_ms(new.max_wait) == 500
    assert new.topics[0].topic_id is None
    assert new.topics[0].partitions[0].fetch_offset == 41
    assert new.topics[0].partitions[0].current_leader_epoch == -1
    assert new.topics[0].partitions[0].last_fetched_epoch == -1


def test_downgrade_drops_what_is_unknown_and_keeps_nested_items() -> None:
    new = fill(
        canonical_response(ApiKey.PRODUCE),
        {
            "throttle_time": 77,
            "node_endpoints": [{"node_id": 3, "host": "h", "port": 9092}],
            "responses": [
                {
                    "topic_id": TOPIC_ID,
                    "partition_responses": [{"index": 3, "base_offset": 41, "error_message": "x"}],
                }
            ],
        },
    )
    old = downgrade(new, 3)
    assert not hasattr(old, "node_endpoints")
    assert old.responses[0].name == ""
    assert old.responses[0].partition_responses[0].base_offset == 41


def test_null_that_a_version_cannot_say_is_its_zero() -> None:
    joined = fill(canonical_response(ApiKey.JOIN_GROUP), {"protocol_name": None})
    assert downgrade(joined, 6).protocol_name == ""
    assert downgrade(joined, 7).protocol_name is None
    everything = fill(canonical_request(ApiKey.METADATA), {"topics": None})
    assert downgrade(everything, 0).topics == ()
    assert downgrade(everything, 1).topics is None


def test_fill_takes_plain_values_and_gives_defaults() -> None:
    message = fill(
        response_type(ApiKey.PRODUCE, 9),
        {
            "throttle_time": 1500,
            "responses": [
                {
                    "name": "lines",
                    "topic_id": TOPIC_ID,
                    "partition_responses": [
                        {"index": 3, "error_code": 6, "log_append_time": 1_700_000_000_123},
                        {"index": 4, "log_append_time": -1},
                    ],
                }
            ],
        },
    )
    assert message.throttle_time == timedelta(seconds=1.5)
    first, second = message.responses[0].partition_responses
    assert first.error_code is ErrorCode.not_leader_or_follower
    assert to_timestamp(first.log_append_time) == 1_700_000_000_123
    assert second.log_append_time is None
    assert second.log_start_offset == -1
    assert second.record_errors == ()


def test_fill_takes_entities_of_other_versions() -> None:
    other = fill(canonical_request(ApiKey.FETCH), {"topics": [{"partitions": [{"partition": 5}]}]})
    message = fill(request_type(ApiKey.FETCH, 4), {"topics": other.topics})
    assert message.topics[0].partitions[0].partition == 5
    assert type(message.topics[0]).__version__ == 4


def test_fill_refuses_a_name_that_no_version_has() -> None:
    with pytest.raises(TypeError, match="topicz"):
        fill(request_type(ApiKey.METADATA, 9), {"topicz": None})


def test_units_go_both_ways() -> None:
    assert to_ms(from_ms(-1)) == -1
    assert to_ms(from_ms(86_400_001)) == 86_400_001
    assert to_timestamp(None) == -1
    assert from_timestamp(-1) is None
    assert to_timestamp(from_timestamp(1_700_000_000_123)) == 1_700_000_000_123
