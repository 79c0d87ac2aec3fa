"""Under which topics serdes are called, as Kafka Streams does it: their subjects in a registry.

What Kafka Streams calls was recorded from it (`tests/judges/test_serde_vectors.py` asks it anew).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import streamkit as sk
from streamkit import serdes
from streamkit.common.model import Headers

RECORDED = Path(__file__).parent / "java_subjects.tsv"


@dataclass(frozen=True)
class Spy:
    """Text; remembers the topics that it was called with, and for keys or values."""

    seen: set[str]
    side: str = "value"

    def for_keys(self) -> Spy:
        return replace(self, side="key")

    def serialize(self, topic: str, value: str, headers: Headers, /) -> bytes:
        self.seen.add(f"{topic}-{self.side}")
        return value.encode()

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> str:
        self.seen.add(f"{topic}-{self.side}")
        return data.decode()


def newer(_: str, new: str) -> str:
    return new


def both(one: str | None, two: str | None) -> str:
    return f"{one}{two}"


def reduce_(app: sk.App, spy: Any) -> Any:
    return (
        stream(app, spy).group_by(lambda _, v: v, key=spy).reduce(newer, name="latest").to_stream()
    )


def windowed(app: sk.App, spy: Any) -> Any:
    grouped = stream(app, spy).group_by_key().windowed_by(sk.tumbling("1m"))
    table = grouped.reduce(newer, name="minutes")
    return table.suppress("window_closes", name="closed").to_stream()


def sessions(app: sk.App, spy: Any) -> Any:
    grouped = stream(app, spy).group_by_key().windowed_by(sk.session("1m"))
    return grouped.reduce(newer, name="visits").to_stream()


def foreign(app: sk.App, spy: Any) -> Any:
    left, right = table(app, spy, "a"), table(app, spy, "b")
    joined = left.join(right, both, on=lambda _, v: v, node="priced", name="joined", value=spy)
    return joined.to_stream()


def streams(app: sk.App, spy: Any) -> Any:
    store = sk.Materialized("sides")
    left, right = stream(app, spy), stream(app, spy, "b")
    return left.left_join(right, both, within="1m", name="joining", store=store, value=spy)


def tables(app: sk.App, spy: Any) -> Any:
    left, right = table(app, spy, "a"), table(app, spy, "b")
    return left.left_join(right, both, name="both", value=spy).to_stream()


def regrouped(app: sk.App, spy: Any) -> Any:
    grouped = table(app, spy, "a").group_by(lambda _, v: (v, v), key=spy, value=spy)
    return grouped.reduce(newer, lambda one, _: one, name="sums").to_stream()


def through(app: sk.App, spy: Any) -> Any:
    return stream(app, spy).repartition(name="again")


def versioned(app: sk.App, spy: Any) -> Any:
    store = sk.Materialized("history", kind="versioned", history="2h")
    return app.table("a", key=spy, value=spy, store=store).to_stream()


def suppressed(app: sk.App, spy: Any) -> Any:
    return table(app, spy, "a").suppress("1m", name="later").to_stream()


def stream(app: sk.App, spy: Any, topic: str = "a") -> Any:
    return app.stream(topic, key=spy, value=spy)


def table(app: sk.App, spy: Any, topic: str) -> Any:
    return app.table(topic, key=spy, value=spy)


CASES: dict[str, Callable[[sk.App, Any], Any]] = {
    each.__name__.rstrip("_"): each
    for each in (
        reduce_, windowed, sessions, foreign, streams, tables, regrouped, through, versioned,
        suppressed,
    )
}  # fmt: skip

TWO_TOPICS = {"foreign", "streams", "tables"}

KEYS: dict[str, Callable[[Any], Any]] = {
    "windowed": lambda spy: serdes.time_windowed(spy, 60_000),
    "sessions": serdes.session_windowed,
}


def recorded() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in RECORDED.read_text().splitlines():
        case, subject = line.split("\t")
        found.setdefault(case, set()).add(subject)
    return found


@pytest.mark.parametrize("case", CASES)
def test_serdes_are_called_under_the_topics_of_kafka_streams(case: str) -> None:
    seen: set[str] = set()
    spy = Spy(seen)
    app = sk.App("shop")
    CASES[case](app, spy).to("out", key=KEYS.get(case, lambda spy: spy)(spy), value=spy)
    with app.test() as t:
        for hour in (0, 1):
            for topic in ("a", "b") if case in TWO_TOPICS else ("a",):
                t.pipe_bytes(topic, b"k", b"k%d" % hour, at=hour * 3_600_000)
                t.pipe_bytes(topic, b"k0", b"v%d" % hour, at=hour * 3_600_000 + 1)
    assert seen == recorded()[case]


def test_every_case_of_java_is_tried_here() -> None:
    assert set(recorded()) == set(CASES)
