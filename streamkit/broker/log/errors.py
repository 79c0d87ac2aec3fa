"""What the log refuses, with the code that the client is answered."""

from __future__ import annotations

from collections.abc import Sequence

from streamkit.protocol.errors import ApiError, ErrorCode


class LogError(ApiError):
    """An append or a read is refused; `record_errors` are (index in the batch, why)."""

    def __init__(
        self, code: ErrorCode, message: str = "", record_errors: Sequence[tuple[int, str]] = ()
    ) -> None:
        super().__init__(code, message)
        self.record_errors = tuple(record_errors)
