"""The programs of the contest: application id, program and output topic from the environment."""

from __future__ import annotations

import os

import streamkit as sk
from streamkit import serdes

WINDOW = sk.tumbling("10s")


def word_count(app: sk.App, output: str) -> None:
    (
        app.stream(app.topic("lines", key=str, value=str))
        .flat_map_values(str.split, value=str)
        .group_by(lambda _, word: word, key=str)
        .count(name="word-counts")
        .to_stream()
        .to(app.topic(output, key=str, value=int))
    )


def windowed_count(app: sk.App, output: str) -> None:
    (
        app.stream(app.topic("events", key=str, value=str))
        .group_by_key()
        .windowed_by(WINDOW)
        .count(name="counts")
        .to_stream()
        .to(app.topic(output, key=serdes.time_windowed(str, WINDOW.size_ms), value=int))
    )


def table_join(app: sk.App, output: str) -> None:
    users = app.table(app.topic("users", key=str, value=str))
    (
        app.stream(app.topic("events", key=str, value=str))
        .join(users, lambda event, user: f"{event}|{user}", value=str)
        .to(app.topic(output, key=str, value=str))
    )


def enrich(app: sk.App, output: str) -> None:
    (
        app.stream(app.topic("events", key=str, value=str))
        .filter(lambda _, value: "1 seen" not in value)
        .map_values(lambda value: value.upper() + "; checked", value=str)
        .to(app.topic(output, key=str, value=str))
    )


DECLARE = {
    "word-count": word_count,
    "windowed-count": windowed_count,
    "table-join": table_join,
    "enrich": enrich,
}

app = sk.App(os.environ.get("BENCH_APPLICATION", "bench"))
DECLARE[os.environ.get("BENCH_PROGRAM", "word-count")](app, os.environ.get("BENCH_OUTPUT", "out"))
