"""Counts by key under the names that Kafka Streams gives, for an application that changes hands."""

from __future__ import annotations

import streamkit as sk

app = sk.App("taken")

(
    app.stream(app.topic("events", key=str, value=str))
    .group_by_key()
    .count(name="counts")
    .to_stream()
    .to(app.topic("totals", key=str, value=int))
)
