"""A worker's metrics: the right numbers under Kafka Streams' names, read when somebody asks."""

from __future__ import annotations

from collections import Counter

import pytest

import streamkit as sk
from streamkit.common.errors import FatalError
from streamkit.common.metrics import Registry
from streamkit.common.model import TaskId
from streamkit.tasks import messages as m
from streamkit.tasks.meter import Meter, Timed
from streamkit.tasks.metered import Meters
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


METERED = [("kept", "k", 5_000), ("kept", "k", 5_001), ("kept", "m", 5_002)]


def metered_app():
    app = sk.App("metered")
    group = app.stream("in", key=str, value=str).group_by_key()
    group.count(name="counts", node="counter").to_stream().to("out")
    windows = group.windowed_by(sk.tumbling("10ms"))
    windows.count(name="held").suppress("window_closes", name="waits").to_stream().to("final")
    windows.emit("on_close").count(name="closing", node="closes").to_stream().to("closed")
    return app


@pytest.fixture
def metered(cluster, make_worker):
    def work(meters):
        worker = make_worker(topology=metered_app().topology, meters=meters)
        rows = [(key.encode(), value.encode(), time) for value, key, time in METERED]
        cluster.produce("in", 0, *rows)
        worker.assign("0_0")
        worker.run()
        scrape(metrics_of(worker))
        worker.run(10, ms=500)
        cluster.produce("in", 0, (b"k", b"v", 5_030))
        worker.run(20, ms=50)
        return scrape(metrics_of(worker))

    return work


def test_store_operations_are_timed_at_the_level_debug(metered):
    found = metered(Meters(lambda: 7.0))
    for operation in ("get", "put", "flush", "restore"):
        assert found[(f"state_metrics_{operation}_rate", "0_0", "counts")] > 0
        assert found[(f"state_metrics_{operation}_latency_avg", "0_0", "counts")] == 0
        assert found[(f"state_metrics_{operation}_latency_max", "0_0", "counts")] == 0
    assert found[("state_metrics_fetch_rate", "0_0", "closing")] > 0
    assert found[("state_metrics_num_open_iterators", "0_0", "counts")] == 0


def test_operators_count_at_the_level_debug(metered):
    found = metered(Meters(lambda: 7.0))
    counted = {
        key[2]: value for key, value in found.items() if "node_metrics_process_total" in key[0]
    }
    assert counted["counter"] == 4
    assert counted["closes"] == 4


def test_level_info_times_no_store(metered):
    found = metered(None)
    assert ("state_metrics_put_rate", "0_0", "counts") in found
    assert not [key for key in found if key[0].startswith("state_metrics_put_latency")]


def test_buffers_final_results_lateness_and_caches_are_shown(metered):
    found = metered(None)
    assert found[("state_metrics_suppression_buffer_count_max", "0_0", "waits-store")] == 2
    assert found[("state_metrics_suppression_buffer_size_max", "0_0", "waits-store")] > 0
    assert found[("processor_node_metrics_suppression_emit_total", "0_0", "waits")] == 2
    assert found[("processor_node_metrics_emit_final_records_total", "0_0", "closes")] == 2
    assert found[("task_metrics_record_lateness_max", "0_0")] == 0
    assert 0 < found[("record_cache_metrics_hit_ratio_avg", "0_0", "counts")] <= 1
    sinks = {key[2] for key in found if key[0] == "processor_node_metrics_record_e2e_latency_avg"}
    assert len(sinks) == 4


def test_metered_store_is_the_store_it_stands_for():
    kept = {"a": 1}

    class Store:
        name = "kept"
        limit = 3

        def get(self, key):
            return kept.get(key)

        def range(self, low, high):
            yield from kept

        __getitem__, __setitem__ = kept.__getitem__, staticmethod(kept.__setitem__)
        __delitem__, __contains__ = kept.__delitem__, staticmethod(kept.__contains__)

    meters = Meters(lambda: 7.0)
    store = meters.store(TaskId(7, 3), Store())
    store.limit = 5
    assert (store.name, store.limit, store.get("a"), "a" in store) == ("kept", 5, 1, True)
    rows = store.range(None, None)
    meter = meters.stores[TaskId(7, 3)]["kept"]
    assert next(rows) == "a"
    assert meter.open_iterators == 1
    rows.close()
    assert meter.open_iterators == 0
    assert meter.operations["range"].work.total_count == 1
    meters.drop(TaskId(7, 3))
    assert meters.stores == {}


def test_processors_count_what_they_like(cluster, make_worker):
    app = sk.App("metered")
    words = app.topic("in", key=str, value=str)

    @app.processor(words, to=app.topic("out", key=str, value=str), name="enrich")
    def enrich(word: str, context: sk.Context) -> str:
        context.sensor("look-ups").record(12.0 if word == "kept" else 6.0)
        return word

    worker = make_worker(topology=app.topology)
    worker.assign("0_0")
    cluster.produce("in", 0, (b"k", b"first", 5_000))
    worker.run()
    scrape(metrics_of(worker))
    cluster.produce("in", 0, (b"k", b"kept", 5_000), (b"k", b"seen", 5_001))
    worker.run()
    found = scrape(metrics_of(worker))
    name = "processor_node_metrics_look_ups"
    assert found[(f"{name}_total", "0_0", "enrich")] == 3
    assert found[(f"{name}_rate", "0_0", "enrich")] > 0
    assert found[(f"{name}_avg", "0_0", "enrich")] == 9.0


def test_sensor_needs_a_name_that_a_metric_may_have():
    app = sk.App("metered")

    @app.processor(app.topic("in", key=str, value=str), to=app.topic("out", key=str, value=str))
    def enrich(word: str, context: sk.Context) -> str:
        context.sensor("look ups").record()
        return word

    with app.test() as t, pytest.raises(FatalError, match="look ups"):
        t.pipe("in", "k", "v")
