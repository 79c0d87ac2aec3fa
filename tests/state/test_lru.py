"""The bounded store: what goes, what a use is, and what a failed record leaves."""

from __future__ import annotations

from typing import Any

import pytest

import streamkit as sk
from streamkit.common.errors import ConfigError, TopologyError
from streamkit.serdes import string
from streamkit.state.backend import MemoryBackend
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.journal import undo
from streamkit.state.lru import LruRows
from streamkit.state.overlay import OverlayStore

BUILDER = StoreBuilder(
    "kept", StoreKind.TIMESTAMPED_KEY_VALUE, string, string, persistent=False, entries_max=3
)


class Kit:
    def __init__(self, **rows: str) -> None:
        self.overlay = OverlayStore(MemoryBackend(["kept"]), "kept")
        self.logged: list[tuple[str, str | None]] = []
        self.store = LruRows(BUILDER, self.overlay, "changes", self.log, 7)
        for key, value in rows.items():
            self.store.put(key, value, 5_000)

    def log(self, key: bytes, value: bytes | None, *rest: Any) -> None:
        self.logged.append((key.decode(), None if value is None else value.decode()))

    def keys(self) -> str:
        return "".join(key for key, _ in self.store.all())


def test_least_recently_used_row_goes_and_its_delete_is_logged() -> None:
    kit = Kit(a="1", b="2", c="3")
    assert kit.store.get("a") is not None
    kit.store.put("b", "4", 5_001)
    kit.store.put("d", "5", 5_002)
    assert kit.keys() == "abd"
    assert kit.logged[-2:] == [("c", None), ("d", "5")]


def test_deleted_row_makes_room() -> None:
    kit = Kit(a="1", b="2", c="3")
    kit.store.put("b", None, 5_001)
    kit.store.put("d", "4", 5_002)
    assert kit.keys() == "acd"
    kit.store.put("missing", None, 5_003)
    kit.store.put("e", "5", 5_004)
    assert kit.keys() == "cde"


def test_rows_that_were_restored_count() -> None:
    kit = Kit(a="1", b="2", c="3")
    again = LruRows(BUILDER, kit.overlay, "changes", kit.log, 7)
    again.put("d", "4", 5_001)
    assert [key for key, _ in again.all()] == ["b", "c", "d"]


def test_failed_record_leaves_no_trace() -> None:
    kit = Kit(a="1", b="2", c="3")
    journal = kit.overlay.journal = []
    kit.store.put("d", "4", 5_001)
    kit.store.put("b", None, 5_001)
    undo(journal)
    assert kit.keys() == "abc"
    kit.store.put("d", "4", 5_002)
    assert kit.keys() == "bcd"


def test_failed_record_used_nothing() -> None:
    kit = Kit(a="1", b="2", c="3")
    journal = kit.overlay.journal = []
    kit.store.put("c", "4", 5_001)
    assert kit.store.get("a") is not None
    kit.store.put("d", "5", 5_001)
    undo(journal)
    kit.store.put("e", "6", 5_002)
    kit.store.put("f", "7", 5_002)
    assert kit.keys() == "cef"


def test_table_and_processors_take_one() -> None:
    app = sk.App("bounded")
    store = sk.Materialized("kept", kind="lru", entries=2)
    app.table("rows", key=str, value=str, store=store)
    with app.test() as t:
        for number, key in enumerate("abcb"):
            t.pipe("rows", key, f"v{number}", at=5_000 + number)
        assert dict(t.store("kept").all()) == {"b": "v3", "c": "v2"}
    builder = sk.store("own", key=str, value=int, kind="lru", entries=7)
    assert (builder.persistent, builder.entries_max) == (False, 7)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(TopologyError, match="needs entries="):
        sk.store("own", key=str, value=int, kind="lru")
    with pytest.raises(TopologyError, match="is for kind='lru'"):
        sk.store("own", key=str, value=int, entries=7)
    with pytest.raises(TopologyError, match="rows by key"):
        sk.store("own", key=str, value=int, form="window", kind="lru", entries=7, retention="1h")


def stores_of(config: dict[str, object]) -> dict[str, StoreBuilder]:
    app = sk.App("where", config=config)
    stream = app.stream("in", key=str, value=str)
    stream.group_by_key().count(name="plain")
    stream.group_by_key().windowed_by(sk.tumbling("1h")).count(name="hourly")
    disk = sk.Materialized("disk", kind="persistent")
    stream.group_by_key().count(store=disk)
    other = app.stream("other", key=str, value=str)
    stream.join(other, lambda a, b: a + b, within="1m", value=str).to("out")
    return {store.name: store for part in app.topology.subtopologies for store in part.stores}


@pytest.mark.parametrize(
    "config",
    [
        {"dsl.store.suppliers.class": "in_memory"},
        {
            "dsl.store.suppliers.class": "org.apache.kafka.streams.state."
            "BuiltInDslStoreSuppliers$InMemoryDslStoreSuppliers"
        },
        {"default.dsl.store": "in_memory"},
    ],
)
def test_stores_are_in_memory_by_choice(config: dict[str, object]) -> None:
    stores = stores_of(config)
    assert [name for name, store in stores.items() if store.persistent] == ["disk"]
    assert len(stores) == 5


def test_stores_are_on_disk_unless_it_is_said() -> None:
    assert all(store.persistent for store in stores_of({}).values())
    with pytest.raises(ConfigError, match="use rocksDB or in_memory"):
        sk.App("where", config={"dsl.store.suppliers.class": "papyrus"})


def test_tables_keep_headers_by_choice() -> None:
    app = sk.App("headed", config={"dsl.store.format": "HEADERS"})
    app.table("rows", key=str, value=str, name="kept").to_stream().to("out")
    with app.test() as t:
        t.pipe("rows", "k", "v", at=5_000, headers=(("h", b"x"),))
        row = t.store("kept").get("k")
        assert (row.value, row.timestamp, row.headers) == ("v", 5_000, (("h", b"x"),))
    with pytest.raises(ConfigError, match="DEFAULT or HEADERS"):
        sk.App("headed", config={"dsl.store.format": "ROMAN"})
