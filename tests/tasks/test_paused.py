"""A worker that is paused stays in its group, commits what it had, and does nothing more."""

from __future__ import annotations

import asyncio
from collections import Counter

import streamkit as sk
from streamkit.common.model import TaskId, TopicPartition

LINES = TopicPartition("lines", 0)
TEXT = ["the cat sat", "on the mat"]


def feed(cluster, start):
    cluster.produce("lines", 0, *[(None, line.encode(), start + i) for i, line in enumerate(TEXT)])


def running(make_worker):
    worker = make_worker()
    worker.assign("0_0", "1_0")
    worker.run(10)
    return worker


def test_paused_worker_commits_what_it_had_and_processes_nothing_more(cluster, make_worker):
    worker = running(make_worker)
    feed(cluster, 5_000)
    worker.run()
    done = worker.processor.records
    worker.processor.is_paused = True
    feed(cluster, 6_000)
    worker.run(300)
    assert worker.processor.records == done
    assert cluster.committed[LINES][0] == len(TEXT)
    assert all(task.is_running for task in worker.processor.tasks.values())
    worker.processor.is_paused = False
    worker.run(300)
    assert cluster.committed[LINES][0] == 2 * len(TEXT)
    assert cluster.table("output") == {
        word: 2 * count for word, count in Counter(" ".join(TEXT).split()).items()
    }


def test_paused_worker_does_not_spin(cluster, make_worker):
    worker = running(make_worker)
    worker.processor.is_paused = True
    feed(cluster, 6_000)
    worker.run(300)
    assert worker.processor.step([], worker.processor.last_step_ms + 5) >= 1.0


def test_paused_worker_punctuates_nothing(cluster, make_worker):
    worker = running(make_worker)
    task = worker.processor.tasks[TaskId(0, 0)]
    calls = []
    task.context.schedule(task.nodes()[0], 10, calls.append, by_wall_clock=True)
    worker.processor.is_paused = True
    worker.run(20)
    assert calls == []
    worker.processor.is_paused = False
    worker.run(20)
    assert calls


def test_embedded_worker_may_be_paused_before_it_begins(tmp_path):
    async def scenario():
        async with sk.Broker() as broker:
            config = {"bootstrap.servers": broker.bootstrap}
            async with sk.client.Admin(config) as admin:
                await admin.create_topics([sk.client.NewTopic("lines", 2)])
            async with sk.client.Producer(config) as producer:
                for number in range(9):
                    await producer.send("lines", b"a", key=b"%d" % number)
            app = sk.App("paused", config={"state.dir": str(tmp_path / "state")})
            app.stream("lines", key=str, value=str).group_by_key().count(name="counts")
            worker = app.worker(bootstrap=broker.bootstrap)
            worker.pause()
            async with worker, asyncio.timeout(30):
                while worker.progress().running < 2:  # noqa: ASYNC110  # nobody tells of it
                    await asyncio.sleep(0.02)
                await asyncio.sleep(0.1)
                assert (worker.is_paused, worker.progress().records) == (True, 0)
                worker.resume()
                while worker.progress().records < 9:  # noqa: ASYNC110  # as above
                    await asyncio.sleep(0.02)
                assert not worker.is_paused

    asyncio.run(scenario())
