"""Sources with a pattern: described and tested, but refused before a worker joins anything."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

import streamkit as sk
from streamkit.common.errors import TopologyError, UsageError
from streamkit.common.system import system_seams
from streamkit.tasks.group_topology import group_topology
from streamkit.tasks.settings import StreamsSettings
from streamkit.tasks.supervisor import Supervisor
from streamkit.tasks.worker import Worker

REFUSED = (
    r"source KSTREAM-SOURCE-0000000000 reads the topics that match 'evt-\.\*': .*"
    r"SourceTopicRegex is not implemented.*list the topics"
)
NOWHERE = {"bootstrap.servers": "127.0.0.1:1"}


def merged() -> sk.App:
    app = sk.App("pat")
    events = app.stream(re.compile("evt-.*"), key=str, value=str)
    lines = app.stream(app.topic("lines", key=str, value=str))
    out = app.topic("out", key=str, value=str)
    events.merge(lines).map_values(str.upper, value=str).to(out)
    return app


def test_worker_refuses_a_pattern_at_its_start(tmp_path: Path) -> None:
    app = merged()
    settings = StreamsSettings.from_mapping({**NOWHERE, "state.dir": str(tmp_path / "state")})
    with pytest.raises(UsageError, match=REFUSED):
        asyncio.run(Worker(app.topology, settings, system_seams()).serve())
    with pytest.raises(UsageError, match=REFUSED):
        asyncio.run(Supervisor(app.topology, settings, system_seams(), ["no"], 2).serve())
    assert not (tmp_path / "state").exists()


def test_worker_inside_another_program_refuses_it_where_it_is_made() -> None:
    with pytest.raises(TopologyError, match=REFUSED):
        merged().worker(bootstrap="127.0.0.1:1")


def test_pattern_does_not_get_into_a_groups_topology() -> None:
    with pytest.raises(TopologyError, match=REFUSED):
        group_topology(merged().topology, StreamsSettings())


def test_topology_with_a_pattern_is_described_and_tested() -> None:
    assert "Source: KSTREAM-SOURCE-0000000000 (topics: evt-.*)" in merged().topology.describe()
    with merged().test() as driver:
        driver.pipe("lines", "k", "milk")
        assert [each.value for each in driver.read("out")] == ["MILK"]
