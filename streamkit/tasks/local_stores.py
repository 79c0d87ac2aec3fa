"""Stores of an embedded worker, read from the program around it.

    async with app.worker(bootstrap=...) as worker:
        counts = worker.store("counts")
        print(await counts.get("word"))

Only what this worker holds is seen, as it was at the last commit; `stale` includes standbys and
tasks that are still restored. Other workers' partitions are read over HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from streamkit.common.errors import RetriableError, UsageError
from streamkit.common.model import Windowed
from streamkit.state.queries import KeyQuery, Query, RangeQuery, VersionsQuery, WindowQuery
from streamkit.state.versioned import VersionedRecord
from streamkit.tasks.asks import Failure
from streamkit.tasks.query_service import (
    QueryRequest,
    QueryService,
    UnknownStoreError,
    UnreadyError,
)

PAGE_ROWS = 1_000
TIMEOUT_MS = 10_000.0


class NotHereError(RetriableError):
    """No task of this worker has the key now; another worker does, or will."""


class LocalStore:
    """Reads one store in the worker's event loop, whichever loop the caller runs in.

    Keys and values are those of the program. Raises NotHereError when a key's partition is not
    here, UsageError for a store that does not answer such a question.
    """

    def __init__(
        self,
        service: QueryService,
        name: str,
        *,
        stale: bool,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        try:
            part, self._builder = service.store(name)
        except UnknownStoreError as error:
            raise UsageError(str(error)) from None
        self._is_global = service.is_global(part)
        self._service = service
        self._stale = stale
        self._loop = loop
        self._topic = service.topic_of(self._builder)

    async def get(self, key: Any, *, as_of: int | None = None) -> Any:
        """The value of a key, or None; of a versioned store also that which held at a time."""
        data = self._bytes(key)
        rows = await self._of_key(data, KeyQuery(data, as_of))
        return rows[0]["value"] if rows else None

    async def versions(
        self, key: Any, *, time_from: int = 0, time_to: int | None = None, reverse: bool = False
    ) -> list[VersionedRecord]:
        """The versions of a key that held at any time of a range, both ends included, by time."""
        data = self._bytes(key)
        rows = await self._of_key(data, VersionsQuery(data, time_from, time_to, reverse))
        return [VersionedRecord(row["value"], row["timestamp"], row["valid_to"]) for row in rows]

    async def _of_key(self, data: bytes, query: Query) -> list[dict[str, Any]]:
        """All rows of one key, asked for where the key's partition is."""
        partitions = None
        if not self._is_global:
            part, _ = self._service.store(self._builder.name)
            try:
                number = await self._there(self._service.partition_of(part, data))
            except UnreadyError as error:
                raise NotHereError(str(error)) from None
            partitions = frozenset({number})
        return [row async for row in self._rows(query, partitions)]

    async def range(
        self, low: Any = None, high: Any = None, *, reverse: bool = False
    ) -> AsyncIterator[tuple[Any, Any]]:
        """Keys and values from `low` to `high`, both included, partition by partition."""
        query = RangeQuery(self._end(low), self._end(high), reverse=reverse)
        async for row in self._rows(query):
            yield row["key"], row["value"]

    async def prefix(self, prefix: Any, *, reverse: bool = False) -> AsyncIterator[tuple[Any, Any]]:
        """Keys and values whose key's bytes begin with those of `prefix`."""
        async for row in self._rows(RangeQuery(prefix=self._bytes(prefix), reverse=reverse)):
            yield row["key"], row["value"]

    async def windows(
        self,
        key: Any = None,
        *,
        time_from: int = 0,
        time_to: int | None = None,
        reverse: bool = False,
    ) -> AsyncIterator[tuple[Windowed[Any], Any]]:
        """Windows by start, sessions by end, in milliseconds, both included; of one key or all."""
        query = WindowQuery(self._end(key), time_from, time_to, reverse)
        async for row in self._rows(query):
            window = row["window"]
            yield Windowed(row["key"], window["start"], window["end"]), row["value"]

    async def _rows(
        self, query: Query, partitions: frozenset[int] | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        after: dict[int, bytes] = {}
        while partitions is None or partitions:
            found = await self._ask(query, partitions, after)
            for answer in found:
                for row in answer["rows"]:
                    yield row
            left = {each["partition"]: each["after"] for each in found if each["after"] is not None}
            after = {number: bytes.fromhex(mark) for number, mark in left.items()}
            partitions = frozenset(left)

    async def _ask(
        self,
        query: Query,
        partitions: frozenset[int] | None,
        after: dict[int, bytes] | None = None,
    ) -> list[dict[str, Any]]:
        request = QueryRequest(
            self._builder.name, query, "", {}, partitions, self._stale,
            limit=PAGE_ROWS, after=after or {}, timeout_ms=TIMEOUT_MS,
        )  # fmt: skip
        answers = await self._there(self._service.local(request))
        for answer in answers:
            failure = answer.get("failure")
            if failure in {Failure.UNKNOWN_QUERY_TYPE.name, Failure.DOES_NOT_EXIST.name}:
                raise UsageError(f"store {self._builder.name}: {Failure[failure].value}")
            if failure is not None and (partitions is not None or self._is_global):
                raise NotHereError(
                    f"store {self._builder.name}, partition {answer['partition']}: "
                    f"{Failure[failure].value}"
                )
        return [answer for answer in answers if "failure" not in answer]

    async def _there(self, work: Any) -> Any:
        """Run in the worker's loop."""
        if asyncio.get_running_loop() is self._loop:
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _bytes(self, key: Any) -> bytes:
        return self._builder.key_serde.serialize(self._topic, key, ()) or b""

    def _end(self, key: Any) -> bytes | None:
        return None if key is None else self._bytes(key)
