"""Error codes and what they ask for."""

from __future__ import annotations

import pytest

from streamkit.protocol.errors import (
    ApiError,
    ErrorCode,
    ErrorKind,
    error_code,
    is_retriable,
    kind_of,
)


@pytest.mark.parametrize("code", list(ErrorCode), ids=lambda code: code.name)
def test_retriable_codes_are_kafkas(code: ErrorCode) -> None:
    assert is_retriable(code) == code.retriable


def test_kinds() -> None:
    assert kind_of(0) is ErrorKind.NONE
    assert kind_of(6) is ErrorKind.REFRESH_METADATA
    assert kind_of(88) is ErrorKind.RETRIABLE
    assert kind_of(120) is ErrorKind.ABORT
    assert kind_of(90) is ErrorKind.RECOVERABLE
    assert kind_of(110) is ErrorKind.OWN_RULE
    assert kind_of(29) is ErrorKind.FATAL
    assert kind_of(9999) is ErrorKind.FATAL


def test_unknown_number_is_an_unknown_server_error() -> None:
    assert error_code(9999) is ErrorCode.unknown_server_error
    assert error_code(100) is ErrorCode.unknown_topic_id


def test_api_error_says_its_code() -> None:
    error = ApiError(ErrorCode.unknown_topic_id, "topic 77 is gone")
    assert str(error) == "UNKNOWN_TOPIC_ID: topic 77 is gone"
    assert error.code is ErrorCode.unknown_topic_id
