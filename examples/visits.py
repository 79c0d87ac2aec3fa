"""Visits: where visitors come from, looked up over the network, sixteen at a time in each task.

A look-up that fails is tried again, and after five attempts the visit goes to `visits.dlq`. The
client is opened once for each worker. What was found is kept for a day.

    streamkit run examples/visits.py
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import streamkit as sk

app = sk.App("visits")

visits = app.topic("visits", key=str, value=str)
places = app.topic("places", key=str, value=str)


class Atlas:
    """Stands for the client of a service that knows where addresses are."""

    def __init__(self) -> None:
        self.lookups = 0

    async def place(self, address: str) -> str:
        """Where an address is. Raises ConnectionError now and then, as services do."""
        self.lookups += 1
        await asyncio.sleep(0.001)
        if self.lookups % 7 == 0:
            raise ConnectionError("the atlas is busy")
        return f"place {address.rpartition('.')[2]}"


@app.resource
async def atlas() -> AsyncIterator[Atlas]:
    """One for each worker: what comes behind the yield closes it."""
    client = Atlas()
    yield client


@app.processor(
    visits,
    to=places,
    stores={"known": sk.store("known", key=str, value=str, ttl="1d")},
    on_error=sk.dead_letter("visits.dlq", attempts=5, backoff="10ms"),
    concurrency=16,
)
async def locate(address: str, known: sk.KeyValue[str, str], remote: Atlas = atlas) -> str:
    """Where a visitor comes from."""
    if address not in known:
        known[address] = await remote.place(address)
    return known[address]


if __name__ == "__main__":
    app.main()
