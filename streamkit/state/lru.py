"""A bounded store: beyond so many rows the one that was used least recently goes (`lruMap`).

Reading and writing are uses. What goes is deleted from the changelog too. Which rows were used
when is not restored: after a restart they count as used in the order of their keys.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from streamkit.state.builders import StoreBuilder
from streamkit.state.cache import ChangelogAppend, TimestampedStore, ValueAndTimestamp
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
        self._uses: OrderedDict[bytes, None] = OrderedDict(
            (key, None) for key, _ in store.scan(None, None)
        )

    def read(self, key: bytes) -> ValueAndTimestamp | None:
        found = super().read(key)
        if found is not None:
            self._uses.move_to_end(key)
        return found

    def write(self, key: bytes, value: bytes | None, timestamp: int) -> None:
        self._note(self._restore, key, key in self._uses)
        self._uses.pop(key, None)
        if value is not None:
            while len(self._uses) >= self._entries_max:
                oldest, _ = self._uses.popitem(last=False)
                self._note(self._restore, oldest, True)
                super().write(oldest, None, timestamp)
            self._uses[key] = None
        super().write(key, value, timestamp)

    def _note(self, undo: Any, *arguments: Any) -> None:
        if self._store.journal is not None:
            self._store.journal.append((undo, arguments))

    def _restore(self, key: bytes, was_there: bool) -> None:
        if was_there:
            self._uses[key] = None
            self._uses.move_to_end(key, last=False)
        else:
            self._uses.pop(key, None)
