"""Real processes for tests: workers as a user starts them, their children, foreign readers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parent.parent
PATIENCE = 3
"""How much longer than a test's limit a machine that stalls may take."""
LOG_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) ")
T = TypeVar("T")


def wait_for(condition: Callable[[], T], timeout_s: float = 30.0, what: str = "the condition") -> T:
    """Poll until the condition gives something true; its value. Fails after a look that is late."""
    limit_s = timeout_s * PATIENCE
    deadline = time.monotonic() + limit_s
    while True:
        is_late = time.monotonic() > deadline
        value = condition()
        if value:
            return value
        assert not is_late, f"{what} did not come within {limit_s} s"
        time.sleep(0.02)


class WorkerProcess:
    """`streamkit worker PROGRAM` as a process; its output goes to a file."""

    def __init__(
        self,
        program: str | Path,
        bootstrap: str,
        directory: Path,
        *,
        processes: int | None = None,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / "worker.log"
        argv = [sys.executable, "-m", "streamkit", "worker", str(program)]
        argv += ["--bootstrap", bootstrap, *options]
        if processes is not None:
            argv += ["--processes", str(processes)]
        for key, value in {"state.dir": str(directory / "state"), **(settings or {})}.items():
            argv += ["--set", f"{key}={value}"]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                argv,
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(os.environ, **(environment or {})),
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        return self.log.read_text()

    def logged(self, pattern: str, since: float = 0.0) -> list[tuple[float, re.Match[str]]]:
        """The log's lines that hold a pattern, with their times as of `time.time()`."""
        found = []
        for line in self.output().splitlines():
            stamp = LOG_TIME.match(line)
            match = re.search(pattern, line)
            if stamp is None or match is None:
                continue
            when = time.mktime(time.strptime(stamp[1], "%Y-%m-%d %H:%M:%S")) + int(stamp[2]) / 1000
            if when >= since:
                found.append((when, match))
        return found

    def children(self) -> list[int]:
        """The process ids of its children, oldest first."""
        found: list[int] = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            try:
                found += [int(pid) for pid in (task / "children").read_text().split()]
            except FileNotFoundError:
                continue
        return sorted(found)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_s: float = 60.0) -> int:
        """SIGTERM, and its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def streamkit(
    *arguments: str, stdin: str | None = None, timeout_s: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "streamkit", *arguments],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
