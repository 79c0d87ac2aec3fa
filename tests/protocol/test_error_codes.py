"""Error codes are found wherever a response has them."""

from __future__ import annotations

from collections import Counter

from streamkit.protocol.apis import ApiKey
from streamkit.protocol.error_codes import error_codes
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.messages import response_type
from streamkit.protocol.versions import fill


def test_codes_on_top_and_inside_are_found() -> None:
    partitions = [{"partition_index": 3, "error_code": 1}, {"partition_index": 5}]
    answer = fill(
        response_type(ApiKey.FETCH, 11),
        {"error_code": 70, "responses": [{"topic": "orders", "partitions": partitions}]},
    )
    assert Counter(error_codes(answer)) == {
        ErrorCode.fetch_session_id_not_found: 1,
        ErrorCode.offset_out_of_range: 1,
        ErrorCode.none: 1,
    }


def test_a_null_list_has_no_codes() -> None:
    answer = fill(
        response_type(ApiKey.DESCRIBE_CONFIGS, 4),
        {"results": [{"error_code": 3, "resource_name": "t", "resource_type": 2, "configs": []}]},
    )
    assert list(error_codes(answer)) == [ErrorCode.unknown_topic_or_partition]


def test_a_response_without_codes_has_none() -> None:
    assert list(error_codes(fill(response_type(ApiKey.PRODUCE, 9), {"responses": []}))) == []
