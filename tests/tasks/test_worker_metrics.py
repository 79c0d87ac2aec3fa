"""A worker's metrics: the right numbers under Kafka Streams' names, read when somebody asks."""

from __future__ import annotations

from collections import Counter

import pytest

from streamkit.common.metrics import Registry
from streamkit.common.model import TaskId
from streamkit.tasks import messages as m
from streamkit.tasks.meter import Meter, Timed
from streamkit.tasks.metrics import WorkerMetrics

TEXT = ["the cat sat", "on the mat", "the end"] * 7
WORDS = sum(len(line.split()) for line in TEXT)
THREAD = "wc-StreamThread-4"


def feed(cluster, lines=TEXT, start=5_000):
    cluster.produce("lines", 0, *[(None, line.encode(), start + i) for i, line in enumerate(lines)])


def metrics_of(worker):
    return WorkerMetrics(worker.processor, worker.processor.meter, THREAD)


def scrape(metrics):
    """Every sample by its name, and the values of its labels after the thread's."""
    found = {}
    for family in metrics.collect():
        for sample in family.samples:
            labels = dict(sample.labels)
            labels.pop("thread_id", None)
            found[(family.name.partition("_stream_")[2], *labels.values())] = sample.value
    return found


@pytest.fixture
def worked(cluster, make_worker):
    feed(cluster)
    worker = make_worker()
    worker.assign("0_0", "1_0")
    worker.run()
    return worker


def test_thread_counts_records_and_commits(worked):
    found = scrape(metrics_of(worked))
    assert found[("thread_metrics_process_total",)] == len(TEXT) + WORDS
    assert found[("thread_metrics_commit_total",)] == worked.processor.commits > 0
    assert found[("thread_metrics_task_created_total",)] == 2
    assert found[("thread_metrics_process_rate",)] > 0
    assert found[("metrics_alive_stream_threads",)] == 1


def test_tasks_and_source_nodes_count_their_own(worked):
    found = scrape(metrics_of(worked))
    assert found[("task_metrics_process_total", "0_0")] == len(TEXT)
    assert found[("task_metrics_process_total", "1_0")] == WORDS
    assert found[("processor_node_metrics_process_total", "1_0", "words")] == WORDS
    age = worked.now - (5_000 + len(TEXT) - 1)
    assert found[("processor_node_metrics_record_e2e_latency_max", "0_0", "lines")] <= age


def test_topics_count_records_and_bytes_both_ways(worked, cluster):
    found = scrape(metrics_of(worked))
    consumed = ("topic_metrics_records_consumed_total", "0_0", "lines", "lines")
    assert found[consumed] == len(TEXT)
    repartition = "wc-counts-repartition"
    assert found[("topic_metrics_records_produced_total", repartition)] == WORDS
    assert found[("topic_metrics_bytes_produced_total", repartition)] > WORDS
    read = ("topic_metrics_bytes_consumed_total", "1_0", repartition, "words")
    assert found[read] > WORDS


def test_lag_and_buffer_of_input_that_is_not_processed(cluster, make_worker):
    worker = make_worker(buffered=5)
    worker.assign("0_0")
    worker.run(10)
    worker.held = {m.CommitOffsets}
    feed(cluster)
    worker.run(100)
    feed(cluster, start=9_000)
    worker.run(100)
    families = {family.name: family for family in metrics_of(worker).collect()}
    (lag,) = families["kafka_consumer_consumer_fetch_manager_metrics_records_lag"].samples
    (buffered,) = families["kafka_streams_stream_task_metrics_active_buffer_count"].samples
    assert lag.value == buffered.value == len(TEXT)


def test_restore_and_standby_say_how_far_they_are(cluster, make_worker, worked):
    standby = make_worker("two")
    standby.assign(standby=("1_0",))
    standby.run()
    metrics = metrics_of(standby)
    words = len(Counter(" ".join(TEXT).split()))
    found = scrape(metrics)
    assert found[("task_metrics_update_total", "1_0")] == words
    assert found[("task_metrics_update_remaining_records_total", "1_0")] == 0
    assert found[("state_updater_metrics_standby_updating_tasks",)] == 1
    third = make_worker("three")
    third.held = {m.StartFetching}
    third.assign("1_0")
    third.run(10)
    found = scrape(metrics_of(third))
    assert found[("task_metrics_restore_remaining_records_total", "1_0")] == words
    assert found[("state_updater_metrics_active_restoring_tasks",)] == 1


def test_closed_tasks_are_shown_no_more(worked):
    worked.assign("1_0")
    worked.run()
    found = scrape(metrics_of(worked))
    assert not any("0_0" in key for key in found)
    assert found[("thread_metrics_task_closed_total",)] == 1


def test_dropped_records_are_counted_by_task(worked):
    worked.processor.tasks[TaskId(1, 0)].context.drop("because")
    found = scrape(metrics_of(worked))
    assert found[("task_metrics_dropped_records_total", "1_0")] == 1


def test_stores_show_how_often_they_are_read_and_written(worked, cluster):
    metrics = metrics_of(worked)
    scrape(metrics)
    worked.now += 10_000
    feed(cluster, start=9_000)
    worked.run()
    found = scrape(metrics)
    for name in ("get", "put"):
        assert found[(f"state_metrics_{name}_rate", "1_0", "counts")] >= WORDS / 60


def test_text_for_prometheus_holds_every_name_once(worked):
    registry = Registry()
    registry.add_collector(metrics_of(worked).collect)
    lines = registry.expose().splitlines()
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names)) > 30
    assert (
        f'kafka_streams_stream_thread_metrics_process_total{{thread_id="{THREAD}"}}'
        in "\n".join(lines)
    )


def test_rate_of_a_total_is_that_of_its_growth():
    now = [50_000.0]
    meter = Meter(lambda: now[0], lambda: 7_000)
    assert meter.rate("dropped", 500) == 0
    for total in (600, 600, 900):
        now[0] += 10_000
        meter.rate("dropped", total)
    assert meter.rate("dropped", 900) == pytest.approx(400 / 30, rel=0.35)


def test_latency_is_that_of_one_piece_of_work():
    timed = Timed(5_000.0)
    timed.note(40.0, 5_100.0, 10)
    timed.note(9.0, 5_200.0)
    assert timed.each.maximum(5_200.0) == 9.0
    assert timed.each.minimum(5_200.0) == 4.0
    assert timed.work.total_count == 11
