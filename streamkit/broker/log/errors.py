"""What the log refuses, with the code that the client is answered."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from streamkit.common.errors import StorageError
from streamkit.common.seams import File
from streamkit.protocol.errors import ApiError, ErrorCode


class ColdRead(Exception):  # noqa: N818  # no error: it says what to do first
    """The bytes are not in memory: `warm` in a thread, then look again."""

    def __init__(self, file: File, position: int, size: int) -> None:
        super().__init__(f"{size} bytes at {position} are on the disk only")
        self._file = file
        self._position = position
        self._size = size

    def warm(self) -> None:
        """Wait for the disk. What goes wrong here, the read that follows says."""
        with suppress(StorageError):
            self._file.read_at(self._position, self._size)


class LogError(ApiError):
    """An append or a read is refused; `record_errors` are (index in the batch, why)."""

    def __init__(
        self, code: ErrorCode, message: str = "", record_errors: Sequence[tuple[int, str]] = ()
    ) -> None:
        super().__init__(code, message)
        self.record_errors = tuple(record_errors)
