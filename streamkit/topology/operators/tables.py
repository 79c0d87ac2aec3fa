"""Tables' operators: what maps, filters and groups the changes of a table.

A change is the new row and, where somebody asked for it, the old one. Between a table and the
aggregate of its groups changes travel as records whose value is the pair (new, old).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamkit.common.errors import FatalError
from streamkit.common.model import Headers
from streamkit.topology.operators.node import Node, StoreNode
from streamkit.topology.operators.versioned import forward_put

Change = tuple[Any, Any]
"""New value and old value, each None when there is none."""


class PassTableNode(Node):
    """Brings the changes of several nodes over one store together."""

    def process_change(
        self, key: Any, new: Any, old: Any, timestamp: int, headers: Headers
    ) -> None:
        self.forward_change(key, new, old, timestamp, headers)


class FilterTableNode(StoreNode):
    """Rows for which `predicate(key, value)` is `keep`; others become deletes."""

    def __init__(
        self,
        name: str,
        predicate: Callable[[Any, Any], object],
        keep: bool,
        store_name: str | None,
        sends_old: bool,
        has_versions: bool = False,
    ) -> None:
        super().__init__(name, store_name, sends_old)
        self._predicate = predicate
        self._keep = keep
        self._has_versions = has_versions

    def process_change(
        self, key: Any, new: Any, old: Any, timestamp: int, headers: Headers
    ) -> None:
        new = self._passed(key, new)
        if not self.sends_old:
            old = None
        elif self.put is None:
            old = self._passed(key, old)
        else:
            row = self.get(key)
            old = None if row is None else row[0]
        if self.sends_old and old is None and new is None and not self._has_versions:
            return
        code = None if self.put is None else self.put(key, new, timestamp, headers)
        if not self.is_cached:
            forward_put(self, code, key, new, old, timestamp, headers)

    def _passed(self, key: Any, value: Any) -> Any:
        if value is None or bool(self._predicate(key, value)) is not self._keep:
            return None
        return value


class MapTableNode(StoreNode):
    """`mapper(key, value)` gives each row; deletes pass, unless the mapper sees them too."""

    def __init__(
        self,
        name: str,
        mapper: Callable[[Any, Any], Any],
        sees_deletes: bool,
        store_name: str | None,
        sends_old: bool,
    ) -> None:
        super().__init__(name, store_name, sends_old)
        self._mapper = mapper
        self._sees_deletes = sees_deletes

    def process_change(
        self, key: Any, new: Any, old: Any, timestamp: int, headers: Headers
    ) -> None:
        new = self._mapped(key, new)
        if not self.sends_old:
            old = None
        elif self.put is None:
            old = self._mapped(key, old)
        else:
            row = self.get(key)
            old = None if row is None else row[0]
        code = None if self.put is None else self.put(key, new, timestamp, headers)
        if not self.is_cached:
            forward_put(self, code, key, new, old, timestamp, headers)

    def _mapped(self, key: Any, value: Any) -> Any:
        if value is None and not self._sees_deletes:
            return None
        return self._mapper(key, value)


class SelectTableNode(Node):
    """`selector(key, value)` gives the group and what goes into it; old row first out of its own.

    A null pair, or one with a null in it, contributes nothing. Both rows in one group travel as one
    record. Of a table with versions only the latest rows are taken.
    """

    def __init__(
        self,
        name: str,
        selector: Callable[[Any, Any], tuple[Any, Any] | None],
        has_versions: bool = False,
    ) -> None:
        super().__init__(name)
        self._selector = selector
        self._has_versions = has_versions

    def process_change(
        self, key: Any, new: Any, old: Any, timestamp: int, headers: Headers
    ) -> None:
        if key is None:
            raise FatalError(f"{self.name}: the key of a table that is grouped is null")
        if self._has_versions and not self.context.is_latest:
            return
        new_pair = self._pair(key, new)
        old_pair = self._pair(key, old)
        if old_pair is not None and new_pair is not None and old_pair[0] == new_pair[0]:
            change: Change = (new_pair[1], old_pair[1])
            self.forward(old_pair[0], change, timestamp, headers)
            return
        if old_pair is not None:
            self.forward(old_pair[0], (None, old_pair[1]), timestamp, headers)
        if new_pair is not None:
            self.forward(new_pair[0], (new_pair[1], None), timestamp, headers)

    def _pair(self, key: Any, value: Any) -> tuple[Any, Any] | None:
        if value is None:
            return None
        pair = self._selector(key, value)
        if pair is None:
            return None
        group, member = pair
        return None if group is None or member is None else (group, member)


class AggregateTableNode(StoreNode):
    """Takes the old row out with `remove(key, value, aggregate)`, then puts the new one in."""

    def __init__(
        self,
        name: str,
        store_name: str,
        initializer: Callable[[], Any] | None,
        add: Callable[[Any, Any, Any], Any],
        remove: Callable[[Any, Any, Any], Any],
        sends_old: bool,
    ) -> None:
        super().__init__(name, store_name, sends_old)
        self._initializer = initializer
        self._add = add
        self._remove = remove

    def process(self, key: Any, value: Any, timestamp: int, headers: Headers) -> None:
        if key is None:
            raise FatalError(f"{self.name}: the key of a grouped table is null")
        new, old = value
        row = self.get(key)
        before = None if row is None else row[0]
        aggregate = before
        if old is not None and row is not None:
            aggregate = self._remove(key, old, aggregate)
            timestamp = max(timestamp, row[1])
        if new is not None:
            if row is not None and (aggregate is not None or self._initializer is not None):
                timestamp = max(timestamp, row[1])
            aggregate = self._added(key, new, aggregate)
        code = self.put(key, aggregate, timestamp, headers)
        if not self.is_cached:
            old_value = before if self.sends_old else None
            forward_put(self, code, key, aggregate, old_value, timestamp, headers)

    def _added(self, key: Any, new: Any, aggregate: Any) -> Any:
        if aggregate is None:
            if self._initializer is None:
                return new
            aggregate = self._initializer()
        return self._add(key, new, aggregate)
