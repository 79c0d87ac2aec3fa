"""Circles in a graph: its strongly connected components of more than one node (Tarjan's)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet


def components(edges: Mapping[int, AbstractSet[int]]) -> list[list[int]]:
    """The components with a circle, each in ascending order. Recursion would be too deep here."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    found: list[list[int]] = []

    def enter(node: int) -> tuple[int, Iterator[int]]:
        order[node] = low[node] = len(order)
        stack.append(node)
        on_stack.add(node)
        return node, iter(sorted(edges.get(node, ())))

    def leave(node: int) -> None:
        if low[node] != order[node]:
            return
        members = []
        while not members or members[-1] != node:
            members.append(stack.pop())
            on_stack.discard(members[-1])
        if len(members) > 1:
            found.append(sorted(members))

    for root in sorted(edges):
        if root in order:
            continue
        path = [enter(root)]
        while path:
            node, rest = path[-1]
            following = next(rest, None)
            if following is None:
                path.pop()
                leave(node)
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[node])
            elif following not in order:
                path.append(enter(following))
            elif following in on_stack:
                low[node] = min(low[node], order[following])
    return found
