"""A bounded store: beyond so many rows the one that was used least recently goes (`lruMap`).

Reading and writing are uses. What goes is deleted from the changelog too. Which rows were used
when is not restored: after a restart they count as used in the order of their keys.
"""

from __future__ import annotations

from collections import OrderedDict
from operator import itemgetter

from streamkit.common.direct import ValueAndTimestamp
from streamkit.state.builders import StoreBuilder
from streamkit.state.cache import ChangelogAppend, TimestampedStore
from streamkit.state.overlay import OverlayStore


class LruRows(TimestampedStore):
    """The rows of a `TimestampedStore`, at most `entries_max` of them."""

    def __init__(
        self,
        builder: StoreBuilder,
        store: OverlayStore,
        topic: str,
        log: ChangelogAppend | None,
        partition: int,
    ) -> None:
        super().__init__(
            builder.name, store, builder.key_serde, builder.value_serde, topic, log, partition
        )
        self._store = store
        self._entries_max = builder.entries_max
        # By key, the number of its last use; the smallest is first.
        self._uses = OrderedDict(
            (key, number) for number, (key, _) in enumerate(store.scan(None, None))
        )
        self._count = len(self._uses)

    def read(self, key: bytes) -> ValueAndTimestamp | None:
        found = super().read(key)
        if found is not None:
            self._use(key)
        return found

    def write(self, key: bytes, value: bytes | None, timestamp: int) -> None:
        self._forget(key)
        if value is not None:
            while len(self._uses) >= self._entries_max:
                oldest = next(iter(self._uses))
                self._forget(oldest)
                super().write(oldest, None, timestamp)
            self._use(key)
        super().write(key, value, timestamp)

    def _use(self, key: bytes) -> None:
        self._note(key)
        self._uses[key] = self._count
        self._uses.move_to_end(key)
        self._count += 1

    def _forget(self, key: bytes) -> None:
        if key in self._uses:
            self._note(key)
            del self._uses[key]

    def _note(self, key: bytes) -> None:
        if self._store.journal is not None:
            self._store.journal.append((self._undo, (key, self._uses.get(key))))

    def _undo(self, key: bytes, number: int | None) -> None:
        if number is None:
            del self._uses[key]
            return
        self._uses[key] = number
        self._uses = OrderedDict(sorted(self._uses.items(), key=itemgetter(1)))
