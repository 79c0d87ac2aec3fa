"""Which of several goes first: the one with the lowest time.

A binary heap that treats equal times as `java.util.PriorityQueue` does, so that punctuations, and
records in a test driver, come in the order in which Kafka Streams takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class TimeOrder(Generic[T]):
    """Things by their time, which does not change while they are in here."""

    def __init__(self, time_of: Callable[[T], int]) -> None:
        self._time_of = time_of
        self._heap: list[T] = []

    def add(self, item: T) -> None:
        """Put one in."""
        heap, time = self._heap, self._time_of(item)
        heap.append(item)
        here = len(heap) - 1
        while here > 0:
            parent = (here - 1) >> 1
            if time >= self._time_of(heap[parent]):
                break
            heap[here] = heap[parent]
            here = parent
        heap[here] = item

    def peek(self) -> T | None:
        """The first; None when there is none."""
        return self._heap[0] if self._heap else None

    def pop(self) -> T | None:
        """Take the first; None when there is none."""
        heap = self._heap
        if not heap:
            return None
        first, last = heap[0], heap.pop()
        if heap:
            self._sift_down(last)
        return first

    def _sift_down(self, item: T) -> None:
        heap, time, here = self._heap, self._time_of(item), 0
        half = len(heap) >> 1
        while here < half:
            child = 2 * here + 1
            right = child + 1
            if right < len(heap) and self._time_of(heap[child]) > self._time_of(heap[right]):
                child = right
            if time <= self._time_of(heap[child]):
                break
            heap[here] = heap[child]
            here = child
        heap[here] = item
