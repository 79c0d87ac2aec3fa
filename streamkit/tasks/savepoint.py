"""The savepoint of a record: what it wrote to stores and sinks counts only once it is through.

One for a processing thread, whose tasks run one at a time. Store changes are noted in a journal;
sends are staged in the collector and released when the next record begins. The caches of stores
pass nothing on meanwhile; what is over their limit is passed on between two records.
"""

from __future__ import annotations

from collections.abc import Callable

from streamkit.state.cache import CacheBudget
from streamkit.state.journal import Journal, undo
from streamkit.tasks.collector import Collector

Mark = tuple[int, int]


class Savepoint:
    """See the module."""

    def __init__(self, collector: Collector, budget: CacheBudget) -> None:
        self.journal: Journal = []
        self.undone: dict[object, Callable[[], object]] = {}
        """Users' stores that read again what they remember, once a record was undone."""
        self._collector = collector
        self._budget = budget
        self._staged: list[object] = []
        collector.staged = self._staged
        budget.journal = self.journal

    def begin(self) -> None:
        """What was done so far stands."""
        if self.journal:
            self.journal.clear()
        if self._staged:
            self._collector.release()
        if self._budget.waiting is not None:
            cache, self._budget.waiting = self._budget.waiting, None
            cache.evict()
            self.begin()

    def mark(self) -> Mark:
        """A place to go back to."""
        return len(self.journal), len(self._staged)

    def undo(self, mark: Mark = (0, 0)) -> None:
        """Undo what was done since the mark, or since `begin`."""
        undo(self.journal, mark[0])
        del self._staged[mark[1] :]
        for read_again in self.undone.values():
            read_again()
