"""Stream time that goes on by the wall clock while a task has no input; pure.

Off by default (`stream.time.idle.ms`). Once nothing has come for so long, stream time is that of
the last record plus the wall time since it was processed: windows close, buffers let go of what is
due, and records that come later than that are late. How far time went is committed beside the
offsets, so that what has closed stays closed after a restart or a move.
"""

from __future__ import annotations

from typing import Final

OFF: Final = -1
NEVER: Final = 2**63 - 1
STEP_MS: Final = 1_000
STEP_MAX_MS: Final = 60_000
STEP_SHARE: Final = 20
"""Time goes on in steps, each of which is committed: by a twentieth of the time without input."""

TIME_NAME: Final = "streamkit.stream-time"
"""Under this name the time is committed."""


class IdleTime:
    """One task's; times are in milliseconds, `restored` is what was committed, -1 for nothing.

    With a `step_ms` of 0 time goes on whenever it is looked at.
    """

    def __init__(
        self, idle_ms: int, now_ms: int, restored: int = -1, step_ms: int = STEP_MS
    ) -> None:
        self._idle_ms = idle_ms
        self._step_ms = step_ms
        self._heard_ms = now_ms
        self._next_ms = now_ms if restored >= 0 else now_ms + idle_ms
        self._heard_time: int | None = None
        self._restored = restored

    @property
    def due_ms(self) -> int:
        """When to look again."""
        return self._next_ms

    def heard(self, now_ms: int) -> None:
        """There is input."""
        self._heard_ms = now_ms
        self._next_ms = now_ms + self._idle_ms
        self._heard_time = None

    def next_time(self, stream_time: int, now_ms: int) -> int | None:
        """Where stream time is now, in the absence of input; None when it stands still."""
        if self._restored >= 0:
            restored, self._restored = self._restored, -1
            self._next_ms = max(self._heard_ms + self._idle_ms, now_ms)
            return restored
        if stream_time < 0:
            self.heard(now_ms)
            return None
        if now_ms < self._next_ms:
            return None
        if self._heard_time is None:
            self._heard_time = stream_time
        waited_ms = max(now_ms - self._heard_ms, 0)
        if self._step_ms:
            step_ms = min(max(self._step_ms, waited_ms // STEP_SHARE), STEP_MAX_MS)
            self._next_ms = now_ms + step_ms
        return self._heard_time + waited_ms
