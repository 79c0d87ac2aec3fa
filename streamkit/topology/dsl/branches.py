"""`split()`: one stream into branches by predicate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from streamkit.common.errors import TopologyError
from streamkit.topology.dsl.annotations import call_site
from streamkit.topology.dsl.scope import Scope
from streamkit.topology.dsl.sides import Side
from streamkit.topology.dsl.taken import function_or_raise
from streamkit.topology.dsl.writing import processor
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.names import check_name
from streamkit.topology.operators.node import PassNode
from streamkit.topology.operators.stateless import BranchNode

if TYPE_CHECKING:
    from streamkit.topology.dsl.stream import Stream

K = TypeVar("K")
V = TypeVar("V")


class Branches(Generic[K, V]):
    """The branches of a stream, in order; a record goes to the first whose predicate holds.

    A record that none takes is gone, unless there is a `default_branch`,
    which comes last.
    """

    def __init__(
        self,
        scope: Scope,
        parent: tuple[GraphNode, Side, Side],
        stream_of: Callable[[GraphNode], Stream[K, V]],
        name: str | None,
    ) -> None:
        self._scope = scope
        self._stream_of = stream_of
        self._predicates: list[Callable[[K, V], object] | None] = []
        self._streams: dict[str, Stream[K, V]] = {}
        self._name = scope.graph.name_or_new(name, "KSTREAM-BRANCH-")
        split, predicates = self._name, self._predicates
        self._node = processor(split, lambda _: BranchNode(split, predicates))
        scope.graph.add(self._node, parent[0])
        self._sides = parent[1:]

    def branch(
        self, predicate: Callable[[K, V], object], *, name: str | None = None
    ) -> Stream[K, V]:
        """The stream of the records for which `predicate(key, value)` holds."""
        function_or_raise(predicate, "branch()", *self._sides)
        self._refuse_after_default("branch()")
        return self._branch(predicate, name, sum(p is not None for p in self._predicates) + 1)

    def default_branch(self, *, name: str | None = None) -> Stream[K, V]:
        """The stream of the records that no branch took: the last branch."""
        self._refuse_after_default("default_branch()")
        return self._branch(None, name, 0)

    @property
    def streams(self) -> Mapping[str, Stream[K, V]]:
        """All branches by name: the name of the split, then their own or their position."""
        return dict(self._streams)

    def _refuse_after_default(self, operator: str) -> None:
        if None in self._predicates:
            raise TopologyError(
                f"{operator} at {call_site()}: default_branch() takes all that is left, and was "
                "there already: declare it last, and once"
            )

    def _branch(
        self, predicate: Callable[[K, V], object] | None, name: str | None, position: int
    ) -> Stream[K, V]:
        child = self._name + (str(position) if name is None else check_name(name))
        self._predicates.append(predicate)
        self._scope.graph.new_name(child)
        node = processor(child, lambda _: PassNode(child))
        self._scope.graph.add(node, self._node)
        self._streams[child] = self._stream_of(node)
        return self._streams[child]
