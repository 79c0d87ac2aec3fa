"""Views of tables for user functions: `known: sk.View[str, Customer] = customers.view()`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, overload

from streamkit.common.errors import TopologyError
from streamkit.topology.dsl import rows
from streamkit.topology.dsl.sides import UNKNOWN, Side
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.physical import PhysicalBuilder
from streamkit.topology.operators.node import ProcessorContext

K_contra = TypeVar("K_contra", contravariant=True)
V = TypeVar("V")


class View(Protocol[K_contra, V]):
    """The rows of a table, to read: a plain dict fits too."""

    @overload
    def get(self, key: K_contra, /) -> V | None: ...

    @overload
    def get(self, key: K_contra, default: V, /) -> V: ...

    def __getitem__(self, key: K_contra, /) -> V: ...

    def __contains__(self, key: object, /) -> bool: ...


class TableView:
    """What `table.view()` gives: the default of a function's parameter.

    In a task the parameter gets the rows; used outside of one it says so.
    """

    __slots__ = ("_node", "_view", "sides")

    def __init__(
        self, view: rows.View, node: GraphNode | None, here: tuple[Side, Side] = (UNKNOWN, UNKNOWN)
    ) -> None:
        self._view = view
        self._node = node
        self.sides = here

    def connect(self, builder: PhysicalBuilder, name: str, parents: tuple[str, ...]) -> None:
        """Give a processor the table's stores; the topics of both must be partitioned alike."""
        for store in self._view.stores:
            builder.connect_store(store, name)
        if self._node is not None:
            builder.copartition(*parents, self._node.name)

    def open(self, context: ProcessorContext) -> OpenView:
        """The rows as one task sees them."""
        return OpenView(self._view.open(context))

    def get(self, key: object, default: object = None, /) -> Any:
        raise TopologyError("a view has rows only in a running processor: give a dict in tests")

    __getitem__ = get

    def __contains__(self, key: object, /) -> bool:
        self.get(key)
        return False


class OpenView:
    """Rows by key, without their times."""

    __slots__ = ("_find",)

    def __init__(self, find: Callable[[Any], Any]) -> None:
        self._find = find

    def get(self, key: Any, default: Any = None, /) -> Any:
        found = None if key is None else self._find(key)
        return default if found is None else found[0]

    def __getitem__(self, key: Any, /) -> Any:
        found = None if key is None else self._find(key)
        if found is None:
            raise KeyError(key)
        return found[0]

    def __contains__(self, key: Any, /) -> bool:
        return key is not None and self._find(key) is not None
