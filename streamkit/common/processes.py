"""Child processes: exec'ed, never forked on, and ended with their parent."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
PARENT_VARIABLE = "STREAMKIT_PARENT_PID"
"""Tells a child who its parent is, so that it can see that the parent is gone already."""


class ChildProcess:
    """A running child; see `Child`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.poll()

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout_s: float | None = None) -> int | None:
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None


def start_child(argv: Sequence[str], *, new_session: bool = False) -> ChildProcess:
    """Start `argv`; standard streams are inherited."""
    environment = dict(os.environ, **{PARENT_VARIABLE: str(os.getpid())})
    return ChildProcess(
        subprocess.Popen(list(argv), env=environment, start_new_session=new_session)
    )


def end_with_parent() -> None:
    """Called by a child as it starts: have the kernel send SIGTERM when the parent dies.

    Linux only (prctl); elsewhere the child goes on, as an orphan would. A parent that is dead
    already is noticed too: then the child sends the signal to itself.
    """
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        os.kill(os.getpid(), signal.SIGTERM)
