"""Counts by key, each key on its own partition from input to output: a task is a partition."""

from __future__ import annotations

import streamkit as sk

app = sk.App("scale-out-streamkit")

(
    app.stream(app.topic("events", key=str, value=str))
    .group_by_key()
    .count(name="counts")
    .to_stream()
    .to(app.topic("out-streamkit", key=str, value=int))
)
