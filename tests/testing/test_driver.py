"""The test driver: what a user's own tests of an app rely on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import streamkit as sk
from streamkit.common.errors import FatalError, TopologyError
from streamkit.common.time_order import TimeOrder


def word_count() -> sk.App:
    app = sk.App("words")
    (
        app.stream("lines", key=str, value=str)
        .flat_map_values(str.split, value=str)
        .group_by(lambda _, word: word, key=str)
        .count(name="counts")
        .to_stream()
        .to("totals")
    )
    return app


def test_pipes_reads_and_looks_into_stores() -> None:
    with word_count().test() as t:
        t.pipe("lines", None, "to be or", at=70, headers=(("h", b"x"),))
        t.pipe("lines", "k", "to", at=50)
        assert [(r.key, r.value, r.timestamp) for r in t.read("totals")] == [
            ("to", 1, 70),
            ("be", 1, 70),
            ("or", 1, 70),
            ("to", 2, 70),
        ]
        assert t.read("totals") == []
        assert t.store("counts")["to"] == 2
        assert "not" not in t.store("counts")


def test_headers_come_through() -> None:
    app = sk.App("copy")
    app.stream("in", key=str, value=str).to("out")
    with app.test() as t:
        t.pipe("in", "k", "v", at=70, headers=(("h", b"x"),))
        assert t.read("out") == [sk.Record("k", "v", 70, (("h", b"x"),))]


def test_wall_clock_moves_only_when_told() -> None:
    app = sk.App("copy")
    app.stream("in", key=str, value=str).to("out")
    with app.test(now_ms=1_000) as t:
        t.pipe("in", "k", "v")
        t.advance(minutes=2)
        t.pipe("in", "k", "v")
        assert [r.timestamp for r in t.read("out")] == [1_000, 121_000]


def test_topic_says_its_types() -> None:
    app = sk.App("copy")
    here, there = app.topic("in", key=str, value=int), app.topic("out", key=str, value=int)
    app.stream(here).to(there)
    with app.test() as t:
        t.pipe(here, "k", 7, at=5)
        assert t.read(there)[0].value == 7


def test_several_partitions_keep_keys_apart() -> None:
    with word_count().test(partitions=3) as t:
        for word in "abcdefgh":
            t.pipe("lines", word, word, at=5)
        sizes = [len(list(t.store("counts", partition).all())) for partition in range(3)]
        assert sum(sizes) == 8
        assert max(sizes) < 8


def test_unknown_topics_and_stores_are_said() -> None:
    with word_count().test() as t:
        with pytest.raises(TopologyError, match="no source of the topology reads other"):
            t.pipe("other", "k", "v")
        with pytest.raises(TopologyError, match="there is no store 'count'; there are counts"):
            t.store("count")


def test_users_error_keeps_its_cause() -> None:
    app = sk.App("fails")
    app.stream("in", key=str, value=str).map_values(lambda v: 1 // 0, value=int).to("out")
    with app.test() as t, pytest.raises(FatalError, match="in-0 offset 0") as caught:
        t.pipe("in", "k", "v")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_equal_times_leave_the_order_as_javas_priority_queue_does() -> None:
    times = {"a": 5, "b": 5, "c": 5, "d": 4}
    order = TimeOrder[str](lambda name: times[name])
    for name in "abcd":
        order.add(name)
    assert [order.pop() for _ in range(5)] == ["d", "b", "c", "a", None]


def test_plugin_gives_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import streamkit as sk\n"
        "def test_it(test_topology):\n"
        "    app = sk.App('copy')\n"
        "    app.stream('in', key=str, value=str).to('out')\n"
        "    t = test_topology(app)\n"
        "    t.pipe('in', 'k', 'v')\n"
        "    assert t.read('out')[0].value == 'v'\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "streamkit.testing.plugin",
         "-p", "no:cacheprovider", str(tmp_path)],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=Path(__file__).parent.parent.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
