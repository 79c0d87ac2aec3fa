"""Traces through record headers: spans, their parents, and that nothing is done without them."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Iterator
from typing import Any

import confluent_kafka
import pytest
from opentelemetry import baggage, propagate, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import streamkit as sk
from streamkit.common.errors import ConfigError, FatalError
from tests.harness import wait_for

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TOLD = (
    ("h", b"x"),
    ("traceparent", f"00-{TRACE}-{PARENT}-01".encode()),
    ("tracestate", b"vendor=7"),
)
ON = {"tracing.enable": True}

EXPORTER = InMemorySpanExporter()


@pytest.fixture(scope="module", autouse=True)
def provider() -> None:
    # OpenTelemetry takes one provider for the whole process.
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(EXPORTER))
    trace.set_tracer_provider(made)


@pytest.fixture
def spans() -> InMemorySpanExporter:
    EXPORTER.clear()
    return EXPORTER


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def one(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    (found,) = named(spans, name)
    return found


def trace_of(span: ReadableSpan) -> str:
    return f"{span.get_span_context().trace_id:032x}"


def id_of(span: ReadableSpan) -> int:
    return span.get_span_context().span_id


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def told_by(headers: Any) -> list[str]:
    return [(value or b"").decode() for name, value in headers if name == "traceparent"]


def shouting(**options: Any) -> sk.App:
    app = sk.App("shouting", **options)
    words = app.topic("words", key=str, value=str)
    app.stream(words).map_values(str.upper, value=str).to("shouts")
    return app


def test_record_is_processed_and_sent_in_the_trace_of_its_headers(
    spans: InMemorySpanExporter,
) -> None:
    with shouting().test(config=ON) as t:
        t.pipe("words", "k", "hi", at=77, headers=TOLD)
        (written,) = t.written
    process, send = one(spans, "process words"), one(spans, "send shouts")
    assert trace_of(process) == trace_of(send) == TRACE
    assert parent_of(process) == int(PARENT, 16)
    assert parent_of(send) == id_of(process)
    assert (process.kind, send.kind) == (SpanKind.CONSUMER, SpanKind.PRODUCER)
    assert written.headers == (
        ("h", b"x"),
        ("traceparent", f"00-{TRACE}-{id_of(send):016x}-01".encode()),
        ("tracestate", b"vendor=7"),
    )


def test_attributes_are_those_of_the_semantic_conventions(spans: InMemorySpanExporter) -> None:
    with shouting().test(config=ON, partitions=4) as t:
        t.pipe("words", "k", "hi", at=77, partition=3)
        t.pipe("words", "key", "there", at=77, partition=3)
    process, send = named(spans, "process words")[1], named(spans, "send shouts")[1]
    assert dict(process.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "words",
        "messaging.destination.partition.id": "3",
        "messaging.consumer.group.name": "shouting",
        "messaging.kafka.offset": 1,
        "messaging.kafka.message.key": "key",
        "messaging.message.body.size": 5,
        "streamkit.task.id": "0_3",
    }
    assert dict(send.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "shouts",
        "messaging.message.body.size": 5,
    }


def test_record_without_headers_begins_a_trace(spans: InMemorySpanExporter) -> None:
    with shouting().test(config=ON) as t:
        with trace.get_tracer("test").start_as_current_span("around"):
            t.pipe("words", "k", "hi", at=77)
        t.pipe("words", "k", "ho", at=78)
    first, second = named(spans, "process words")
    assert first.parent is None
    assert trace_of(first) != trace_of(second)


def test_tombstone_says_so(spans: InMemorySpanExporter) -> None:
    app = sk.App("table")
    app.table("rows", key=str, value=str).to_stream().to("out")
    with app.test(config=ON) as t:
        t.pipe("rows", "k", None, at=77)
    assert (one(spans, "process rows").attributes or {})["messaging.kafka.message.tombstone"]
    assert (one(spans, "send out").attributes or {})["messaging.kafka.message.tombstone"]


def test_unsampled_trace_goes_on_unsampled(spans: InMemorySpanExporter) -> None:
    headers = (("traceparent", f"00-{TRACE}-{PARENT}-00".encode()),)
    with shouting().test(config=ON) as t:
        t.pipe("words", "k", "hi", at=77, headers=headers)
        (written,) = t.written
    (told,) = told_by(written.headers)
    assert told.startswith(f"00-{TRACE}-")
    assert told.endswith("-00")
    assert spans.get_finished_spans() == ()


def test_span_of_user_code_lies_between(spans: InMemorySpanExporter) -> None:
    app = sk.App("inner")
    words = app.topic("words", key=str, value=str)

    @app.processor(words, to=app.topic("out", key=str, value=str))
    def look_up(word: str) -> Iterator[str]:
        with trace.get_tracer("user").start_as_current_span("database"):
            yield word

    with app.test(config=ON) as t:
        t.pipe("words", "k", "hi", at=77, headers=TOLD)
    database = one(spans, "database")
    assert parent_of(database) == id_of(one(spans, "process words"))
    assert parent_of(one(spans, "send out")) == id_of(database)


def test_baggage_goes_along(spans: InMemorySpanExporter) -> None:
    found: list[object] = []
    app = sk.App("baggage")
    words = app.topic("words", key=str, value=str)

    @app.processor(words, to=app.topic("out", key=str, value=str))
    def tell(word: str) -> str:
        found.append(baggage.get_baggage("tenant"))
        return word

    with app.test(config=ON) as t:
        t.pipe("words", "k", "hi", at=77, headers=(*TOLD, ("baggage", b"tenant=7")))
        assert ("baggage", b"tenant=7") in t.written[0].headers
    assert found == ["7"]


def counting() -> sk.App:
    app = sk.App("counting")
    lines = app.topic("lines", key=str, value=str)
    (
        app.stream(lines)
        .flat_map_values(str.split, value=str)
        .group_by(lambda _, word: word, key=str)
        .count(name="counts")
        .to_stream()
        .to("totals")
    )
    return app


def test_one_trace_goes_through_a_repartition_topic(spans: InMemorySpanExporter) -> None:
    with counting().test(config=ON) as t:
        t.pipe("lines", "k", "hi", at=77, headers=TOLD)
        changelog = [r for r in t.written if r.tp.topic == "counting-counts-changelog"]
    repartition = "counting-counts-repartition"
    chain = [
        one(spans, name)
        for name in (
            "process lines",
            f"send {repartition}",
            f"process {repartition}",
            "send totals",
        )
    ]
    assert {trace_of(span) for span in chain} == {TRACE}
    assert [parent_of(span) for span in chain[1:]] == [id_of(span) for span in chain[:-1]]
    assert [told_by(record.headers) for record in changelog] == [[]]
    assert len(spans.get_finished_spans()) == 4


def test_what_a_cache_held_back_is_sent_in_its_own_trace(spans: InMemorySpanExporter) -> None:
    app = sk.App("cached")
    app.stream("words", key=str, value=str).group_by_key().count(name="n").to_stream().to("totals")
    other = "0af7651916cd43dd8448eb211c80319c"
    config = {**ON, "statestore.cache.max.bytes": 300}
    with app.test(config=config) as t:
        # The driver commits after each record; here the cache lets go while another is processed.
        task = t.tasks[0]
        task.flush = lambda: None  # type: ignore[method-assign]  # no commit in between
        t.pipe("words", "a" * 100, "x", at=77, headers=TOLD)
        t.pipe(
            "words",
            "b" * 100,
            "x",
            at=78,
            headers=(("traceparent", f"00-{other}-{PARENT}-01".encode()),),
        )
    send = named(spans, "send totals")[0]
    first, second = named(spans, "process words")
    assert (trace_of(send), parent_of(send)) == (TRACE, id_of(first))
    assert first.end_time is not None
    assert first.end_time <= (send.start_time or 0) <= (second.end_time or 0)


def test_failure_is_noted_on_the_span_of_each_attempt(spans: InMemorySpanExporter) -> None:
    def refuse(_: str) -> str:
        raise ValueError("thirteen")

    app = sk.App("failing", on_error=sk.dead_letter("dlq", attempts=2))
    app.stream("words", key=str, value=str).map_values(refuse, value=str).to("out")
    with app.test(config=ON) as t:
        t.pipe("words", "k", "hi", at=77, headers=TOLD)
        t.advance(seconds=1)
        (letter,) = t.written
    attempts = named(spans, "process words")
    assert [parent_of(span) for span in attempts] == [int(PARENT, 16)] * 2
    for span in attempts:
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == "ValueError"
        assert [event.name for event in span.events] == ["exception"]
    sent = one(spans, "send dlq")
    assert trace_of(sent) == TRACE
    assert told_by(letter.headers) == [f"00-{TRACE}-{id_of(sent):016x}-01"]


def test_fatal_failure_ends_its_span(spans: InMemorySpanExporter) -> None:
    app = sk.App("fatal")
    app.stream("words", key=str, value=int).to("out")
    with app.test(config=ON) as t:
        with pytest.raises(FatalError):
            t.pipe_bytes("words", b"k", b"short", at=77, headers=TOLD)
        assert one(spans, "process words").status.status_code is StatusCode.ERROR
    assert not trace.get_current_span().get_span_context().is_valid


def test_async_calls_run_in_the_span_of_their_record(spans: InMemorySpanExporter) -> None:
    app = sk.App("async")
    words = app.topic("words", key=str, value=str)

    @app.processor(words, to=app.topic("out", key=str, value=str))
    async def fetch(word: str) -> AsyncIterator[str]:
        with trace.get_tracer("user").start_as_current_span(f"fetch {word}"):
            await asyncio.sleep(0)
        yield word

    with app.test(config=ON) as t:
        for word in ("a", "b"):
            t.pipe("words", "k", word, at=77)
    for number, word in enumerate(("a", "b")):
        process, send = named(spans, "process words")[number], named(spans, "send out")[number]
        inner = one(spans, f"fetch {word}")
        assert parent_of(inner) == parent_of(send) == id_of(process)
        assert (process.end_time or 0) >= (inner.end_time or 0)


def test_async_failure_is_noted_on_the_span(spans: InMemorySpanExporter) -> None:
    app = sk.App("async-failing", on_error="skip")
    words = app.topic("words", key=str, value=str)

    @app.processor(words, to=app.topic("out", key=str, value=str))
    async def fetch(word: str) -> str:
        await asyncio.sleep(0)
        raise ValueError(word)

    with app.test(config=ON) as t:
        t.pipe("words", "k", "hi", at=77)
    assert (one(spans, "process words").attributes or {})["error.type"] == "ValueError"


def test_without_the_option_headers_stay_and_nothing_is_recorded(
    spans: InMemorySpanExporter,
) -> None:
    with shouting().test() as t:
        t.pipe("words", "k", "hi", at=77, headers=TOLD)
        assert t.written[0].headers == TOLD
    assert spans.get_finished_spans() == ()


def test_missing_library_is_one_line_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def find(name: str) -> Any:
        return None if name == "opentelemetry" else importlib.util.find_spec(name)

    monkeypatch.setattr("streamkit.tasks.settings.find_spec", find)
    with pytest.raises(ConfigError, match=r"tracing.enable=true needs .*'streamkit\[otel\]'"):
        sk.App("x", config=ON)
    with pytest.raises(ConfigError, match=r"'tracing.enabled'; did you mean 'tracing.enable'"):
        sk.App("x", config={"tracing.enabled": True})


def test_one_trace_from_producer_to_consumer_over_a_broker(
    spans: InMemorySpanExporter, tmp_path: Any
) -> None:
    """Producer, sub-topology, repartition topic, sub-topology, sink: on a real worker."""
    app = counting()

    async def scenario() -> Any:
        async with sk.Broker() as broker:
            async with sk.client.Admin({"bootstrap.servers": broker.bootstrap}) as admin:
                topics = [sk.client.NewTopic(name, 2) for name in ("lines", "totals")]
                await admin.create_topics(topics)
            config = {**ON, "state.dir": str(tmp_path)}
            async with app.worker(bootstrap=broker.bootstrap, config=config):
                await asyncio.to_thread(produce, broker.bootstrap)
                return await asyncio.to_thread(consume, broker.bootstrap)

    message = asyncio.run(scenario())
    send = wait_for(lambda: named(spans, "send totals"), what="the last span")[0]
    (told,) = told_by(message.headers())
    assert told.startswith(f"00-{trace_of(send)}-{id_of(send):016x}-")
    repartition = "counting-counts-repartition"
    names = (
        "checkout", "process lines", f"send {repartition}", f"process {repartition}", "send totals",
    )  # fmt: skip
    chain = [one(spans, name) for name in names]
    assert len({trace_of(span) for span in chain}) == 1
    assert [parent_of(span) for span in chain[1:]] == [id_of(span) for span in chain[:-1]]


def produce(bootstrap: str) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
    with trace.get_tracer("shop").start_as_current_span("checkout"):
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
    headers = [(name, value.encode()) for name, value in carrier.items()]
    producer.produce("lines", "hello", "k", headers=headers)
    assert producer.flush(20) == 0


def consume(bootstrap: str) -> Any:
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "judge",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe(["totals"])
    try:
        return wait_for(lambda: consumer.poll(0.1), what="the total")
    finally:
        consumer.close()
