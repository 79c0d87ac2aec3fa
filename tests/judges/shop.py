"""A program of joins that keep state of every kind; for `test_joins_on_worker.py`."""

from __future__ import annotations

import streamkit as sk

app = sk.App("shop", config={"topology.optimization": "all"})

people = app.global_table("people", key=str, value=str)
orders = app.stream("orders", key=str, value=str)
orders.join(people, lambda _, name: name, on=lambda _, person: person, value=str).to("named")

accounts = app.table("accounts", key=str, value=str)
bills = app.table("bills", key=str, value=str)
owned = bills.join(accounts, lambda _, owner: owner, on=lambda _, account: account, value=str)
owned.to_stream().to("owned")

payments = app.stream("payments", key=str, value=str)
paid = orders.left_join(payments, lambda one, two: f"{one}/{two}", within="1h", value=str)
paid.to("paid")

clicks = app.stream("clicks", key=str, value=str)
windows = clicks.group_by_key().windowed_by(sk.tumbling("1m")).count()
final = windows.suppress("window_closes").to_stream()
final.map(lambda window, count: (window.key, str(count)), key=str, value=str).to("clicked")

if __name__ == "__main__":
    app.main()
