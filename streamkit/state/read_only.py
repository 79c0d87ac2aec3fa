"""A global store as tasks see it: to read only.

Every process fills its own copy from the topic alone, so what a task wrote would be in one copy and
in no topic. Kafka Streams hands out the same (its GlobalProcessorContextImpl and
AbstractReadOnlyDecorator). A store with an interface of the user's is left as it is, as there.
"""

from __future__ import annotations

from typing import Any, Never

from streamkit.common.errors import TopologyError
from streamkit.state.cache import CachedStore, TimestampedStore
from streamkit.state.headers_store import HeadersStore
from streamkit.state.lifetimes import ExpiringStore
from streamkit.state.plain import PlainStore
from streamkit.state.versioned import VersionedStore
from streamkit.state.windows import WindowStore

WRITES = frozenset(
    {"put", "put_all", "put_if_absent", "delete", "remove", "flush", "close", "put_at",
     "count_up_at", "count_up", "write", "log"}
)  # fmt: skip
"""What a task may not do to a global store."""

_OURS = (
    TimestampedStore,
    CachedStore,
    ExpiringStore,
    HeadersStore,
    PlainStore,
    VersionedStore,
    WindowStore,
)


def read_only(store: Any) -> Any:
    """The store without what changes it."""
    return ReadOnlyStore(store) if isinstance(store, _OURS) else store


class ReadOnlyStore:
    """Reads go to the store; all that would change it raises TopologyError."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.name: str = store.name

    def __getattr__(self, name: str) -> Any:
        if name in WRITES:
            return self._refuse
        found = getattr(self._store, name)
        setattr(self, name, found)
        return found

    def __getitem__(self, key: Any, /) -> Any:
        return self._store[key]

    def __contains__(self, key: object, /) -> bool:
        return key in self._store

    def __setitem__(self, key: Any, value: Any, /) -> None:
        self._refuse()

    def __delitem__(self, key: Any, /) -> None:
        self._refuse()

    def _refuse(self, *_: Any, **__: Any) -> Never:
        raise TopologyError(
            f"store {self.name} is global, so a task may only read it: what changes it is written "
            "to its topic, and its own processor puts it there"
        )
