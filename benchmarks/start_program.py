"""The word count that `benchmarks.start` starts under ever new application ids."""

from __future__ import annotations

import os

import streamkit as sk

app = sk.App(os.environ["START_APPLICATION"])

(
    app.stream(app.topic("lines", key=str, value=str))
    .flat_map_values(str.split, value=str)
    .group_by(lambda _, word: word, key=str)
    .count(name="word-counts")
    .to_stream()
    .to(app.topic(os.environ["START_OUTPUT"], key=str, value=int))
)
