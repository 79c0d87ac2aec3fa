"""Purgatory: requests that wait until a partition has news or their time is up.

A partition owns a `WatchList`. A parked request watches the lists of all its partitions, and is
woken by the first that has news; it looks again then, and may park once more. Nothing here
decides whether a request is done: that is the handler's part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


class WatchList:
    """The requests parked on one partition, in the order they came."""

    __slots__ = ("_parked",)

    def __init__(self) -> None:
        self._parked: dict[asyncio.Future[bool], None] = {}

    def __len__(self) -> int:
        return len(self._parked)

    def wake(self) -> None:
        """Let every parked request look again."""
        if not self._parked:
            return
        parked, self._parked = self._parked, {}
        for waiter in parked:
            _resolve(waiter, True)

    def _add(self, waiter: asyncio.Future[bool]) -> None:
        self._parked[waiter] = None

    def _discard(self, waiter: asyncio.Future[bool]) -> None:
        self._parked.pop(waiter, None)


async def park(lists: Iterable[WatchList], timeout_s: float) -> bool:
    """Wait until one of `lists` is woken: True; or for `timeout_s` seconds: False."""
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[bool] = loop.create_future()
    watched = list(lists)
    for watch in watched:
        watch._add(waiter)
    timer = loop.call_later(max(timeout_s, 0.0), _resolve, waiter, False)
    try:
        return await waiter
    finally:
        timer.cancel()
        for watch in watched:
            watch._discard(waiter)


def _resolve(waiter: asyncio.Future[bool], value: bool) -> None:
    if not waiter.done():
        waiter.set_result(value)
