"""A broker for tests: a real one, in a process of its own, on a free port.

    with Broker() as broker:
        producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap})

`kill` and `restart` are there for the bad day.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from streamkit.broker.child import BrokerChild, start_broker
from streamkit.common.files import temporary_directory
from streamkit.common.system import pause, system_seams


class Broker:
    """An embedded broker as a context manager.

    Without `data` it keeps its log in a temporary directory that it removes at the end. `config`
    takes the broker's settings by Kafka's keys, over the quick timers of `streamkit run`.
    """

    def __init__(
        self, data: str | None = None, config: Mapping[str, str] | None = None, *, port: int = 0
    ) -> None:
        self._seams = system_seams()
        self._given_data = data
        self._config = dict(config or {})
        self._port = port
        self._running: BrokerChild | None = None
        self.data = data or ""

    @property
    def bootstrap(self) -> str:
        """`HOST:PORT` for clients."""
        return self._child().bootstrap

    @property
    def pid(self) -> int:
        """The process id of the broker."""
        return self._child().child.pid

    def start(self) -> None:
        """Start it and wait until it answers; at a restart, on the port it had."""
        if not self.data:
            self.data = temporary_directory("streamkit-broker-")
        self._running = start_broker(
            self._seams.disk,
            self._seams.spawn,
            pause,
            self.data,
            listen=f"127.0.0.1:{self._port}",
            settings=self._config,
        )
        if self._port == 0:
            # A port that was given stays: what is advertised may be another one.
            self._port = int(self._running.bootstrap.rpartition(":")[2])

    def stop(self) -> None:
        """End it cleanly."""
        self._child().stop()
        self._running = None

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._child().kill()
        self._running = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._running is not None:
            self.stop()
        if self._given_data is None and self.data:
            self._seams.disk.remove_tree(self.data)

    def _child(self) -> BrokerChild:
        if self._running is None:
            raise RuntimeError("the broker is not running")
        return self._running
