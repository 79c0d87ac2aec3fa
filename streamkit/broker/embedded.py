"""A broker inside this process, for programs and notebooks: `async with sk.Broker() as broker`.

It shares the caller's event loop, so what blocks the caller blocks the broker. `streamkit run`
and the test fixture start one in a process of its own instead (`streamkit.testing.Broker`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from streamkit.broker.child import EMBEDDED_DEFAULTS
from streamkit.broker.node import Node
from streamkit.broker.settings import settings_for
from streamkit.common.files import temporary_directory
from streamkit.common.seams import Seams
from streamkit.common.system import system_seams


class Broker:
    """A broker on a free port of this machine.

    Without `data` it keeps its log in a temporary directory and removes it at the end. `config`
    takes the broker's settings by Kafka's keys, over the quick group timers of `streamkit run`.

        async with sk.Broker() as broker:
            async with app.worker(bootstrap=broker.bootstrap):
                ...
    """

    def __init__(
        self,
        data: str | None = None,
        config: Mapping[str, str] | None = None,
        *,
        listen: str = "127.0.0.1:0",
        seams: Seams | None = None,
    ) -> None:
        self._seams = seams or system_seams()
        self._given_data = data
        self._config = {**EMBEDDED_DEFAULTS, **(config or {})}
        self._listen = listen
        self._node: Node | None = None
        self.data = data or ""

    @property
    def bootstrap(self) -> str:
        """`HOST:PORT` for clients. Raises RuntimeError when the broker does not run."""
        if self._node is None:
            raise RuntimeError("the broker is not running")
        return self._node.bootstrap

    async def start(self) -> None:
        """Start it; returns when it answers. Raises UsageError when it cannot."""
        if not self.data:
            self.data = temporary_directory("streamkit-broker-")
        settings = settings_for(self._listen, self.data, self._config)
        node = Node(settings, self._seams)
        await node.start()
        self._node = node

    async def stop(self) -> None:
        """End it cleanly; call it in the task that started it."""
        node, self._node = self._node, None
        if node is not None:
            await node.stop()
        if self._given_data is None and self.data:
            self._seams.disk.remove_tree(self.data)
            self.data = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.stop()
