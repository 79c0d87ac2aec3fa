"""Stores with an interface of the user's own, over rows that the engine keeps."""

from __future__ import annotations

from typing import Any

import pytest

import streamkit as sk
from streamkit.common.errors import FatalError, TopologyError


class Tags:
    """Which words have a tag: rows by word, and an index in memory that is read from them."""

    def __init__(self, rows: sk.KeyValueStore[str, list[str]]) -> None:
        self._rows = rows
        self._index: dict[str, set[str]] = {}
        self.rolled_back()

    def add(self, word: str, tag: str) -> None:
        self._rows[word] = [*self._rows.get(word, []), tag]  # type: ignore[misc]  # never None
        self._index.setdefault(tag, set()).add(word)

    def words(self, tag: str) -> list[str]:
        return sorted(self._index.get(tag, ()))

    def rolled_back(self) -> None:
        self._index.clear()
        for word, tags in self._rows.all():
            for tag in tags:
                self._index.setdefault(tag, set()).add(word)


def tags_store(**options: Any) -> Any:
    return sk.store("tags", key=str, value=list[str], interface=Tags, **options)


def tagging(on_error: Any = None, **options: Any) -> sk.App:
    app = sk.App("tagging", on_error=on_error)
    words = app.topic("words", key=str, value=str)
    found = app.topic("found", key=str, value=list[str])

    @app.processor(words, to=found, stores={"tags": tags_store(**options)})
    def tag(word: str, tags: Tags) -> list[str]:
        tags.add(word, word[0])
        if word == "bad":
            raise ValueError(word)
        return tags.words(word[0])

    return app


@pytest.mark.parametrize("kind", ["persistent", "memory"])
@pytest.mark.parametrize("caching", [False, True])
def test_function_uses_the_interface(kind: str, caching: bool) -> None:
    with tagging(kind=kind, caching=caching).test() as t:
        for word in ("ant", "ape", "bee"):
            t.pipe("words", word, word)
        assert [r.value for r in t.read("found")] == [["ant"], ["ant", "ape"], ["bee"]]
        assert t.store("tags").words("a") == ["ant", "ape"]
        assert dict(t.state_store("tags").all()) == {"ant": ["a"], "ape": ["a"], "bee": ["b"]}


def test_changes_are_logged_and_restored_from_the_changelog() -> None:
    app = tagging()
    with app.test() as t:
        t.pipe("words", "w", "ant")
        logged = [r for r in t.written if r.tp.topic == "tagging-tags-changelog"]
        assert [(r.key, r.value) for r in logged] == [(b"ant", b'["a"]')]


def test_record_that_is_skipped_leaves_nothing_behind() -> None:
    with tagging(on_error="skip").test() as t:
        t.pipe("words", "w", "bee")
        t.pipe("words", "w", "bad")
        assert t.store("tags").words("b") == ["bee"]
        assert t.dropped == 1


def test_processor_class_uses_the_interface() -> None:
    class Tag(sk.Processor[str, str, str, list[str]]):
        def process(self, record: sk.Record[str, str]) -> None:
            tags: Tags = self.context.store("tags")
            tags.add(record.value, record.value[0])
            self.context.forward(record.with_value(tags.words(record.value[0])))

    app = sk.App("tagging")
    tagged = app.stream("words", key=str, value=str).process(Tag, stores=[tags_store()])
    tagged.to(app.topic("found", key=str, value=list[str]))
    with app.test() as t:
        t.pipe("words", "w", "ant")
        assert [r.value for r in t.read(app.topic("found", key=str, value=list[str]))] == [["ant"]]


def test_global_store_has_an_interface() -> None:
    class Fill(sk.Processor[str, str, None, None]):
        def process(self, record: sk.Record[str, str]) -> None:
            self.context.store("tags").add(record.key, record.value)

    class Look(sk.Processor[str, str, str, str]):
        def process(self, record: sk.Record[str, str]) -> None:
            found = self.context.store("tags").words(record.value)
            self.context.forward(record.with_value(",".join(found)))

    app = sk.App("tagging")
    app.add_global_store(tags_store(), "tagged", Fill, key=str, value=str)
    looked = app.stream("asked", key=str, value=str).process(Look, key=str, value=str)
    looked.to("answers")
    with app.test() as t:
        t.pipe("tagged", "ant", "small")
        t.pipe("tagged", "bee", "small")
        t.pipe("asked", "q", "small")
        assert [r.value for r in t.read("answers")] == ["ant,bee"]


def test_interface_that_fails_names_its_store() -> None:
    app = sk.App("tagging")
    broken = sk.store("tags", key=str, value=str, interface=lambda rows: rows.nothing)
    words = app.topic("words", key=str, value=str)

    @app.processor(words, stores={"tags": broken})
    def tag(word: str, tags: Any) -> None:
        return None

    with pytest.raises(FatalError, match="store tags: its interface failed: AttributeError"):
        app.test()


def test_interface_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TopologyError, match="interface=7: give a class"):
        sk.store("tags", key=str, value=str, interface=7)  # type: ignore[arg-type]  # the test


def test_async_function_cannot_use_one() -> None:
    app = sk.App("tagging")
    words = app.topic("words", key=str, value=str)
    with pytest.raises(TopologyError, match="store tags: an async function has"):

        @app.processor(words, stores={"tags": tags_store()})
        async def tag(word: str, tags: Tags) -> None:
            return None
