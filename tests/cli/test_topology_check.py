"""`streamkit topology check`: what a deploy would orphan."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import streamkit as sk
from streamkit.cli.cluster import API_TIMEOUT_MS
from streamkit.cli.topology import _deployed, command, update_of
from streamkit.client.admin import Admin
from streamkit.client.errors import AuthorizationError, error_for
from streamkit.client.settings import ClientSettings
from streamkit.common.errors import UsageError
from streamkit.common.system import run_loop
from streamkit.protocol.errors import ErrorCode
from streamkit.rebalance.description import DescribedGroup, DescribedSubtopology
from streamkit.rebalance.extensions import TOPOLOGY_UPDATES
from streamkit.tasks.group_topology import group_topology
from streamkit.tasks.settings import StreamsSettings
from streamkit.topology.compare import changes, outline_of, outline_of_group, outline_of_topics

FORMER = """
import streamkit as sk
app = sk.App("shop")
orders = app.stream("orders", key=str, value=str)
orders.group_by_key().count(name="counts").to_stream().to("counted")
orders.group_by(lambda key, value: value, key=str).count(name="by-value").to_stream().to("valued")
app.stream("returns", key=str, value=str).to("returned")
"""
LATER = """
import streamkit as sk
app = sk.App("shop")
orders = app.stream("orders", key=str, value=str)
orders.group_by_key().count().to_stream().to("counted")
orders.group_by_key().windowed_by(sk.tumbling("1m")).count(name="by-value")
"""


def programs(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "former.py").write_text(FORMER)
    (tmp_path / "later.py").write_text(LATER)
    runner = CliRunner()
    described = runner.invoke(
        command, ["describe", str(tmp_path / "former.py"), "--format", "json"]
    )
    (tmp_path / "former.json").write_text(described.output)
    return str(tmp_path / "later.py"), str(tmp_path / "former.json")


def test_losses_come_first_and_generated_names_are_told(tmp_path: Path) -> None:
    later, former = programs(tmp_path)
    done = CliRunner().invoke(command, ["check", later, "--against", former], standalone_mode=False)
    assert done.return_value == 1
    assert done.output.splitlines() == [
        "! input topic returns: is read no more: its committed offsets are left behind",
        "! repartition topic shop-by-value-repartition: is read no more: records in it that are "
        "not processed yet are orphaned",
        "! store shop-by-value-changelog: was a timestamped-key-value store and is a window store: "
        "its rows cannot be read",
        "! store shop-counts-changelog: its store is no more: the state in it is orphaned",
        "  store shop-KSTREAM-AGGREGATE-STATE-STORE-0000000001-changelog: is new, and begins empty",
        "generated names, which move when operators are added before them: "
        "shop-KSTREAM-AGGREGATE-STATE-STORE-0000000001-changelog",
    ]


def test_same_program_changes_nothing(tmp_path: Path) -> None:
    _, former = programs(tmp_path)
    arguments = ["check", str(tmp_path / "former.py"), "--against", former]
    done = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert (done.return_value, done.output) == (0, "nothing changes\n")


def test_json_for_scripts(tmp_path: Path) -> None:
    later, former = programs(tmp_path)
    arguments = ["check", later, "--against", former, "--json"]
    done = CliRunner().invoke(command, arguments, standalone_mode=False)
    shown = json.loads(done.output)
    assert sum(change["is_loss"] for change in shown["changes"]) == 4


def test_nothing_to_compare_with_is_said(tmp_path: Path) -> None:
    later, _ = programs(tmp_path)
    with pytest.raises(UsageError, match=r"give --against FILE or --bootstrap"):
        CliRunner().invoke(command, ["check", later], standalone_mode=False, catch_exceptions=False)


def test_cluster_that_is_not_there_is_said_as_soon_as_by_the_other_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later, _ = programs(tmp_path)
    asked: list[int] = []

    def run_admin(settings: ClientSettings, *_: object) -> object:
        asked.append(settings.default_api_timeout_ms)
        raise UsageError("no broker answers")

    monkeypatch.setattr("streamkit.cli.topology.run_admin", run_admin)
    at = ["check", later, "--bootstrap", "127.0.0.1:1"]
    for options in ([], ["--set", "default.api.timeout.ms=7000"]):
        with pytest.raises(UsageError):
            CliRunner().invoke(
                command, [*at, *options], standalone_mode=False, catch_exceptions=False
            )
    assert asked == [API_TIMEOUT_MS, 7000]


def test_group_that_cannot_be_asked_for_is_not_taken_for_none() -> None:
    class Silent(Admin):
        async def describe_streams_group(self, group_id: str) -> Any:
            raise error_for(ErrorCode.group_authorization_failed, f"streams group {group_id!r}")

        async def list_topics(self, *, internal: bool = False) -> list[str]:
            raise AssertionError("the group is there")

    admin = Silent({"bootstrap.servers": "127.0.0.1:9"})
    wanted = group_topology(counting().topology, StreamsSettings())
    with pytest.raises(AuthorizationError):
        run_loop(_deployed(admin, "shop", wanted))


def test_file_that_is_no_topology_is_said(tmp_path: Path) -> None:
    later, _ = programs(tmp_path)
    (tmp_path / "other.json").write_text('{"some": "thing"}')
    arguments = ["check", later, "--against", str(tmp_path / "other.json")]
    with pytest.raises(UsageError, match=r"other.json is no topology: write it with"):
        CliRunner().invoke(command, arguments, standalone_mode=False, catch_exceptions=False)


def counting() -> sk.App:
    app = sk.App("shop")
    orders = app.stream("orders", key=str, value=str)
    orders.group_by(lambda key, value: value, key=str).count(name="counts")
    return app


def test_running_group_knows_sub_topologies() -> None:
    part = SimpleNamespace(
        subtopology_id="7",
        source_topics=("orders",),
        state_changelog_topics=(SimpleNamespace(name="shop-counts-changelog"),),
        repartition_source_topics=(SimpleNamespace(name="shop-counts-repartition", partitions=0),),
    )
    found = changes(outline_of_group([part]), outline_of(counting().topology))
    assert [(change.what, change.is_loss) for change in found] == [("store", False)]
    assert "moves from sub-topology 7 to 1" in found[0].text


def test_source_that_serves_as_changelog_is_no_store_of_its_own() -> None:
    app = sk.App("shop", config={"topology.optimization": "all"})
    app.table("prices", key=str, value=int, name="kept")
    prices = SimpleNamespace(name="prices")
    part = SimpleNamespace(
        subtopology_id="0",
        source_topics=("prices",),
        state_changelog_topics=(prices,),
        repartition_source_topics=(),
    )
    assert changes(outline_of_group([part]), outline_of(app.topology)) == []


def test_running_group_tells_counts_that_the_program_derives() -> None:
    part = SimpleNamespace(
        subtopology_id="1",
        source_topics=("orders",),
        state_changelog_topics=(SimpleNamespace(name="shop-counts-changelog"),),
        repartition_source_topics=(SimpleNamespace(name="shop-counts-repartition", partitions=3),),
    )
    assert changes(outline_of_group([part]), outline_of(counting().topology)) == []


def test_internal_topics_alone_show_what_is_left_behind() -> None:
    before = outline_of_topics(
        "shop", ["shop-old-changelog", "shop-counts-changelog", "orders", "other-x-changelog"]
    )
    found = changes(before, outline_of(counting().topology))
    assert [(change.name, change.is_loss) for change in found] == [
        ("shop-old-changelog", True),
        ("shop-counts-repartition", False),
    ]


def test_group_is_told_what_kafka_streams_tells_it_of_replication() -> None:
    (_, counts) = group_topology(counting().topology, StreamsSettings()).subtopologies
    assert [topic.replication_factor for topic in counts.changelogs] == [-1]


def grouped(app: sk.App, epoch: int) -> DescribedGroup:
    wanted = group_topology(app.topology, StreamsSettings())
    return DescribedGroup(
        "shop",
        "Stable",
        7,
        7,
        epoch,
        tuple(
            DescribedSubtopology(
                each.id,
                each.source_topics,
                each.repartition_sinks,
                each.repartition_sources,
                each.changelogs,
            )
            for each in wanted.subtopologies
        ),
        (),
    )


@pytest.mark.parametrize(
    ("extensions", "text"),
    [
        ([TOPOLOGY_UPDATES], "the group takes it over while it runs, as topology epoch 4"),
        ([], "the cluster takes no changed topology for a group: reset the application"),
    ],
)
def test_running_group_takes_additions_over_where_that_is_served(
    extensions: list[str], text: str
) -> None:
    later = counting()
    later.stream("returns", key=str, value=str).to("returned")
    wanted = group_topology(later.topology, StreamsSettings())
    update = update_of(grouped(counting(), 3), wanted, extensions)
    assert update is not None
    assert update.text.startswith(text)
    assert update.is_possible == bool(extensions)


def test_running_group_takes_nothing_over_whose_topics_are_missing() -> None:
    later = counting()
    later.stream("returns", key=str, value=str).to("returned")
    wanted = group_topology(later.topology, StreamsSettings())
    lacking = "Source topics returns are missing; create them"
    update = update_of(grouped(counting(), 3), wanted, [TOPOLOGY_UPDATES], lacking)
    assert update is not None
    assert update.text == f"the group cannot take it over yet: {lacking}"
    assert not update.is_possible
    assert update_of(grouped(later, 3), wanted, [TOPOLOGY_UPDATES], lacking) is None


def test_running_group_cannot_lose_a_part() -> None:
    later = counting()
    later.stream("returns", key=str, value=str).to("returned")
    wanted = group_topology(counting().topology, StreamsSettings())
    update = update_of(grouped(later, 3), wanted, [TOPOLOGY_UPDATES])
    assert update is not None
    assert update.text.startswith("the group cannot go on with it: sub-topology 2 is gone; reset")
    assert not update.is_possible
    assert "a group without members goes back to it" in update.text
    assert (
        update_of(grouped(later, 3), group_topology(later.topology, StreamsSettings()), []) is None
    )
