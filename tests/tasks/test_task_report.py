"""What a worker's tasks are at, as the coordinator hears it; and the group's configuration."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

import pytest

from streamkit.common.model import TopicPartition
from streamkit.rebalance.extensions import GROUP_CONFIGS
from streamkit.tasks import group_config
from streamkit.tasks.progress import task_report
from streamkit.tasks.settings import StreamsSettings

CHANGELOG = TopicPartition("wc-counts-changelog", 0)
COUNT, SPLIT = ("1", 0), ("0", 0)


def feed(cluster, lines):
    cluster.produce("lines", 0, *[(None, line.encode(), 5_000) for line in lines])


def report_of(worker):
    return task_report(worker.processor, worker.now)


def test_running_task_is_at_the_end_of_its_changelog(cluster, make_worker):
    feed(cluster, ["the cat sat", "on the mat"] * 9)
    worker = make_worker("one")
    worker.assign("0_0", "1_0")
    worker.run()
    told = report_of(worker)
    end = cluster.ends[CHANGELOG]
    assert told.offsets == told.ends == {COUNT: end}
    assert end == len(["the", "cat", "sat", "on", "mat"])
    assert told.lags == {COUNT: 0, SPLIT: 0}
    assert set(told.busy) == {COUNT, SPLIT}


def test_standby_is_as_far_as_it_has_read(cluster, make_worker):
    feed(cluster, ["the cat sat", "on the mat"] * 9)
    active, standby = make_worker("one"), make_worker("two")
    active.assign("0_0", "1_0")
    active.run()
    standby.assign(standby=("1_0",))
    standby.run(2)
    early = report_of(standby)
    standby.run()
    late = report_of(standby)
    assert early.offsets.get(COUNT, 0) < late.offsets[COUNT] == report_of(active).ends[COUNT]
    assert late.behind(COUNT) == 0
    assert late.lags == {}


def test_input_that_waits_is_counted(cluster, make_worker):
    worker = make_worker("one")
    worker.assign("0_0", "1_0")
    worker.run(10)
    task = worker.processor.tasks[next(iter(sorted(worker.processor.tasks)))]
    (queue,) = task.queues()
    queue.readable_end = queue.position + 77
    assert report_of(worker).lags[SPLIT] == 77


@pytest.fixture
def written(monkeypatch):
    changes = {}

    class FakeAdmin:
        def __init__(self, settings, client):
            pass

        async def alter_configs(self, resource, values):
            changes[resource.name] = dict(values)

    monkeypatch.setattr(group_config, "Admin", FakeAdmin)
    return changes


SETTINGS = {
    "num.standby.replicas": "1",
    "max.warmup.replicas": "3",
    "acceptable.recovery.lag": "70",
    "client.tag.zone": "z-7",
    "rack.aware.assignment.tags": "zone",
}


def configure(extensions):
    settings = StreamsSettings.from_mapping(SETTINGS)
    client = SimpleNamespace(settings=None)
    asyncio.run(group_config.configure_group(client, settings, "shop", extensions))


def test_settings_become_group_configs_where_there_are_such(written):
    configure([GROUP_CONFIGS])
    assert written == {
        "shop": {
            "streams.num.standby.replicas": "1",
            "streams.num.warmup.replicas": "3",
            "streams.acceptable.recovery.lag": "70",
            "streams.rack.aware.assignment.tags": "zone",
        }
    }


def test_towards_another_broker_only_what_it_has(written, caplog):
    with caplog.at_level(logging.WARNING):
        configure([])
    assert written == {"shop": {"streams.num.standby.replicas": "1"}}
    assert "max.warmup.replicas, acceptable.recovery.lag, rack.aware.assignment.tags" in caplog.text


def test_without_such_settings_nothing_is_written(written):
    settings = StreamsSettings.from_mapping({})
    asyncio.run(group_config.configure_group(None, settings, "shop", [GROUP_CONFIGS]))
    assert written == {}
