"""What stores do beyond get and put: put unless there, put many, count, remove a session."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import streamkit as sk
from streamkit.state.backend import Backend, MemoryBackend
from streamkit.state.cache import CacheBudget
from streamkit.state.factory import Changelog, build_store
from streamkit.state.overlay import COUNTED_MAX, OverlayStore
from streamkit.state.rocks import RocksBackend

Logged = list[tuple[bytes, bytes | None, int]]


class Context:
    timestamp = 77
    stream_time = 77
    headers = (("h", b"x"),)

    def drop(self, reason: str) -> None:
        raise AssertionError(reason)


class Kit:
    """A store of one kind over one backend, with its changelog."""

    def __init__(self, backend: Backend, **options: Any) -> None:
        cached = options.pop("cached", False)
        self.builder = sk.store("rows", key=str, value=int, **options)
        self.backend = backend
        self.overlay = OverlayStore(backend, "rows")
        self.logged: Logged = []
        self.store: Any = build_store(
            dataclasses.replace(self.builder, caching_enabled=cached),
            self.overlay,
            Changelog("log", 3, lambda k, v, time, headers, p: self.logged.append((k, v, time))),
            CacheBudget(1 << 20 if cached else 0),
            Context(),  # type: ignore[arg-type]  # as much of a context as these stores ask for
        )

    def commit(self) -> None:
        self.store.flush()
        self.backend.write(self.overlay.take_changes())
        self.overlay.discard()


@pytest.fixture(params=["memory", "rocks"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    made: Backend = MemoryBackend(["rows"])
    if request.param == "rocks":
        made = RocksBackend(str(tmp_path / "db"), ["rows"])
    yield made
    made.close()


PLAIN: list[dict[str, Any]] = [{}, {"cached": True}, {"ttl": "1h"}, {"kind": "lru", "entries": 70}]


@pytest.mark.parametrize("options", PLAIN, ids=str)
def test_plain_store(backend: Backend, options: dict[str, Any]) -> None:
    kit = Kit(backend, **options)
    assert kit.store.put_if_absent("a", 5) is None
    assert kit.store.put_if_absent("a", 6) == 5
    kit.store.put_all({"b": 7, "c": 8})
    kit.store.put_all([("c", None), ("d", 9)])
    kit.commit()
    assert list(kit.store.all()) == [("a", 5), ("b", 7), ("d", 9)]
    assert {key for key, *_ in kit.logged} >= {b"a", b"b", b"d"}


TIMED: list[dict[str, Any]] = [
    {"form": "timestamped"},
    {"form": "timestamped", "cached": True},
    {"form": "timestamped", "ttl": "1h"},
]


@pytest.mark.parametrize("options", TIMED, ids=str)
def test_timestamped_store(backend: Backend, options: dict[str, Any]) -> None:
    kit = Kit(backend, **options)
    assert kit.store.put_if_absent("a", 5, 70) is None
    assert tuple(kit.store.put_if_absent("a", 6, 71)) == (5, 70)
    kit.store.put_all([("b", 7, 72), ("c", 8, 73), ("c", None, 74)])
    kit.commit()
    assert [(key, tuple(row)) for key, row in kit.store.all()] == [("a", (5, 70)), ("b", (7, 72))]


def test_headers_store(backend: Backend) -> None:
    kit = Kit(backend, form="headers")
    assert kit.store.put_if_absent("a", 5) is None
    assert kit.store.put_if_absent("a", 6, 71, ()) == (5, 77, (("h", b"x"),))
    kit.store.put_all([("b", 7, 72, ()), ("c", 8, None, None), ("c", None, 74, ())])
    kit.commit()
    assert [(key, *row) for key, row in kit.store.all()] == [
        ("a", 5, 77, (("h", b"x"),)),
        ("b", 7, 72, ()),
    ]


@pytest.mark.parametrize("options", [*PLAIN, *TIMED, {"form": "headers"}], ids=str)
def test_rows_are_counted(backend: Backend, options: dict[str, Any]) -> None:
    kit = Kit(backend, **options)
    timed = (70,) if options.get("form") else ()
    for number in range(7):
        kit.store.put(str(number), number, *timed)
    kit.commit()
    kit.store.put("3", None, *timed)
    kit.commit()
    assert kit.store.approximate_num_entries() == 6


def test_count_is_exact_for_few_changes_in_memory() -> None:
    kit = Kit(MemoryBackend(["rows"]))
    kit.store.put_all({"a": 5, "b": 6})
    kit.commit()
    kit.store.put_all({"a": 7, "b": None, "c": 8, "d": None})
    assert kit.store.approximate_num_entries() == 2
    kit.store.put_all({str(number): number for number in range(COUNTED_MAX)})
    assert kit.store.approximate_num_entries() == 2 + 4 + COUNTED_MAX


def test_what_only_a_cache_holds_does_not_count() -> None:
    kit = Kit(MemoryBackend(["rows"]), cached=True)
    kit.store.put("a", 5)
    assert kit.store.approximate_num_entries() == 0


def test_sessions_are_found_and_removed(backend: Backend) -> None:
    kit = Kit(backend, form="session", retention="1h")
    kit.store.put(sk.Windowed("a", 70, 75), 5, 75)
    kit.store.put(sk.Windowed("a", 80, 85), 6, 85)
    assert tuple(kit.store.fetch_session("a", 70, 75)) == (5, 75)
    assert kit.store.fetch_session("a", 70, 74) is None
    kit.store.remove(sk.Windowed("a", 70, 75))
    kit.commit()
    assert kit.store.fetch_session("a", 70, 75) is None
    assert [key for key, _ in kit.store.fetch("a", 0, None)] == [sk.Windowed("a", 80, 85)]
    assert [(value, time) for _, value, time in kit.logged][-1] == (None, 75)


def answers(function: Callable[..., Any]) -> list[str]:
    app = sk.App("calls")
    app.stream("in", key=str, value=int).process(function).to("out")
    with app.test() as t:
        for number in (5, 6):
            t.pipe("in", "k", number, at=77)
        return [record.value for record in t.read("out")]


def test_functions_use_them() -> None:
    def use(number: int, seen: sk.KeyValueStore[str, int]) -> str:
        found = seen.put_if_absent("first", number)
        seen.put_all({"last": number})
        return f"{found} {seen.approximate_num_entries()}"

    assert answers(use) == ["None 2", "5 2"]


def test_async_functions_use_them() -> None:
    async def use(number: int, seen: sk.KeyValueStore[str, int]) -> str:
        found = seen.put_if_absent("first", number)
        seen.put_all([("last", number)])
        return f"{found} {seen.get('last')} {seen.approximate_num_entries()}"

    assert answers(use) == ["None 5 0", "5 6 2"]
