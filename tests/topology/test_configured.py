"""Configuration that changes what a program means: names, times, retention, older keys."""

from __future__ import annotations

from typing import Any

import pytest

import streamkit as sk
from streamkit.common.errors import ConfigError, FatalError, TopologyError
from streamkit.tasks.settings import StreamsSettings

NAMED = {"ensure.explicit.internal.resource.naming": True}


def test_generated_names_of_topics_and_stores_are_refused_by_choice() -> None:
    app = sk.App("named", config=NAMED)
    stream = app.stream("in", key=str, value=str)
    stream.group_by(lambda k, v: v, key=str).count()
    with pytest.raises(TopologyError) as told:
        app.topology.describe()
    said = str(told.value)
    for name in (
        "KSTREAM-AGGREGATE-STATE-STORE-0000000002-repartition",
        "KSTREAM-AGGREGATE-STATE-STORE-0000000002-changelog",
        "state stores KSTREAM-AGGREGATE-STATE-STORE-0000000002",
    ):
        assert name in said


def test_named_topics_and_stores_pass() -> None:
    app = sk.App("named", config=NAMED)
    stream = app.stream("in", key=str, value=str)
    stream.group_by(lambda k, v: v, key=str, name="by-word").count(name="counts")
    app.table("rows", key=str, value=str, name="rows-store")
    app.table("plain", key=str, value=str).to_stream().to("out")
    assert "counts" in app.topology.describe()


def test_join_stores_are_named_by_their_options() -> None:
    def joined(**options: Any) -> sk.App:
        app = sk.App("named", config=NAMED)
        left, right = (app.stream(name, key=str, value=str) for name in ("in", "other"))
        left.join(right, lambda a, b: a + b, within="1m", value=str, **options).to("out")
        return app

    with pytest.raises(TopologyError, match="KSTREAM-JOINTHIS-0000000004-store"):
        joined().topology.describe()
    assert joined(store=sk.Materialized("both")).topology.describe()


@pytest.mark.parametrize(
    ("choice", "times"),
    [
        ("org.apache.kafka.streams.processor.UsePartitionTimeOnInvalidTimestamp", [7_000, 7_000]),
        ("log_and_skip", [7_000]),
        ("WallclockTimestampExtractor", [55, 55]),
        (lambda record: 9_000, [9_000, 9_000]),
    ],
)
def test_default_extractor_gives_the_times_of_sources_that_say_nothing(
    choice: Any, times: list[int]
) -> None:
    app = sk.App("timed", config={"default.timestamp.extractor": choice})
    app.stream("in", key=str, value=str).to("out")
    app.stream("own", key=str, value=str, timestamp="record").to("strict")
    with app.test(now_ms=55) as t:
        t.pipe("in", "k", "v", at=7_000)
        t.pipe("in", "k", "v", at=-1)
        assert [record.timestamp for record in t.read("out")] == times
        with pytest.raises(FatalError, match="negative timestamp"):
            t.pipe("own", "k", "v", at=-1)


def test_default_extractor_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"default\.timestamp\.extractor"):
        sk.App("timed", config={"default.timestamp.extractor": "Sundial"})


def test_changelogs_of_windows_keep_as_much_longer_as_is_said() -> None:
    config = {"windowstore.changelog.additional.retention.ms": 5_000}
    app = sk.App("kept", config=config)
    group = app.stream("in", key=str, value=str).group_by_key()
    group.windowed_by(sk.tumbling("10s", grace="2s")).count(name="counts")
    (log,) = app.topology.subtopologies[0].changelogs
    assert log.configs["retention.ms"] == "17000"


def test_older_keys_mean_the_newer_ones() -> None:
    given = {
        "application.id": "older",
        "cache.max.bytes.buffering": 77,
        "default.deserialization.exception.handler": "LogAndContinueExceptionHandler",
    }
    settings = StreamsSettings.from_mapping(given)
    assert settings.statestore_cache_max_bytes == 77
    assert settings.deserialization_exception_handler == "LogAndContinueExceptionHandler"
    newer = StreamsSettings.from_mapping({**given, "statestore.cache.max.bytes": 78})
    assert newer.statestore_cache_max_bytes == 78


class Strict(sk.Processor[str, str, str, str]):
    def init(self, context: sk.Context) -> None:
        self.kept = context.store("shops-store")

    def process(self, record: sk.Record[str, str]) -> None:
        if record.value == "bad":
            raise ValueError("bad shop")
        self.kept.put(record.key, record.value)


def shops(config: dict[str, object], **options: Any) -> sk.App:
    app = sk.App("global", config=config, **options)
    store = sk.store("shops-store", key=str, value=str, logging=False)
    app.add_global_store(store, "shops", Strict, key=str, value=str)
    app.stream("in", key=str, value=str).to("out")
    return app


HANDLED = {"processing.exception.handler.global.enabled": True}


def counted(**options: Any) -> sk.App:
    app = sk.App("global", **options)
    app.global_table("rows", key=str, value=int, name="rows-store")
    app.stream("in", key=str, value=str).to("out")
    return app


@pytest.mark.parametrize("policy", ["skip", sk.dead_letter("dlq", attempts=2, backoff="1h")])
def test_row_of_a_global_table_that_cannot_be_read_is_skipped_by_policy(policy: Any) -> None:
    with counted(on_deserialization_error=policy).test() as t:
        t.pipe_bytes("rows", b"a", b"seven")
        t.pipe("rows", "b", 8)
        assert dict(t.store("rows-store").all()) == {"b": 8}
        assert t.dropped == 1
    with counted().test() as t, pytest.raises(FatalError, match="rows-0"):
        t.pipe_bytes("rows", b"a", b"seven")


def test_processing_of_global_rows_is_handled_by_choice() -> None:
    with shops(HANDLED, on_error="skip").test() as t:
        t.pipe("shops", "a", "bad")
        t.pipe("shops", "b", "Berlin")
        assert dict(t.store("shops-store").all()) == {"b": "Berlin"}
    with shops({}, on_error="skip").test() as t, pytest.raises(FatalError, match="bad shop"):
        t.pipe("shops", "a", "bad")
