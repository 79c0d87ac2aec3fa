"""The header-aware store: headers in the store, and as the record's headers in the changelog."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

import streamkit as sk
from streamkit.common.errors import TaskCorruptedError, TopologyError
from streamkit.serdes import string
from streamkit.state.backend import MemoryBackend
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.cache import CacheBudget
from streamkit.state.factory import Changelog, build_store
from streamkit.state.formats import decode_with_headers, encode_value, encode_with_headers
from streamkit.state.queries import RangeQuery, Row, read_page
from streamkit.state.task_state import TaskState

BUILDER = StoreBuilder("rows", StoreKind.HEADERS, string, string)
HEADERS = (("trace", b"\x00\xff"), ("none", None), ("trace", b""), ("\u00e9", b"x"))
TOPIC_ID = UUID(int=4_713)


class Context:
    timestamp = 7_000
    stream_time = 7_000
    headers = (("from", b"record"),)


class Kit:
    def __init__(self):
        self.state = TaskState([BUILDER], MemoryBackend)
        self.log = []
        self.store = build_store(
            BUILDER,
            self.state.overlays["rows"],
            Changelog("log", 3, lambda *change: self.log.append(change)),
            CacheBudget(1 << 20),
            Context(),
        )


def test_row_keeps_its_headers():
    kit = Kit()
    kit.store.put("a", "1", 5_000, HEADERS)
    assert kit.store.get("a") == ("1", 5_000, HEADERS)
    assert kit.log == [(b"a", b"1", 5_000, HEADERS, 3)]


def test_put_takes_time_and_headers_of_the_record_by_default():
    kit = Kit()
    kit.store.put("a", "1")
    assert kit.store.get("a") == ("1", 7_000, Context.headers)
    assert kit.store.delete("a") == ("1", 7_000, Context.headers)
    assert kit.store.get("a") is None


def test_scans_both_ways():
    kit = Kit()
    for key in ("a", "ab", "b", "c"):
        kit.store.put(key, key.upper())
    assert [key for key, _ in kit.store.range("ab", "b")] == ["ab", "b"]
    assert [row.value for _, row in kit.store.prefix("a", reverse=True)] == ["AB", "A"]
    assert [key for key, _ in kit.store.all()] == ["a", "ab", "b", "c"]


def test_restored_rows_have_the_headers_of_their_records():
    kit = Kit()
    records = [(b"a", b"1", 5_000), (b"b", b"2", 6_000), (b"a", None, 6_500)]
    assert not kit.state.can_bulk_load("rows")
    kit.state.restore("rows", records, 44, TOPIC_ID, [HEADERS, (), ()])
    kit.state.restore("rows", [(b"c", b"3", 6_600)], 45, TOPIC_ID, [HEADERS])
    assert dict(kit.store.all()) == {"b": ("2", 6_000, ()), "c": ("3", 6_600, HEADERS)}


def test_queries_give_the_value_with_its_headers():
    kit = Kit()
    kit.state.restore("rows", [(b"a", b"1", 5_000)], 44, TOPIC_ID, [HEADERS])
    page = read_page(BUILDER, kit.state.committed("rows"), RangeQuery())
    assert page.rows == [Row(b"a", b"1", 5_000, headers=HEADERS)]


@pytest.mark.parametrize("headers", [(), HEADERS])
@pytest.mark.parametrize("value", [b"", b"value"])
def test_stored_bytes_are_read_as_they_were_written(headers, value):
    assert decode_with_headers(encode_with_headers(value, -5, headers)) == (value, -5, headers)
    assert decode_with_headers(encode_value(value, 9)) == (value, 9, ())


def test_unknown_format_is_refused():
    with pytest.raises(TaskCorruptedError, match="0209"):
        decode_with_headers(b"\x02\x09" + bytes(20))


def test_processor_reads_headers_of_another_record():
    class Keep(sk.Processor):
        def init(self, context):
            self.context = context
            self.rows = context.store("rows")

        def process(self, record):
            found = self.rows.get(record.key)
            self.rows.put(record.key, record.value)
            if found is not None:
                self.context.forward(replace(record, headers=found.headers))

    app = sk.App("headers")
    store = sk.store("rows", key=str, value=str, form="headers")
    lines = app.stream(app.topic("lines", key=str, value=str))
    lines.process(Keep, key=str, value=str, stores=[store]).to(app.topic("out", key=str, value=str))
    with app.test() as t:
        t.pipe("lines", "k", "1", headers=HEADERS)
        t.pipe("lines", "k", "2")
        assert [record.headers for record in t.read("out")] == [HEADERS]


def test_rows_with_headers_have_no_time_to_live():
    with pytest.raises(TopologyError, match="no ttl"):
        sk.store("rows", key=str, value=str, form="headers", ttl="1m")
