"""Versions and features are agreed on, also with a broker that is older or newer."""

from __future__ import annotations

import pytest

from streamkit.protocol.apis import ApiKey, VersionRange
from streamkit.protocol.errors import ApiError, ErrorCode, MalformedMessage
from streamkit.protocol.messages import encode_response, response_type
from streamkit.protocol.negotiation import (
    negotiate,
    read_versions_response,
    retry_version,
    versions_request,
)
from streamkit.protocol.versions import fill


def row(api: int, low: int, high: int) -> dict[str, int]:
    return {"api_key": api, "min_version": low, "max_version": high}


def test_newest_common_version_is_chosen() -> None:
    response = fill(
        response_type(ApiKey.API_VERSIONS, 4),
        {
            "api_keys": [
                row(ApiKey.PRODUCE, 0, 9),
                row(ApiKey.FETCH, 5, 99),
                row(ApiKey.METADATA, 14, 20),
                row(ApiKey.OFFSET_COMMIT, 0, 1),
                row(999, 0, 3),
            ],
            "finalized_features": [{"name": "streams.version", "max_version_level": 1}],
            "supported_features": [{"name": "kraft.version", "min_version": 0, "max_version": 1}],
        },
    )
    negotiated = negotiate(response)
    assert negotiated.version_of(ApiKey.PRODUCE) == 9
    assert negotiated.version_of(ApiKey.FETCH) == 18
    assert negotiated.version_of(ApiKey.METADATA) is None
    assert negotiated.version_of(ApiKey.OFFSET_COMMIT) is None
    assert negotiated.version_of(ApiKey.JOIN_GROUP) is None
    assert negotiated.features == {"streams.version": 1}
    assert negotiated.supported_features == {"kraft.version": VersionRange(0, 1)}


def test_answer_of_a_broker_that_lacks_our_version_has_a_body_of_version_0() -> None:
    refusal = fill(
        response_type(ApiKey.API_VERSIONS, 0),
        {"error_code": 35, "api_keys": [row(ApiKey.API_VERSIONS, 0, 2)]},
    )
    correlation_id, response = read_versions_response(4, b"".join(encode_response(77, refusal)))
    assert (correlation_id, response) == (77, refusal)
    assert retry_version(response) == 2


def test_refusal_without_a_range_is_asked_again_with_version_0() -> None:
    refusal = fill(response_type(ApiKey.API_VERSIONS, 0), {"error_code": 35})
    assert retry_version(refusal) == 0


def test_good_answer_needs_no_retry() -> None:
    response = fill(response_type(ApiKey.API_VERSIONS, 3), {"api_keys": [row(18, 0, 4)]})
    encoded = b"".join(encode_response(77, response))
    assert read_versions_response(3, encoded) == (77, response)
    assert retry_version(response) is None
    assert negotiate(response).version_of(18) == 4


def test_other_errors_are_raised() -> None:
    response = fill(response_type(ApiKey.API_VERSIONS, 4), {"error_code": 42})
    with pytest.raises(ApiError) as error:
        negotiate(response)
    assert error.value.code is ErrorCode.invalid_request


def test_short_answer_is_malformed() -> None:
    with pytest.raises(MalformedMessage):
        read_versions_response(4, b"\0\0\0\7\0")


def test_request_names_the_software() -> None:
    request = versions_request(4, "streamkit", "1.2.3")
    assert (request.client_software_name, request.client_software_version) == ("streamkit", "1.2.3")
    assert versions_request(2, "streamkit", "1.2.3").__version__ == 2
