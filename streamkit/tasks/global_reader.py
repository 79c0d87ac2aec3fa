"""Keeps a worker's global tables up to their topics: all partitions, from their beginning.

No task runs before the tables have what the topics held when the worker began. From then on
records go in as they come, with no order between them and the tasks' own input.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Mapping

from streamkit.client.decode import Fetched, decode_fetched
from streamkit.common.model import TopicPartition
from streamkit.tasks.global_state import GlobalState
from streamkit.tasks.mailbox import Outbox
from streamkit.tasks.messages import Command, PrepareGlobals, StartFetching, StartPosition

log = logging.getLogger(__name__)


class GlobalReader:
    """The positions in the global topics, and whether they have reached the first end."""

    def __init__(self, state: GlobalState, outbox: Outbox[Command]) -> None:
        self._state = state
        self._outbox = outbox
        self._behind: dict[TopicPartition, int] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._is_prepared = False

    @property
    def is_ready(self) -> bool:
        """Whether the tables hold what the topics held at the start."""
        return self._is_prepared and not self._behind

    def begin(self) -> None:
        """Ask where the topics begin and end."""
        self._outbox.put(PrepareGlobals(self._state.topics))

    def on_prepared(self, positions: Mapping[TopicPartition, StartPosition]) -> None:
        """Start to read."""
        self._is_prepared = True
        self._behind = {tp: at.end for tp, at in positions.items() if at.offset < at.end}
        self._positions = {tp: at.offset for tp, at in positions.items()}
        remaining = sum(at.end - at.offset for at in positions.values())
        log.info("global tables: reading %d offsets of %d partitions", remaining, len(positions))
        self._outbox.put(StartFetching(dict(self._positions), is_changelog=True))

    def owns(self, tp: TopicPartition) -> bool:
        """Whether this partition is read here."""
        return tp in self._positions

    def add(self, fetched: Fetched) -> None:
        """Put what was fetched into the tables."""
        tp = fetched.tp
        position = self._positions[tp]
        for batch in decode_fetched(fetched, position):
            start = bisect_left(batch.offsets, position)
            self._state.process(tp, batch, start, len(batch.offsets))
        self._state.apply()
        self._positions[tp] = max(position, fetched.next_offset)
        if tp in self._behind and self._positions[tp] >= self._behind[tp]:
            del self._behind[tp]
            if not self._behind:
                log.info("global tables: all rows are there")

    def on_out_of_range(self, tp: TopicPartition, start: int) -> None:
        """The topic was cut: go on where it begins now; what is gone from it stays in the table."""
        log.warning("global tables: %s begins at %d now", tp, start)
        self._positions[tp] = start
        self._outbox.put(StartFetching({tp: start}, is_changelog=True))

    def close(self) -> None:
        """Close the tables."""
        self._state.close()
