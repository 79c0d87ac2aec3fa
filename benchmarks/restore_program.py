"""A program with one table to restore; its id from the environment."""

from __future__ import annotations

import os

import streamkit as sk

app = sk.App(os.environ["BENCH_APPLICATION"])
app.stream(app.topic(os.environ["BENCH_INPUT"], key=str, value=str)).to_table(name="rows")
