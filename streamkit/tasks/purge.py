"""Deletes the records of repartition topics that are processed and committed.

Nobody else reads them, so their topics keep records for ever and rely on this (KAFKA-6150).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable

from streamkit.client.admin import Admin
from streamkit.common.errors import StreamkitError
from streamkit.common.model import TopicPartition

log = logging.getLogger(__name__)


class Purger:
    """Remembers what is committed, and deletes up to there every now and then."""

    def __init__(
        self, open_admin: Callable[[], Admin], topics: Collection[str], interval_ms: int
    ) -> None:
        self._open_admin = open_admin
        self._topics = frozenset(topics)
        self._interval_ms = interval_ms
        self._committed: dict[TopicPartition, int] = {}

    def on_committed(self, offsets: Iterable[tuple[TopicPartition, int]]) -> None:
        """These input positions are committed."""
        self._committed.update((tp, offset) for tp, offset in offsets if tp.topic in self._topics)

    async def run(self) -> None:
        """Delete for ever; a failure is only noted, the next round deletes more."""
        while True:
            await asyncio.sleep(self._interval_ms / 1000)
            before, self._committed = self._committed, {}
            if not before:
                continue
            try:
                async with self._open_admin() as admin:
                    await admin.delete_records(before)
            except StreamkitError as error:
                log.info("repartition topics are not purged: %s", error)
