"""Optimizations of the declared graph, as Kafka Streams' `topology.optimization` asks for them.

All work on the copy that is about to be written. Repartition topics below one operator that
changes keys become one, right below it; a stream joined with itself needs one store only; tables
may use their source topics as changelogs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamkit.common.errors import ConfigError, TopologyError

if TYPE_CHECKING:
    from streamkit.topology.graph.logical import GraphNode

REUSE_SOURCES = "reuse.ktable.source.topics"
MERGE_REPARTITIONS = "merge.repartition.topics"
SELF_JOINS = "single.store.self.join"
_ALL = frozenset({REUSE_SOURCES, MERGE_REPARTITIONS, SELF_JOINS})


def optimizations_of(text: str) -> frozenset[str]:
    """What `topology.optimization` says. Raises ConfigError.

    >>> optimizations_of("none")
    frozenset()
    """
    names = frozenset(name.strip() for name in text.split(","))
    if names == {"all"}:
        return _ALL
    if names == {"none"}:
        return frozenset()
    if not names <= _ALL:
        raise ConfigError(
            f"topology.optimization={text}: use all, none, or some of {', '.join(sorted(_ALL))}"
        )
    return names


@dataclass(slots=True)
class KeyChangers:
    """Operators that change keys with the repartition topics that are due to them alone.

    Noted while the program is declared, in the order of declaration.
    """

    below: dict[GraphNode, dict[GraphNode, None]] = field(default_factory=dict)
    merges: dict[GraphNode, None] = field(default_factory=dict)

    def note(self, node: GraphNode) -> None:
        """A node was added below its parents."""
        if node.changes_key:
            self.below[node] = {}
        elif node.repartition is not None:
            nearest = _find(node, lambda each: each.changes_key or each.changes_value)
            changer = _find(node, lambda each: each.changes_key)
            if changer is not None and nearest is changer:
                self.below[changer][node] = None
        elif node.is_merge:
            self.merges[node] = None

    def copied(self, copies: Mapping[GraphNode, GraphNode]) -> KeyChangers:
        """The same of copied nodes."""
        below = {
            copies[changer]: {copies[node]: None for node in nodes}
            for changer, nodes in self.below.items()
        }
        return KeyChangers(below, {copies[merge]: None for merge in self.merges})


def merge_repartitions(changers: KeyChangers) -> dict[str, str]:
    """Make one repartition topic of those below each key changer; old names and their new ones."""
    renamed: dict[str, str] = {}
    for changer, nodes in _with_merges(changers).items():
        if nodes:
            renamed |= _merge_below(changer, list(nodes))
    return renamed


def rewrite_self_joins(root: GraphNode) -> set[str]:
    """Leave out the second window of each stream that is joined with itself; the joins' names."""
    found: set[str] = set()
    for node in _all_below(root):
        if node.join_inputs is None or len(node.parents) != 1:
            continue
        (parent,) = node.parents
        for child in list(parent.children):
            if child.name == node.join_inputs[1]:
                _unlink(parent, child)
        found.add(node.name)
    return found


def _with_merges(changers: KeyChangers) -> dict[GraphNode, dict[GraphNode, None]]:
    """What several key changers share below a merge belongs to the merge."""
    below = dict(changers.below)
    by_merge: dict[GraphNode, list[GraphNode]] = {}
    for merge in changers.merges:
        by_merge[merge] = [
            changer
            for changer, nodes in below.items()
            if all(_is_below(node, merge) for node in nodes) and _is_below(merge, changer)
        ]
    gone: dict[GraphNode, None] = {}
    for merge, owners in by_merge.items():
        shared: dict[GraphNode, None] = {}
        for changer in owners:
            shared |= below[changer]
            gone[changer] = None
        below[merge] = shared
    return {changer: nodes for changer, nodes in below.items() if changer not in gone}


def _merge_below(changer: GraphNode, nodes: list[GraphNode]) -> dict[str, str]:
    first = nodes[0].repartition
    assert first is not None, "only repartition topics are merged"
    merged = first.merged([each.repartition for each in nodes if each.repartition is not None])
    merged.priority = changer.priority
    for node in nodes:
        top = _find(node, lambda each: changer in each.parents)
        if top is None:
            raise TopologyError(
                f"the repartition topic of {node.name} cannot be merged with others below "
                f"{changer.name}: leave {MERGE_REPARTITIONS} out of topology.optimization"
            )
        _link(merged, top)
        _unlink(changer, top)
        parents = list(node.parents)
        for child in node.children:
            for parent in parents:
                _link(parent, child)
        for parent in parents:
            _unlink(parent, node)
        for child in list(node.children):
            _unlink(node, child)
    _link(changer, merged)
    return {node.name: merged.name for node in nodes}


def _is_below(node: GraphNode, top: GraphNode) -> bool:
    return _find(node, lambda each: top in each.parents) is not None


def _find(node: GraphNode, fits: Callable[[GraphNode], bool]) -> GraphNode | None:
    """The node itself, or the first above it that fits, one parent's line after the other."""
    if fits(node):
        return node
    for parent in node.parents:
        found = _find(parent, fits)
        if found is not None:
            return found
    return None


def _all_below(root: GraphNode) -> Iterable[GraphNode]:
    seen: dict[GraphNode, None] = {}
    stack = [root]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen[node] = None
            stack.extend(reversed(node.children))
    return list(seen)


def _link(parent: GraphNode, child: GraphNode) -> None:
    parent.children[child] = None
    child.parents[parent] = None


def _unlink(parent: GraphNode, child: GraphNode) -> None:
    parent.children.pop(child, None)
    child.parents.pop(parent, None)
