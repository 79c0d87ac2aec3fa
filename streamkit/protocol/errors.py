"""Kafka's error codes, what each asks of its receiver, and the errors of the codec.

The kinds are those of KIP-1050 and of the exception classes behind Kafka's `Errors`.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from streamkit.common.errors import StreamkitError, UsageError
from streamkit.protocol import kio_import as _kio_import  # noqa: F401  # before any of kio

# isort: split
from kio.schema.errors import ErrorCode

__all__ = [
    "ApiError",
    "AuthenticationError",
    "ErrorCode",
    "ErrorKind",
    "MalformedMessage",
    "UnsupportedVersionError",
    "error_code",
    "is_retriable",
    "kind_of",
]


class ErrorKind(Enum):
    """What a code asks of the one who receives it."""

    NONE = "none"
    REFRESH_METADATA = "refresh metadata or coordinator, then retry"
    RETRIABLE = "retry after a back-off"
    ABORT = "abort the transaction"
    RECOVERABLE = "rejoin or initialise again"
    OWN_RULE = "the protocol it belongs to has a rule for it"
    FATAL = "stop"


class ApiError(StreamkitError):
    """A request, or a part of one, is answered with an error code."""

    def __init__(self, code: ErrorCode, message: str = "") -> None:
        super().__init__(f"{code.name.upper()}: {message}" if message else code.name.upper())
        self.code = code
        self.message = message


class MalformedMessage(StreamkitError):  # noqa: N818  # the name of the thing, as in Kafka's logs
    """Bytes are not a whole, valid frame or message; the connection cannot go on."""


class AuthenticationError(UsageError):
    """The other end does not accept who we are, or cannot prove who it is."""


class UnsupportedVersionError(StreamkitError):
    """A request names an API or a version that has no schema; only its header was read."""

    def __init__(self, api_key: int, api_version: int, correlation_id: int) -> None:
        super().__init__(f"api {api_key} version {api_version} is not supported")
        self.api_key = api_key
        self.api_version = api_version
        self.correlation_id = correlation_id


_REFRESH_METADATA: Final = (3, 5, 6, 9, 13, 15, 16, 56, 72, 74, 80, 83, 84, 100, 103)
_RETRIABLE: Final = (
    *(2, 7, 14, 19, 20, 41, 51, 70, 71, 75, 78, 88, 89),
    *(106, 122, 123, 133),
)
_RECOVERABLE: Final = (22, 25, 47, 49, 82, 90)
_OWN_RULE: Final = (1, 27, 45, 46, 59, 79, 110, 113)


def _kinds() -> dict[ErrorCode, ErrorKind]:
    kinds = dict.fromkeys(ErrorCode, ErrorKind.FATAL)
    kinds[ErrorCode.none] = ErrorKind.NONE
    kinds[ErrorCode.transaction_abortable] = ErrorKind.ABORT
    for codes, kind in (
        (_REFRESH_METADATA, ErrorKind.REFRESH_METADATA),
        (_RETRIABLE, ErrorKind.RETRIABLE),
        (_RECOVERABLE, ErrorKind.RECOVERABLE),
        (_OWN_RULE, ErrorKind.OWN_RULE),
    ):
        for code in codes:
            kinds[error_code(code)] = kind
    return kinds


def error_code(value: int) -> ErrorCode:
    """The code with this number; UNKNOWN_SERVER_ERROR where Kafka 4.3 has none."""
    return _BY_VALUE.get(value, ErrorCode.unknown_server_error)


_BY_VALUE: Final[dict[int, ErrorCode]] = {int(code): code for code in ErrorCode}
_KINDS: Final = _kinds()


def kind_of(code: int) -> ErrorKind:
    """What the code asks of its receiver."""
    return _KINDS[error_code(code)]


def is_retriable(code: int) -> bool:
    """Whether the same request may succeed later, with or without fresh metadata."""
    return kind_of(code) in (ErrorKind.RETRIABLE, ErrorKind.REFRESH_METADATA)
