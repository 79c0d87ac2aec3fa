"""Decorated functions with stores of every form."""

from __future__ import annotations

import pytest

import streamkit as sk
from streamkit.common.errors import TopologyError

WINDOWS = sk.store("seen", key=str, value=int, form="window", retention="1h", window="1m")
SESSIONS = sk.store("seen", key=str, value=int, form="session", retention="1h")
VERSIONS = sk.store("seen", key=str, value=int, form="versioned", retention="1h")
TIMES = sk.store("seen", key=str, value=int, form="timestamped", caching=True)
HEADERS = sk.store("seen", key=str, value=int, form="headers")


def program() -> tuple[sk.App, sk.Topic[str, str], sk.Topic[str, int]]:
    app = sk.App("forms")
    words = app.topic("words", key=str, value=str)
    return app, words, app.topic("totals", key=str, value=int)


def answers(app: sk.App, *times: int) -> list[int]:
    with app.test() as t:
        for time in times:
            t.pipe("words", "k", "a", at=time, headers=(("h", b"1"),))
        return [r.value for r in t.read("totals")]


def test_window_store() -> None:
    app, words, totals = program()

    @app.processor(words, to=totals, stores={"seen": WINDOWS})
    def count(record: sk.Record[str, str], seen: sk.WindowStore[str, int]) -> int:
        start = record.timestamp // 60_000 * 60_000
        window = sk.Windowed(record.value, start, start + 60_000)
        row = seen.get(window)
        seen.put(window, 1 if row is None else row.value + 1, record.timestamp)
        return sum(row.value for _, row in seen.fetch(record.value, 0, 120_000))

    assert answers(app, 3, 4, 60_001) == [1, 2, 3]


def test_session_store() -> None:
    app, words, totals = program()

    @app.processor(words, to=totals, stores={"seen": SESSIONS})
    def lengths(record: sk.Record[str, str], seen: sk.SessionStore[str, int]) -> int:
        start = end = record.timestamp
        for session, _ in list(seen.fetch(record.value, record.timestamp - 10, None)):
            start = min(start, session.start)
            seen.put(session, None, record.timestamp)
        seen.put(sk.Windowed(record.value, start, end), end - start, record.timestamp)
        return sum(row.value for _, row in seen.all())

    assert answers(app, 5, 9, 30) == [0, 4, 4]


def test_versioned_store() -> None:
    app, words, totals = program()

    @app.processor(words, to=totals, stores={"seen": VERSIONS})
    def before(record: sk.Record[str, str], seen: sk.VersionedStore[str, int]) -> int:
        old = seen.get(record.value, record.timestamp - 1)
        seen.put(record.value, record.timestamp, record.timestamp)
        return -1 if old is None else old.value

    assert answers(app, 5, 9, 7) == [-1, 5, 5]


def test_timestamped_store_needs_types_alone() -> None:
    app, words, totals = program()

    @app.processor(words, to=totals)
    def since(record: sk.Record[str, str], seen: sk.TimestampedStore[str, int]) -> int:
        old = seen.get(record.value)
        seen.put(record.value, 1, record.timestamp)
        return 0 if old is None else record.timestamp - old.timestamp

    assert answers(app, 5, 9, 19) == [0, 4, 10]


def test_timestamped_store_that_was_given() -> None:
    app, words, totals = program()

    @app.processor(words, to=totals, stores={"seen": TIMES})
    def since(record: sk.Record[str, str], seen: sk.TimestampedStore[str, int]) -> int:
        seen.put(record.value, 1, record.timestamp)
        return len(list(seen.all()))

    assert answers(app, 5, 9) == [1, 1]


def test_store_with_headers() -> None:
    app, words, totals = program()

    @app.processor(words, to=totals, stores={"seen": HEADERS})
    def kept(word: str, seen: sk.HeadersStore[str, int]) -> int:
        old = seen.get(word)
        seen.put(word, 1)
        return 0 if old is None else int(old.headers[0][1] or b"0")

    assert answers(app, 5, 9) == [0, 1]


def test_store_that_the_program_knows_is_taken_by_name() -> None:
    app, words, totals = program()
    app.add_state_store(WINDOWS)

    @app.processor(words, to=totals, stores={"windows": "seen"})
    def count(word: str, windows: sk.WindowStore[str, int]) -> int:
        windows.put(sk.Windowed(word, 0, 60_000), 7, 5)
        return len(list(windows.all()))

    assert answers(app, 5, 9) == [1, 1]


def test_windows_without_a_store_say_what_is_missing() -> None:
    app, words, _ = program()
    says = r"store seen needs more than types: say stores=\{'seen': .*form='window'"
    with pytest.raises(TopologyError, match=says):

        @app.processor(words)
        def count(word: str, seen: sk.WindowStore[str, int]) -> None:
            return None


def test_store_of_another_form_is_refused() -> None:
    app, words, _ = program()
    with pytest.raises(TopologyError, match=r"form window, not .*KeyValue"):

        @app.processor(words, stores={"seen": WINDOWS})
        def count(word: str, seen: sk.KeyValue[str, int]) -> None:
            return None


def test_async_function_has_plain_rows_only() -> None:
    app, words, _ = program()
    with pytest.raises(TopologyError, match="store seen: an async function has stores of the form"):

        @app.processor(words, stores={"seen": WINDOWS})
        async def count(word: str, seen: sk.WindowStore[str, int]) -> None:
            return None
