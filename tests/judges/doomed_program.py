"""A join whose program fails at one record, and then has the whole application stop."""

from __future__ import annotations

import streamkit as sk

app = sk.App("doomed", on_uncaught="stop_application")


def check(text: str) -> str:
    if text == "poison":
        raise ValueError("poison")
    return text


table = app.table(app.topic("prices", key=str, value=str))
(
    app.stream(app.topic("orders", key=str, value=str))
    .map_values(check, value=str)
    .join(table, lambda order, price: f"{order} at {price}", value=str)
    .to(app.topic("bills", key=str, value=str))
)
