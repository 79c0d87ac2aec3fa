"""Which topics must have equal partitions, in the order in which Kafka Streams tells of them.

Apache Kafka compares the groups of a member that joins with those it knows as lists, so that
whatever order Java's sets happen to have is part of the protocol.
"""

from __future__ import annotations

from collections.abc import Iterable

from streamkit.topology.graph.java_order import hash_order, hash_order_of_sets


def copartition_groups(together: Iterable[Iterable[str]]) -> list[tuple[str, ...]]:
    """Groups of one topic and more, from the topics of each operator that wants them equal.

    As in Kafka Streams an operator's topics go to the first group that has one of them: what
    bridges two groups leaves the second as it is.
    """
    groups: list[list[str]] = []
    group_of: dict[str, int] = {}
    for names in together:
        topics = hash_order(names)
        number = next((group_of[name] for name in topics if name in group_of), len(groups))
        if number == len(groups):
            groups.append([])
        groups[number] += topics
        group_of |= dict.fromkeys(topics, number)
    ordered = [tuple(hash_order(groups[number])) for number in group_of.values()]
    return hash_order_of_sets(ordered)
