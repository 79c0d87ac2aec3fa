"""Processes of a benchmark: pinned to a core, measured from /proc, ended at the end."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_ports

ROOT = Path(__file__).parent.parent
KAFKA = ROOT / "tests" / "judges" / "kafka"
ORACLE = ROOT / "tests" / "judges" / "oracle" / "oracle"
BROKER_CORE, CLIENT_CORE = 0, 1
TICKS = os.sysconf("SC_CLK_TCK")


def pinned(core: int, argv: list[str]) -> list[str]:
    return ["taskset", "-c", str(core), *argv]


def cpu_s(pid: int) -> float:
    """User and system time of a process so far, in seconds; in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def live_cpu_s(pid: int) -> float:
    """The time of the threads that live now, to the nanosecond."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((each / "schedstat").read_text().split()[0]) for each in threads) / 1e9


def resident_mb(pid: int) -> float:
    return _status_mb(pid, "VmRSS:")


def peak_resident_mb(pid: int) -> float:
    return _status_mb(pid, "VmHWM:")


def _status_mb(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1000
    return 0.0


@dataclass(frozen=True)
class RunningBroker:
    """A broker under test."""

    kind: str
    bootstrap: str
    pid: int
    ready_s: float
    directory: str


@contextmanager
def broker(kind: str, config: Mapping[str, str] | None = None) -> Iterator[RunningBroker]:
    """A `streamkit` or `kafka` broker pinned to the broker's core.

    It has a session of its own: Linux shares a busy core between sessions, so that a program of
    many threads does not get more of it than one of a single thread.
    """
    directory = tempfile.mkdtemp(prefix=f"bench-{kind}-")
    port = free_ports()
    started = time.monotonic()
    if kind == "kafka":
        settings = [f"{key}={value}" for key, value in (config or {}).items()]
        argv = [str(KAFKA), "start", directory, str(port), *settings]
        subprocess.run(pinned(BROKER_CORE, argv), check=True, start_new_session=True)
        pid = int(Path(directory, "pid").read_text())
    else:
        pid = _start_streamkit(directory, port, config or {})
    ready_s = time.monotonic() - started
    try:
        yield RunningBroker(kind, f"127.0.0.1:{port}", pid, ready_s, directory)
    finally:
        os.kill(pid, signal.SIGTERM)
        _wait_end(pid)
        shutil.rmtree(directory, ignore_errors=True)


def _start_streamkit(directory: str, port: int, config: Mapping[str, str]) -> int:
    ready = Path(directory, "ready")
    argv = [sys.executable, "-m", "streamkit", "broker", "start", "--quiet"]
    argv += ["--listen", f"127.0.0.1:{port}", "--data", f"{directory}/data"]
    argv += ["--ready-file", str(ready)]
    for key, value in config.items():
        argv += ["--set", f"{key}={value}"]
    process = subprocess.Popen(pinned(BROKER_CORE, argv), cwd=ROOT, start_new_session=True)
    while not ready.exists():
        if process.poll() is not None:
            raise RuntimeError("the broker ended before it was ready")
        time.sleep(0.005)
    return process.pid


def _wait_end(pid: int) -> None:
    for _ in range(300):
        try:
            done, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            done = 0 if Path(f"/proc/{pid}").exists() else pid
        if done:
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)


def about() -> dict[str, str]:
    """Where and on what a benchmark ran."""
    from streamkit.cli.variant import codec_variant

    commit = subprocess.check_output(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True
    ).strip()
    return {
        "commit": commit,
        "codec": codec_variant(),
        "python": platform.python_version(),
        "cores": str(os.cpu_count()),
        "date": time.strftime("%Y-%m-%d"),
    }
