"""Transfers: money moves between accounts, each transfer exactly once.

A transfer is split in two postings, one for each account, so records are re-partitioned; each
account keeps its balance in a store. What goes out for an account is a statement with its running
balance, so that anybody can check that nothing was booked twice or got lost: the sum over all
accounts is always 0 in what is committed.

    streamkit run examples/transfers.py
"""

from __future__ import annotations

from dataclasses import dataclass

import streamkit as sk


@dataclass(frozen=True, slots=True)
class Transfer:
    """So many cents from one account to another; the record's key is its number."""

    source: str
    target: str
    cents: int


@dataclass(frozen=True, slots=True)
class Posting:
    """One side of a transfer: cents that an account gets or, negative, gives."""

    transfer: str
    cents: int


@dataclass(frozen=True, slots=True)
class Statement:
    """An account after its latest posting, and how many it has had."""

    balance: int
    postings: int
    transfer: str


app = sk.App("transfers")

transfers = app.topic("transfers", key=str, value=Transfer)
statements = app.topic("statements", key=str, value=Statement)


def post(number: str, transfer: Transfer) -> list[tuple[str, Posting]]:
    """Both sides of a transfer."""
    return [
        (transfer.source, Posting(number, -transfer.cents)),
        (transfer.target, Posting(number, transfer.cents)),
    ]


def book(_account: str, posting: Posting, before: Statement) -> Statement:
    """The account with one more posting."""
    return Statement(before.balance + posting.cents, before.postings + 1, posting.transfer)


(
    app.stream(transfers)
    .flat_map(post, key=str, value=Posting)
    .group_by_key()
    .aggregate(lambda: Statement(0, 0, ""), book, name="accounts", value=Statement)
    .to_stream()
    .to(statements)
)

if __name__ == "__main__":
    app.main()
