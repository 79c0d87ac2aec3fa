"""Word count as the benchmark runs it: application id and output topic from the environment."""

from __future__ import annotations

import os

import streamkit as sk

app = sk.App(os.environ.get("BENCH_APPLICATION", "bench-words"))

(
    app.stream(app.topic("lines", key=str, value=str))
    .flat_map_values(str.split, value=str)
    .group_by(lambda _, word: word, key=str)
    .count(name="word-counts")
    .to_stream()
    .to(app.topic(os.environ.get("BENCH_OUTPUT", "bench-counts"), key=str, value=int))
)
