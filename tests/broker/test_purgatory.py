"""Purgatory: woken by news, by time, and left clean."""

from __future__ import annotations

import asyncio

from streamkit.broker.purgatory import WatchList, park


def test_parked_request_is_woken_by_any_of_its_partitions() -> None:
    async def scenario() -> tuple[bool, int, int]:
        first, second = WatchList(), WatchList()
        parked = asyncio.ensure_future(park([first, second], 60.0))
        await asyncio.sleep(0)
        second.wake()
        return await parked, len(first), len(second)

    assert asyncio.run(scenario()) == (True, 0, 0)


def test_parked_request_ends_when_its_time_is_up() -> None:
    async def scenario() -> tuple[bool, int]:
        watch = WatchList()
        return await park([watch], 0.0), len(watch)

    assert asyncio.run(scenario()) == (False, 0)


def test_cancelled_request_leaves_the_watch_list() -> None:
    async def scenario() -> int:
        watch = WatchList()
        parked = asyncio.ensure_future(park([watch], 60.0))
        await asyncio.sleep(0)
        parked.cancel()
        await asyncio.gather(parked, return_exceptions=True)
        return len(watch)

    assert asyncio.run(scenario()) == 0
