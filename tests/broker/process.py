"""A broker in a process of its own, whose standard error is kept and whose files may be limited."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.harness import ROOT, wait_for


def _limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


class BrokerProcess:
    """A broker whose standard error goes to a file."""

    def __init__(
        self, directory: Path, settings: Mapping[str, str], *, file_bytes_max: int | None = None
    ) -> None:
        self.log = directory / "broker.log"
        self._ready = directory / "ready"
        self._ready.unlink(missing_ok=True)
        argv = [sys.executable, "-m", "streamkit", "broker", "start", "--quiet"]
        argv += ["--listen", "127.0.0.1:0", "--data", str(directory / "data")]
        argv += ["--ready-file", str(self._ready)]
        for key, value in settings.items():
            argv += ["--set", f"{key}={value}"]
        limit = None if file_bytes_max is None else partial(_limit_files, file_bytes_max)
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                argv,
                cwd=ROOT,
                stdout=output,
                stderr=output,
                preexec_fn=limit,  # noqa: PLW1509  # no threads here; a limit has no other way
            )

    @property
    def port(self) -> int:
        wait_for(self._ready.exists, what="the broker's address")
        return int(self._ready.read_text().rpartition(":")[2])

    def rss_bytes_most(self) -> int:
        """The most memory that it ever had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [each for each in status.splitlines() if each.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024

    def tracebacks(self) -> list[str]:
        """What ended in an exception that nobody expected."""
        text = self.log.read_text(errors="replace")
        return ["Traceback" + part[:6000] for part in text.split("Traceback")[1:]]

    def last_words(self) -> str:
        """How the broker is, and the end of what it wrote."""
        status = self.process.poll()
        return f"status {status}, wrote:\n{self.log.read_text(errors='replace')[-6000:]}"


@contextmanager
def broker_process(settings: Mapping[str, str] | None = None) -> Iterator[BrokerProcess]:
    """A broker on a directory of its own, ended in the end."""
    quick = {"group.initial.rebalance.delay.ms": "0", "offsets.topic.num.partitions": "2"}
    quick |= {"transaction.state.log.num.partitions": "2"}
    with TemporaryDirectory(prefix="fuzz-") as directory:
        broker = BrokerProcess(Path(directory), quick | dict(settings or {}))
        try:
            yield broker
        finally:
            broker.process.kill()
            broker.process.wait()
