"""Instances of a Kafka Streams application in Java, run by the oracle, with their events."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.harness import ROOT, wait_for

ORACLE = ROOT / "tests" / "judges" / "oracle" / "oracle"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
HEAP = "200m"


class JavaInstance:
    """One instance (one JVM) of an application; its state directory survives `kill` and `start`.

    with JavaInstance(spec, directory, {"bootstrap.servers": ...}) as instance:
        instance.wait_running()
    """

    def __init__(self, spec: Path, directory: Path, settings: Mapping[str, str]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._spec = spec
        self._settings = {"state.dir": str(directory / "state"), **settings}
        self._log = directory / "events.jsonl"
        self._errors = directory / "errors.log"
        self._seen = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._seen = len(self.all_events())
        pairs = [f"{key}={value}" for key, value in self._settings.items()]
        with self._log.open("ab") as events, self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                [str(ORACLE), "run", str(self._spec), *pairs],
                stdout=events,
                stderr=errors,
                env={"ORACLE_HEAP": HEAP, "ORACLE_LOG": "warn", **os.environ},
            )

    def wait_running(self, tasks: int = 0) -> None:
        """Wait until it is RUNNING with at least so many active tasks."""
        wait_for(
            lambda: any(
                each["state"] == "RUNNING" and each["active_tasks"] >= tasks
                for each in self.events("metrics")[-1:]
            ),
            START_TIMEOUT_S,
            f"a running instance with {tasks} tasks ({self._errors})",
        )

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._process is not None, "it was not started"
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> int:
        """Close it in order; its exit status."""
        assert self._process is not None, "it was not started"
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(STOP_TIMEOUT_S)
        self._process = None
        return status

    def all_events(self) -> list[dict[str, Any]]:
        """Every event of all its lives; a torn last line is left out."""
        if not self._log.exists():
            return []
        lines = self._log.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines if line.endswith("}")]

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The events of one kind since the last start."""
        return [each for each in self.all_events()[self._seen :] if each["event"] == kind]

    def errors(self) -> str:
        return self._errors.read_text()

    def __enter__(self) -> JavaInstance:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()
