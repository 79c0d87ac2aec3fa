"""A program with state of every kind: rows, counts, windows, sessions, joins, `suppress`."""

from __future__ import annotations

import streamkit as sk

RETENTION = "4m"
WINDOWS = sk.tumbling("20s", grace="5s")

app = sk.App("soak")

events = app.stream("events", key=str, value=str)
clicks = app.stream("clicks", key=str, value=str)
users = app.table("users", key=str, value=str, name="users")

# One row for each key: by far the largest store.
events.group_by_key().reduce(lambda _, new: new, name="rows")

# Through a repartition topic, and out: the counts must add up in the end.
counts = events.group_by(lambda key, _: key[-3:], key=str).count(name="counts")
counts.to_stream().to(app.topic("counted", key=str, value=int))

views = events.group_by_key().windowed_by(WINDOWS)
views.count(store=sk.Materialized("windows", retention=RETENTION))

closed = clicks.group_by_key().windowed_by(WINDOWS).count(name="closing").suppress("window_closes")
closed.to_stream().foreach(lambda window, count: None)

visits = clicks.group_by_key().windowed_by(sk.session("10s", grace="5s"))
visits.count(store=sk.Materialized("visits", retention=RETENTION))

pairs = events.left_join(clicks, lambda _, click: click or "", within="10s", value=str)
pairs.foreach(lambda key, click: None)

named = clicks.join(users, lambda click, user: click + user[:8], value=str)
named.deduplicate(within="30s", name="once").foreach(lambda key, click: None)

if __name__ == "__main__":
    app.main()
