"""The `uniform` assignor for members that subscribe to different topics.

Free partitions go to the subscriber with the least, the topics with most partitions for each
subscriber first. Then, again and again, partitions move from the most to the least loaded
subscriber of a topic while that makes them more equal (UniformHeterogeneousAssignmentBuilder).
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heapreplace
from uuid import UUID

from streamkit.broker.coordinators.group.consumer.assignors.spec import (
    Assignment,
    AssignmentSpec,
)
from streamkit.broker.coordinators.group.consumer.model import Partition

ROUNDS_MAX = 16
"""Overlapping subscriptions may take long to balance; each round halves the imbalance or so."""


def assign(spec: AssignmentSpec) -> Assignment:
    """Every partition to one subscriber of its topic."""
    return _Balance(spec).assign()


class _Balance:
    def __init__(self, spec: AssignmentSpec) -> None:
        self._partitions = spec.partitions
        self._members = [each.member_id for each in spec.members]
        self._subscribers: dict[UUID, list[int]] = {}
        self._owners: dict[UUID, list[int | None]] = {}
        self._loads = [0] * len(self._members)
        for place, member in enumerate(spec.members):
            for topic_id in member.topics:
                self._subscribers.setdefault(topic_id, []).append(place)
        for topic_id in self._subscribers:
            self._owners[topic_id] = [None] * spec.partitions[topic_id]
        for place, member in enumerate(spec.members):
            self._keep(place, member.topics, member.assigned)

    def assign(self) -> Assignment:
        topics = sorted(self._subscribers, key=self._priority)
        for topic_id in topics:
            self._hand_out(topic_id)
        self._balance([each for each in topics if len(self._subscribers[each]) > 1])
        target: dict[str, set[Partition]] = {member_id: set() for member_id in self._members}
        for topic_id, owners in self._owners.items():
            for index, owner in enumerate(owners):
                if owner is not None:
                    target[self._members[owner]].add((topic_id, index))
        return {member_id: frozenset(each) for member_id, each in target.items()}

    def _priority(self, topic_id: UUID) -> tuple[float, int, UUID]:
        subscribers = len(self._subscribers[topic_id])
        return -self._partitions[topic_id] / subscribers, subscribers, topic_id

    def _keep(self, place: int, topics: frozenset[UUID], assigned: Iterable[Partition]) -> None:
        for topic_id, index in sorted(assigned):
            if topic_id not in topics or index >= self._partitions[topic_id]:
                continue
            if self._owners[topic_id][index] is None:
                self._owners[topic_id][index] = place
                self._loads[place] += 1

    def _hand_out(self, topic_id: UUID) -> None:
        owners = self._owners[topic_id]
        loads = self._by_load(self._subscribers[topic_id])
        for index, owner in enumerate(owners):
            if owner is None:
                load, least = loads[0]
                owners[index] = least
                self._loads[least] += 1
                heapreplace(loads, (load + 1, least))

    def _by_load(self, places: Iterable[int], sign: int = 1) -> list[tuple[int, int]]:
        """A heap of loads and places; with the sign -1 the highest comes first."""
        loads = [(sign * self._loads[place], sign * place) for place in places]
        heapify(loads)
        return loads

    def _balance(self, topics: list[UUID]) -> None:
        for _ in range(ROUNDS_MAX):
            moved = [self._balance_topic(topic_id) for topic_id in topics]
            if not any(moved):
                return

    def _balance_topic(self, topic_id: UUID) -> bool:
        """Move partitions of one topic; whether any moved.

        Who gives never ends below who gets, so an entry of the other heap that is out of date is
        never its first one before the end.
        """
        owners = self._owners[topic_id]
        held: dict[int, list[int]] = {}
        for index, owner in enumerate(owners):
            if owner is not None:
                held.setdefault(owner, []).append(index)
        least_first = self._by_load(self._subscribers[topic_id])
        most_first = self._by_load(held, -1)
        has_moved = False
        while most_first:
            most, least = -most_first[0][1], least_first[0][1]
            if not held[most]:
                heappop(most_first)
                continue
            if self._loads[most] - self._loads[least] <= 1:
                break
            owners[held[most].pop()] = least
            self._loads[most] -= 1
            self._loads[least] += 1
            heapreplace(most_first, (-self._loads[most], -most))
            heapreplace(least_first, (self._loads[least], least))
            has_moved = True
        return has_moved
