"""Counts of two inputs; a record's value says how many milliseconds it keeps its task busy."""

from __future__ import annotations

import time

import streamkit as sk

app = sk.App("uneven")


def work(milliseconds: str) -> str:
    time.sleep(int(milliseconds) / 1000)
    return milliseconds


for name in ("few", "many"):
    (
        app.stream(app.topic(name, key=str, value=str))
        .map_values(work, value=str)
        .group_by_key()
        .count(name=f"{name}-counts")
        .to_stream()
        .to(app.topic(f"{name}-out", key=str, value=int))
    )
