"""What can go wrong with a connection, by what its user must do."""

from __future__ import annotations

from streamkit.common.errors import RefreshMetadataError, RetriableError, StreamkitError, UsageError
from streamkit.protocol.errors import AuthenticationError
from streamkit.protocol.messages import Chunks

__all__ = [
    "AuthenticationError",
    "CloseConnection",
    "ConnectionBusyError",
    "ConnectionLost",
    "TlsError",
]


class ConnectionLost(RefreshMetadataError):  # noqa: N818  # a state of things, not a fault
    """The connection could not be made or is gone; requests in flight may have been done."""


class ConnectionBusyError(RetriableError):
    """Too many requests are in flight; wait for one of them."""


class TlsError(UsageError):
    """TLS cannot be agreed on with this end; the message says which setting to change."""


class CloseConnection(StreamkitError):  # noqa: N818  # an order to the server, not a fault
    """Raised by a handler: send these last chunks, if any, and close."""

    def __init__(self, reason: str, chunks: Chunks | None = None) -> None:
        super().__init__(reason)
        self.chunks = chunks
