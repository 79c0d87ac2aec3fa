"""Windows of the user's own: calendar months, and the same answers as the built-in ones."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

import streamkit as sk
from streamkit.common.errors import TopologyError

DAY_MS = 86_400_000


def ms(year: int, month: int, day: int, hour: int = 0) -> int:
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp() * 1000)


@dataclass(frozen=True)
class Months:
    """Calendar months in UTC."""

    grace_ms: int = 0
    size_ms: int = 31 * DAY_MS

    def starts(self, timestamp: int) -> Iterable[int]:
        day = datetime.fromtimestamp(timestamp / 1000, UTC)
        return (ms(day.year, day.month, 1),)

    def end(self, start: int) -> int:
        day = datetime.fromtimestamp(start / 1000, UTC)
        return ms(day.year + day.month // 12, day.month % 12 + 1, 1)


@dataclass(frozen=True)
class Hops:
    """What `sk.hopping("10s", "4s", grace="3s")` is."""

    size_ms: int = 10_000
    grace_ms: int = 3_000

    def starts(self, timestamp: int) -> Iterable[int]:
        first = max(0, timestamp - self.size_ms + 4_000) // 4_000 * 4_000
        return range(first, timestamp + 1, 4_000)

    def end(self, start: int) -> int:
        return start + self.size_ms


def monthly(config: Any = None) -> sk.App:
    app = sk.App("monthly", config=config)
    sales = app.stream("sales", key=str, value=int).group_by_key()
    table = sales.windowed_by(Months()).reduce(lambda a, b: a + b, name="months")
    table.to_stream().to("months")
    table.suppress("window_closes").to_stream().to("closed")
    return app


@pytest.mark.parametrize("cache", [0, 10_000_000])
def test_months_have_their_own_lengths(cache: int) -> None:
    with monthly().test(config={"statestore.cache.max.bytes": cache}) as t:
        t.pipe("sales", "a", 5, at=ms(2024, 2, 1))
        t.pipe("sales", "a", 7, at=ms(2024, 2, 29, 23))
        t.pipe("sales", "a", 1, at=ms(2024, 3, 1))
        t.pipe("sales", "a", 9, at=ms(2024, 2, 29))  # too late
        t.pipe("sales", "a", 2, at=ms(2024, 12, 31))
        february = sk.Windowed("a", ms(2024, 2, 1), ms(2024, 3, 1))
        march = sk.Windowed("a", ms(2024, 3, 1), ms(2024, 4, 1))
        december = sk.Windowed("a", ms(2024, 12, 1), ms(2025, 1, 1))
        seen = [(r.key, r.value) for r in t.read("months")]
        assert seen == [(february, 5), (february, 12), (march, 1), (december, 2)]
        assert [(r.key, r.value) for r in t.read("closed")] == [(february, 12), (march, 1)]
        assert t.dropped == 1
        assert [key for key, _ in t.store("months").all()] == [december]


def answers(windows: Any, seed: int, cache: int) -> list[Any]:
    chance = random.Random(seed)
    app = sk.App("same")
    lines = app.stream("lines", key=str, value=int).group_by_key().windowed_by(windows)
    folded = lines.aggregate(0, lambda key, value, total: total + (value or 0), value=int, name="s")
    folded.to_stream().to("sums")
    folded.suppress("window_closes", name="held").to_stream().to("closed")
    lines.count(name="counts").to_stream().to("counts")
    with app.test(config={"statestore.cache.max.bytes": cache}) as t:
        time = 0
        for _ in range(300):
            time += chance.randrange(900)
            at = max(0, time - chance.randrange(12_000))
            value = chance.choice([1, 2, None])
            t.pipe("lines", chance.choice(["a", "b", None]), value, at=at)
        return [
            (record.tp, record.key, record.value, record.timestamp)
            for record in t.written
            if not record.tp.topic.startswith("lines")
        ] + [list(t.store(name).all()) for name in ("s", "counts")]


@pytest.mark.parametrize("seed", [11, 12, 13])
@pytest.mark.parametrize("cache", [0, 10_000_000])
def test_own_windows_like_hopping_ones_answer_alike(seed: int, cache: int) -> None:
    expected = answers(sk.hopping("10s", "4s", grace="3s"), seed, cache)
    found = answers(Hops(), seed, cache)
    assert [str(each) for each in found] == [str(each) for each in expected]


def test_emit_on_close_is_refused() -> None:
    grouped = sk.App("monthly").stream("sales", key=str, value=int).group_by_key()
    with pytest.raises(TopologyError, match=r"not for windows of one's own: suppress"):
        grouped.windowed_by(Months(), emit="on_close")


@pytest.mark.parametrize("given", ["1m", 60_000, None, sk.tumbling])
def test_what_is_no_windows_is_refused(given: Any) -> None:
    grouped = sk.App("monthly").stream("sales", key=str, value=int).group_by_key()
    with pytest.raises(TopologyError, match=r"windowed_by\(.*\): give streamkit.tumbling\('1m'\)"):
        grouped.windowed_by(given)


def test_too_short_a_retention_is_refused() -> None:
    grouped = sk.App("monthly").stream("sales", key=str, value=int).group_by_key()
    with pytest.raises(TopologyError, match="too short"):
        grouped.windowed_by(Months()).count(store=sk.Materialized("m", retention="30d"))


def test_reader_of_the_topic_knows_the_ends() -> None:
    serde = sk.serdes.time_windowed(str, Months().end)
    key = sk.Windowed("a", ms(2024, 2, 1), ms(2024, 3, 1))
    assert serde.deserialize("t", serde.serialize("t", key, ()) or b"", ()) == key


def test_own_windows_of_a_cogrouped_stream() -> None:
    app = sk.App("monthly")
    sales = app.stream("sales", key=str, value=int).group_by_key()
    both = sales.cogroup(lambda key, value, total: total + value).windowed_by(Months())
    both.aggregate(0, value=int, name="months").to_stream().to("months")
    with app.test() as t:
        t.pipe("sales", "a", 5, at=ms(2024, 2, 1))
        assert [r.key.end for r in t.read("months")] == [ms(2024, 3, 1)]
