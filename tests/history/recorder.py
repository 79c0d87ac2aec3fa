"""Writes a client's part of a history, so that a SIGKILL takes at most the line being written."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.history.model import COMMITTED, Outcome, Step, encode_step


class Recorder:
    """One life of one client."""

    def __init__(
        self, directory: Path, process: str, life: int, isolation: str = COMMITTED
    ) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._file = os.open(directory / f"{process}.{life}.jsonl", flags, 0o644)
        self._common = {"process": process, "life": life, "isolation": isolation}
        self._count = 0

    def invoke(self, kind: str, steps: Sequence[Step] = ()) -> Invocation:
        """Note that an operation begins, with all that it is about to send."""
        self._count += 1
        invocation = Invocation(self, self._count, kind)
        self.write(invocation, "invoke", steps)
        return invocation

    def rest(self) -> None:
        """There is nothing to do now: the file's time shows that the client goes on."""
        os.utime(self._file)

    def write(self, invocation: Invocation, event: str, steps: Sequence[Step]) -> None:
        line: dict[str, Any] = {
            **self._common,
            "index": invocation.index,
            "kind": invocation.kind,
            "type": event,
            "time": time.monotonic_ns(),
            "steps": [encode_step(step) for step in steps],
        }
        os.write(self._file, json.dumps(line).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class Invocation:
    """An operation under way."""

    recorder: Recorder
    index: int
    kind: str

    def complete(self, outcome: Outcome, steps: Sequence[Step]) -> None:
        """Note how it ended."""
        self.recorder.write(self, outcome.value, steps)
