"""OpenTelemetry's traces through records: a span for each record processed and for each one sent.

The context travels in the record's headers, by OpenTelemetry's global propagator (W3C's
`traceparent` and `tracestate` unless told otherwise). While a record is processed its headers speak
of its own span; so what caches and windows hold back is sent in the trace that it belongs to, and
not in the one that happens to be under way. Changelogs are not traced. Imported only where
`tracing.enable` is set: without it nothing here costs anything. Attributes follow OpenTelemetry's
semantic conventions for messaging.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from streamkit.common.direct import RecordWriter
from streamkit.common.model import Headers, TopicPartition
from streamkit.records import DecodedBatch
from streamkit.serdes import string
from streamkit.tasks.async_stage import AsyncStage
from streamkit.tasks.collector import TopicWriter
from streamkit.topology.operators.node import ProcessorContext, SourceNode

KEY_SIZE_MAX = 256
"""A longer key is no attribute of a span."""

Run = Callable[[DecodedBatch, int, int], None]


class Tracing:
    """The spans of one application; the provider is OpenTelemetry's global one."""

    def __init__(self, application_id: str) -> None:
        self._tracer: Tracer = trace.get_tracer("streamkit")
        self._application_id = application_id

    def processing(self, source: SourceNode, context: ProcessorContext, stage: AsyncStage) -> Run:
        """What processes records of a source, each in its span."""
        attributes = {
            **_operation("process", source.topic),
            "messaging.destination.partition.id": str(context.partition),
            "messaging.consumer.group.name": self._application_id,
            "streamkit.task.id": str(context.task_id),
        }
        has_text_keys = source.key_serde is string
        tp = TopicPartition(source.topic, context.partition)
        name = f"process {source.topic}"

        def run(batch: DecodedBatch, start: int, stop: int) -> None:
            for i in range(start, stop):
                parent = propagate.extract(batch.headers[i], Context(), _HEADERS)
                message = _message(batch.keys[i] if has_text_keys else None, batch.values[i])
                offset = batch.offsets[i]
                span = self._tracer.start_span(
                    name,
                    parent,
                    SpanKind.CONSUMER,
                    {**attributes, "messaging.kafka.offset": offset, **message},
                )
                _run_in(trace.set_span_in_context(span, parent), source, batch, i)
                if not stage.when_through(tp, offset, partial(_end, span)):
                    span.end()

        return run

    def writer(self, writer: TopicWriter) -> TracedWriter:
        """A writer whose records are sent in spans."""
        return TracedWriter(self._tracer, writer)


class TracedWriter(RecordWriter):
    """A topic's writer that writes the context of a span into the headers."""

    __slots__ = ("_append", "_attributes", "_name", "_tracer", "_writer")

    def __init__(self, tracer: Tracer, writer: TopicWriter) -> None:
        self._tracer = tracer
        self._writer = writer
        self._append = writer.append
        self._name = f"send {writer.topic}"
        self._attributes = _operation("send", writer.topic)

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self._writer.topic

    @property
    def count(self) -> int:
        """How many partitions the topic has."""
        return self._writer.count

    def set_count(self, count: int) -> None:
        """As the writer's."""
        self._writer.set_count(count)

    def append(
        self,
        key: bytes | str | None,
        value: bytes | str | None,
        timestamp: int,
        headers: Headers = (),
        partition: int = -1,
    ) -> None:
        """Add one record, with the context of its span in its headers."""
        parent = _parent_of(headers)
        attributes = {**self._attributes, **_message(None, value)}
        span = self._tracer.start_span(self._name, parent, SpanKind.PRODUCER, attributes)
        told = _with_context(headers, trace.set_span_in_context(span, parent))
        try:
            self._append(key, value, timestamp, told, partition)
        except Exception as error:
            _end(span, error)
            raise
        span.end()


class _HeaderGetter(Getter[Headers]):
    """Reads a record's headers; of several with one name the last, as Java's clients do."""

    def get(self, carrier: Headers, key: str) -> list[str] | None:
        for name, value in reversed(carrier):
            if name == key and value is not None:
                return [value.decode("utf-8", "replace")]
        return None

    def keys(self, carrier: Headers) -> list[str]:
        return [name for name, _ in carrier]


_HEADERS = _HeaderGetter()


def _run_in(context: Context, source: SourceNode, batch: DecodedBatch, i: int) -> None:
    """Process one record in its span, which ends here when it fails.

    The batch gets its headers back: a record that failed may be read from it again.
    """
    headers = batch.headers[i]
    batch.headers[i] = _with_context(headers, context)
    token = attach(context)
    try:
        source.run(batch, i, i + 1)
    except Exception as error:
        _end(trace.get_current_span(context), error)
        raise
    finally:
        detach(token)
        batch.headers[i] = headers


def _end(span: Span, error: Exception | None) -> None:
    if error is not None:
        span.record_exception(error)
        span.set_status(Status(StatusCode.ERROR, str(error)))
        span.set_attribute("error.type", type(error).__qualname__)
    span.end()


def _parent_of(headers: Headers) -> Context:
    """The span that a record is sent in: what its headers say, or what runs inside of that."""
    current = get_current()
    told = propagate.extract(headers, Context(), _HEADERS)
    told_span = trace.get_current_span(told).get_span_context()
    running = trace.get_current_span(current).get_span_context()
    if not told_span.is_valid or running.trace_id == told_span.trace_id:
        return current
    return told


def _with_context(headers: Headers, context: Context) -> Headers:
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context)
    if not carrier:
        return headers
    fields = propagate.get_global_textmap().fields
    kept = [header for header in headers if header[0] not in fields]
    return (*kept, *((name, value.encode()) for name, value in carrier.items()))


def _operation(name: str, topic: str) -> dict[str, Any]:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": name,
        "messaging.operation.type": name,
        "messaging.destination.name": topic,
    }


def _message(key: bytes | None, value: bytes | str | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if key is not None and len(key) <= KEY_SIZE_MAX:
        found["messaging.kafka.message.key"] = key.decode("utf-8", "replace")
    if value is None:
        found["messaging.kafka.message.tombstone"] = True
    else:
        found["messaging.message.body.size"] = len(value)
    return found
