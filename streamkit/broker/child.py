"""The broker as a child process: started, waited for, stopped.

`streamkit run`, the demos and the tests use it, so that the broker has a core of its own. The
child writes the address it listens on to a ready file; it ends when its parent does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from streamkit.common.errors import AlreadySaidError, FatalError
from streamkit.common.seams import Child, Disk, Spawn

READY_FILE = "ready"
READY_WAIT_S = 30.0
STOP_WAIT_S = 10.0
USAGE_STATUS = 2

EMBEDDED_DEFAULTS: Mapping[str, str] = {
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "group.initial.rebalance.delay.ms": "0",
    "group.consumer.assignment.interval.ms": "0",
    "group.consumer.min.session.timeout.ms": "3000",
    "group.consumer.session.timeout.ms": "10000",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "1000",
    "group.streams.initial.rebalance.delay.ms": "0",
    "group.streams.assignment.interval.ms": "0",
    "group.streams.min.session.timeout.ms": "3000",
    "group.streams.session.timeout.ms": "10000",
    "group.streams.min.heartbeat.interval.ms": "100",
    "group.streams.heartbeat.interval.ms": "1000",
    "group.streams.unsettled.heartbeat.interval.ms": "100",
    "group.streams.task.offset.interval.ms": "1000",
}
"""Kafka's timers are made for clusters; on one machine a group should settle at once."""


@dataclass(slots=True)
class BrokerChild:
    """A running broker process."""

    bootstrap: str
    data: str
    child: Child
    is_stopping: bool = False

    def stop(self) -> None:
        """End it cleanly; kill it when it does not end in time."""
        self.is_stopping = True
        self.child.terminate()
        if self.child.wait(STOP_WAIT_S) is None:
            self.kill()

    def kill(self) -> None:
        """End it as a crash would."""
        self.is_stopping = True
        self.child.kill()
        self.child.wait()


def start_broker(
    disk: Disk,
    spawn: Spawn,
    pause: Callable[[float], None],
    data: str,
    *,
    listen: str = "127.0.0.1:0",
    settings: Mapping[str, str] | None = None,
) -> BrokerChild:
    """Start a broker on the directory `data` and wait until it answers.

    `pause` waits some seconds. Raises AlreadySaidError when the broker refuses its settings or its
    data directory (it has said why on standard error), FatalError when it does not become ready.
    """
    disk.make_dirs(data)
    ready = f"{data}/{READY_FILE}"
    if disk.exists(ready):
        disk.remove(ready)
    chosen = {**EMBEDDED_DEFAULTS, **(settings or {})}
    argv = [sys.executable, "-m", "streamkit", "broker", "start", "--quiet"]
    argv += ["--listen", listen, "--data", data, "--ready-file", ready]
    for key, value in chosen.items():
        argv += ["--set", f"{key}={value}"]
    # A session of its own: Ctrl-C in the terminal reaches the parent, which stops it in order.
    child = spawn.process(argv, new_session=True)
    return BrokerChild(_wait_ready(disk, pause, ready, child), data, child)


def _wait_ready(disk: Disk, pause: Callable[[float], None], ready: str, child: Child) -> str:
    step_s = 0.01
    for _ in range(int(READY_WAIT_S / step_s)):
        if disk.exists(ready):
            return disk.read(ready).decode()
        status = child.poll()
        if status == USAGE_STATUS:
            raise AlreadySaidError("the broker did not start")
        if status is not None:
            raise FatalError(f"the broker ended with status {status} before it was ready")
        pause(step_s)
    child.kill()
    raise FatalError(f"the broker was not ready after {READY_WAIT_S:.0f} s")
