"""What `streamkit topics`, `configs` and `transactions` answer, on any broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import confluent_kafka

from tests.harness import streamkit

TOPIC = "orders-of-the-commands"


def told(bootstrap: str, *arguments: str) -> str:
    """What a command prints that must succeed."""
    done = streamkit(*arguments, "--bootstrap", bootstrap)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(bootstrap: str, *arguments: str) -> str:
    """The one line of a command that must fail."""
    done = streamkit(*arguments, "--bootstrap", bootstrap)
    assert done.returncode != 0, done.stdout
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def topics_are_made_changed_and_deleted(bootstrap: str) -> None:
    told(bootstrap, "topics", "create", TOPIC, "--partitions", "2", "--with", "segment.ms=60000")
    told(bootstrap, "topics", "create", TOPIC, "--if-not-exists")
    assert "TOPIC_ALREADY_EXISTS" in refused(bootstrap, "topics", "create", TOPIC)
    assert "INVALID_PARTITIONS" in refused(bootstrap, "topics", "alter", TOPIC, "--partitions", "1")
    told(bootstrap, "topics", "alter", TOPIC, "--partitions", "3")
    assert TOPIC in told(bootstrap, "topics", "list").splitlines()
    [described] = json.loads(told(bootstrap, "topics", "describe", TOPIC, "--json"))
    assert described["configs"] == {"segment.ms": "60000"}
    assert [each["partition"] for each in described["partitions"]] == [0, 1, 2]
    assert "segment.ms=60000" in told(bootstrap, "topics", "describe", TOPIC)
    told(bootstrap, "topics", "delete", TOPIC)
    assert "UNKNOWN_TOPIC_OR_PARTITION" in refused(bootstrap, "topics", "delete", TOPIC)


def configs_are_shown_and_changed(bootstrap: str) -> None:
    told(bootstrap, "topics", "create", TOPIC, "--with", "segment.ms=60000")
    alter = ("configs", "alter", "topic", TOPIC)
    told(
        bootstrap, *alter, "--add", "max.message.bytes=5000", "--delete", "segment.ms",
        "--append", "cleanup.policy=compact",
    )  # fmt: skip
    assert configs(bootstrap) == {
        "cleanup.policy": "delete,compact",
        "max.message.bytes": "5000",
    }
    told(bootstrap, *alter, "--subtract", "cleanup.policy=delete")
    assert configs(bootstrap)["cleanup.policy"] == "compact"
    assert "INVALID_CONFIG" in refused(bootstrap, *alter, "--add", "no.such.key=1")
    everything = told(bootstrap, "configs", "describe", "topic", TOPIC, "--all")
    assert any(
        line.split() == ["segment.ms", "604800000", "default"] for line in everything.splitlines()
    )
    told(bootstrap, "topics", "delete", TOPIC)


def configs(bootstrap: str) -> dict[str, str]:
    """What was set on the topic."""
    rows = json.loads(told(bootstrap, "configs", "describe", "topic", TOPIC, "--json"))
    return {row["key"]: row["value"] for row in rows if row["source"] == "topic"}


def transactions_are_shown(bootstrap: str) -> None:
    told(bootstrap, "topics", "create", TOPIC, "--partitions", "1")
    with open_transaction(bootstrap, "of-the-commands"):
        [listed] = transactions(bootstrap, "--id", "of-the-.*")
        assert listed["state"] == "Ongoing"
        assert transactions(bootstrap, "--state", "Empty", "--id", "of-the-.*") == []
        assert transactions(bootstrap, "--running-longer-than", "3600000") == []
        shown = told(bootstrap, "transactions", "describe", "of-the-commands")
        assert "of-the-commands: Ongoing, open for" in shown
        assert f"  {TOPIC}-0" in shown.splitlines()
        [writer] = json.loads(told(bootstrap, "transactions", "producers", f"{TOPIC}:0", "--json"))
        assert (writer["producer_id"], writer["transaction_start"]) == (listed["producer_id"], 0)
        abort = ("transactions", "abort", f"{TOPIC}:0", "--start-offset")
        assert "no transaction is open" in refused(bootstrap, *abort, "77")
        told(bootstrap, *abort, "0")
        [writer] = json.loads(told(bootstrap, "transactions", "producers", f"{TOPIC}:0", "--json"))
        assert writer["transaction_start"] == -1
    assert "there is no transaction state" in refused(
        bootstrap, "transactions", "list", "--state", "Nonsense"
    )
    assert "TRANSACTIONAL_ID_NOT_FOUND" in refused(bootstrap, "transactions", "describe", "nobody")
    told(bootstrap, "topics", "delete", TOPIC)


def transactions(bootstrap: str, *filters: str) -> list[dict[str, Any]]:
    """The listed transactions that pass the filters."""
    found: list[dict[str, Any]] = json.loads(
        told(bootstrap, "transactions", "list", "--json", *filters)
    )
    return found


@contextmanager
def open_transaction(bootstrap: str, transactional_id: str) -> Iterator[None]:
    """One record of a transaction that nobody ended yet."""
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": transactional_id}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(TOPIC, b"one", partition=0)
    assert producer.flush(30) == 0
    yield
    producer.abort_transaction(30)
