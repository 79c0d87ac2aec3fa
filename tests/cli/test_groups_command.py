"""`streamkit groups` and `streamkit reset`: positions, tables, and groups on a running broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import confluent_kafka
import pytest

from streamkit.cli.cluster import table
from streamkit.cli.group_offsets import PartitionLag, Position, new_offsets, parse_position
from streamkit.client.admin import Admin
from streamkit.common.errors import UsageError
from streamkit.common.model import TopicPartition
from streamkit.common.system import run_loop
from streamkit.testing.broker import Broker
from tests.foreign import create_topics, produce_lines
from tests.harness import streamkit

NOW_MS = 1_800_000_000_000
ONE = TopicPartition("lines", 3)


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """A broker with twelve lines, and a group that has committed half of them."""
    with Broker() as running:
        create_topics(running.bootstrap, 2, "lines")
        produce_lines(running.bootstrap, "lines", [f"line {n}" for n in range(12)], 2)
        consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": running.bootstrap, "group.id": "word-count"}
        )
        offsets = [confluent_kafka.TopicPartition("lines", part, 3) for part in range(2)]
        consumer.commit(offsets=offsets, asynchronous=False)
        consumer.close()
        yield running


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("earliest", Position("earliest")),
        ("latest", Position("latest")),
        ("current", Position("current")),
        ("42", Position("offset", 42)),
        ("+5", Position("shift", 5)),
        ("-7", Position("shift", -7)),
        ("90s", Position("time", NOW_MS - 90_000)),
        ("99999999999d", Position("earliest")),
        ("30000d", Position("earliest")),
        ("1950-01-01", Position("earliest")),
        ("0001-01-01", Position("earliest")),
        ("1970-01-01T01:00:00+02:00", Position("earliest")),
        ("2h", Position("time", NOW_MS - 7_200_000)),
        (
            "2026-05-01T12:00:00+00:00",
            Position("time", int(datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp() * 1000)),
        ),
    ],
)
def test_positions_are_read(text: str, position: Position) -> None:
    assert parse_position(text, NOW_MS) == position


@pytest.mark.parametrize("text", ["yesterday", "²", "9" * 5000, f"-{'9' * 5000}", "d", ""])
def test_position_that_is_none_is_refused_with_the_ways_to_say_it(text: str) -> None:
    with pytest.raises(UsageError, match="earliest, latest"):
        parse_position(text, NOW_MS)


@pytest.mark.parametrize(
    ("position", "committed", "wanted"),
    [
        (Position("earliest"), 30, 20),
        (Position("latest"), 30, 50),
        (Position("current"), 30, 30),
        (Position("current"), None, 50),
        (Position("offset", 45), 30, 45),
        (Position("offset", 7), 30, 20),
        (Position("shift", 5), 30, 35),
        (Position("shift", -99), 30, 20),
        (Position("shift", 99), None, 50),
    ],
)
def test_new_offsets_stay_within_the_log(
    position: Position, committed: int | None, wanted: int
) -> None:
    lag = PartitionLag(ONE, committed, 20, 50)
    admin = Admin({"bootstrap.servers": "127.0.0.1:9"})
    assert run_loop(new_offsets(admin, [lag], position)) == {ONE: wanted}


def test_table_aligns_names_left_and_numbers_right() -> None:
    assert table(("NAME", "N"), [("one", 7), ("three", None), ("", 1234)]) == (
        "NAME      N\none       7\nthree     -\n-      1234"
    )


def test_empty_column_and_empty_table_are_aligned_left() -> None:
    assert table(("A", "RACK"), [(7, None)]) == "A  RACK\n7  -"
    assert table(("A", "B"), []) == "A  B"


def test_list_shows_type_and_state(broker: Broker) -> None:
    at = ("--bootstrap", broker.bootstrap)
    rows = json.loads(streamkit("groups", "list", "--json", *at).stdout)
    assert rows == [{"group_id": "word-count", "type": "classic", "state": "Empty"}]
    assert "word-count" not in streamkit("groups", "list", "--type", "share", *at).stdout


def test_describe_shows_lags(broker: Broker) -> None:
    done = streamkit("groups", "describe", "word-count", "--bootstrap", broker.bootstrap)
    assert "classic group, Empty" in done.stdout
    assert "lag in all: 6" in done.stdout


def test_unknown_group_is_one_line(broker: Broker) -> None:
    done = streamkit("groups", "describe", "nobody", "--bootstrap", broker.bootstrap)
    assert (done.returncode, done.stderr) == (2, "streamkit: there is no group 'nobody'\n")


def test_reset_moves_offsets_but_not_in_a_dry_run(broker: Broker) -> None:
    reset = ("groups", "reset", "word-count", "--bootstrap", broker.bootstrap)
    dry = streamkit(*reset, "--to", "latest", "--dry-run")
    assert "nothing was changed" in dry.stdout
    assert lag(broker) == 6
    assert "2 offsets set" in streamkit(*reset, "--to", "-1").stdout
    assert lag(broker) == 8
    assert "2 offsets set" in streamkit(*reset, "--to", "1h").stdout
    assert lag(broker) == 12


def lag(broker: Broker) -> int:
    shown = streamkit("groups", "describe", "word-count", "--json", "--bootstrap", broker.bootstrap)
    return sum(each["lag"] for each in json.loads(shown.stdout)["lags"])


def test_reset_of_a_program_deletes_group_and_topics(broker: Broker) -> None:
    reset = ("reset", "examples/word_count.py", "--bootstrap", broker.bootstrap)
    create_topics(broker.bootstrap, 2, "word-count-word-counts-changelog")
    done = streamkit(*reset, "--keep-state", "--to", "latest")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:] == [
        "group word-count deleted",
        "topic word-count-word-counts-changelog deleted (1 of 1)",
        "group word-count: 2 offsets set",
    ]
    assert lag(broker) == 0


def test_delete_takes_the_group_away(broker: Broker) -> None:
    at = ("--bootstrap", broker.bootstrap)
    assert streamkit("groups", "delete", "word-count", *at).stdout == "group word-count deleted\n"
    assert streamkit("groups", "delete", "word-count", *at).returncode == 2
