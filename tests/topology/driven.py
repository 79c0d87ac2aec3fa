"""An app in the test driver with bytes in and bytes out: seven partitions, input in the fourth."""

from __future__ import annotations

from typing import Any

from streamkit.app import App
from streamkit.common.model import Headers
from streamkit.testing import TopologyTestDriver

PARTITIONS = 7
INPUT_PARTITION = 3

Written = tuple[str, bytes | None, bytes | None, int, Headers]


class Driven:
    """`driven(app)`; `written` holds all but the changelogs."""

    def __init__(self, app: App, cached: bool = False) -> None:
        config: dict[str, object] = {"statestore.cache.max.bytes": 10_000_000 if cached else 0}
        topology = app.topology
        self.driver = TopologyTestDriver(topology, config, partitions=PARTITIONS, now_ms=1234)
        self._changelogs = {
            changelog.name for part in topology.subtopologies for changelog in part.changelogs
        }

    def pipe(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        at: int = 77,
        headers: Headers = (),
    ) -> None:
        self.driver.pipe_bytes(topic, key, value, at=at, headers=headers, partition=INPUT_PARTITION)

    @property
    def written(self) -> list[Written]:
        return [
            (record.tp.topic, record.key, record.value, record.timestamp, record.headers)
            for record in self.driver.written
            if record.tp.topic not in self._changelogs
        ]

    @property
    def partitions(self) -> list[int]:
        return [
            record.tp.partition
            for record in self.driver.written
            if record.tp.topic not in self._changelogs
        ]

    def read(self, topic: str) -> list[tuple[bytes | None, bytes | None, int]]:
        """What was written to a topic, without headers."""
        return [(key, value, at) for name, key, value, at, _ in self.written if name == topic]

    def rows(self, store: str) -> dict[Any, tuple[Any, int]]:
        """The rows of a table with their times."""
        return {
            key: (held.value, held.timestamp)
            for partition in range(PARTITIONS)
            for key, held in self.driver.state_store(store, partition).all()
        }

    def values(self, store: str) -> dict[Any, Any]:
        """What the task that got the input has in a store."""
        return dict(self.driver.store(store, INPUT_PARTITION).all())

    @property
    def context(self) -> Any:
        """The context of the task that got the input of the first sub-topology."""
        return self.driver.tasks[INPUT_PARTITION].context

    @property
    def dropped(self) -> int:
        return self.driver.dropped
