"""Classes of processors, nodes by name, views, resources and async functions."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import streamkit as sk
from streamkit.common.errors import FatalError, TopologyError


class Running(sk.Processor[str, int, str, int]):
    """The running sum of each key."""

    def init(self, context: sk.Context) -> None:
        super().init(context)
        self.sums = context.store("sums")

    def process(self, record: sk.Record[str, int]) -> None:
        self.sums[record.key] = self.sums.get(record.key, 0) + record.value
        self.context.forward(record.with_value(self.sums[record.key]))


def low_level() -> sk.Topology:
    topology = sk.Topology()
    topology.add_source("numbers", "numbers", key=str, value=int)
    topology.add_processor("running", Running, "numbers")
    topology.add_state_store(sk.store("sums", key=str, value=int), "running")
    topology.add_sink("out", "out", "running", key=str, value=int)
    return topology


def test_nodes_by_name_make_a_topology() -> None:
    app = sk.App("named", topology=low_level())
    assert "Processor: running (stores: [sums])" in app.topology.describe()
    with app.test() as t:
        for number in (7, 8):
            t.pipe("numbers", "k", number, at=77)
        assert [record.value for record in t.read("out")] == [7, 15]


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (lambda t: t.add_processor("p", Running, "nobody"), r"there is no node 'nobody'"),
        (lambda t: t.add_processor("p", Running, "out"), r"out is a sink"),
        (lambda t: t.add_processor("p", Running), r"p has no parent"),
        (lambda t: t.connect_processor_and_state_stores("running", "x"), r"store x is not added"),
        (lambda t: t.add_source("running", "other", key=str, value=int), r"already added"),
    ],
)
def test_wrong_nodes_are_refused(add: Any, message: str) -> None:
    topology = low_level()
    with pytest.raises(TopologyError, match=message):
        add(topology).describe()


def test_second_store_of_a_name_is_refused() -> None:
    with pytest.raises(TopologyError, match=r"a different store sums"):
        low_level().add_state_store(sk.store("sums", key=str, value=str))


def test_store_that_is_not_connected_is_refused() -> None:
    topology = sk.Topology().add_source("numbers", "numbers", key=str, value=int)
    topology.add_processor("other", Running, "numbers", stores=[])
    app = sk.App("apart", topology=topology)
    with pytest.raises(
        FatalError, match=r"other failed in init\(\): .*is not connected to a store 'sums'"
    ):
        app.test()


def test_class_of_processors_in_the_dsl_is_made_anew_for_each_task() -> None:
    app = sk.App("dsl")
    made = app.stream("numbers", key=str, value=int).process(
        Running, key=str, value=int, stores=[sk.store("sums", key=str, value=int)]
    )
    made.to("out")
    with app.test(partitions=3) as t:
        for partition in (0, 2):
            t.pipe("numbers", "k", 7, at=77, partition=partition)
        assert [record.value for record in t.read("out")] == [7, 7]


def test_one_instance_for_all_tasks_is_refused() -> None:
    single = Running()
    supplier = functools.partial(Running)
    app = sk.App("dsl")
    numbers = app.stream("numbers", key=str, value=int)
    numbers.process(supplier, stores=[sk.store("sums", key=str, value=int)])
    with pytest.raises(TopologyError, match=r"is no function"):
        numbers.process(single)  # type: ignore[arg-type]


def test_fixed_key_processor_may_not_change_the_key() -> None:
    class Renames(sk.FixedKeyProcessor[str, int, int]):
        def process(self, record: sk.Record[str, int]) -> None:
            self.context.forward(record.with_key("other"))

    app = sk.App("fixed")
    app.stream("numbers", key=str, value=int).process(Renames, value=int).to("out")
    with app.test() as t, pytest.raises(FatalError, match=r"keeps keys, but it forwards 'other'"):
        t.pipe("numbers", "k", 7, at=77)


def test_child_by_name() -> None:
    class Splits(sk.Processor[str, int, str, int]):
        def process(self, record: sk.Record[str, int]) -> None:
            self.context.forward(record, "even" if record.value % 2 == 0 else "odd")

    topology = sk.Topology().add_source("numbers", "numbers", key=str, value=int)
    topology.add_processor("split", Splits, "numbers")
    for name in ("even", "odd"):
        topology.add_sink(name, name, "split", key=str, value=int)
    with sk.App("split", topology=topology).test() as t:
        for number in (7, 8, 9):
            t.pipe("numbers", "k", number, at=77)
        assert [record.value for record in t.read("odd")] == [7, 9]


def test_punctuation_can_be_cancelled() -> None:
    class Twice(sk.Processor[str, int, str, int]):
        def init(self, context: sk.Context) -> None:
            super().init(context)
            self.left = 2
            self.schedule = context.schedule("10ms", self.tick)

        def process(self, record: sk.Record[str, int]) -> None:
            """Only ticks."""

        def tick(self, time: int) -> None:
            self.context.forward(sk.Record("tick", time, time))
            self.left -= 1
            if not self.left:
                self.schedule.cancel()

    app = sk.App("twice")
    app.stream("numbers", key=str, value=int).process(Twice, key=str, value=int).to("out")
    with app.test() as t:
        for time in (7, 8, 27, 95):
            t.pipe("numbers", "k", 1, at=time)
        assert [record.value for record in t.read("out")] == [7, 27]


def test_view_of_a_table_and_of_a_global_table() -> None:
    app = sk.App("views")
    names = app.table("names", key=str, value=str, name="names")
    prices = app.global_table("prices", key=str, value=int)
    orders = app.topic("orders", key=str, value=str)

    @app.processor(orders, to=app.topic("out", key=str, value=str))
    def label(
        item: str,
        context: sk.Context,
        price: sk.View[str, int] = prices.view(),  # noqa: B008  # the API
    ) -> str:
        return f"{item} {price.get(item)}"

    stream = app.stream(orders)

    def greet(
        record: sk.Record[str, str],
        who: sk.View[str, str] = names.view(),  # noqa: B008  # the API
    ) -> str:
        return f"{who.get(record.key, 'nobody')} {record.value}"

    stream.process(greet, value=str).to("greetings")
    with app.test() as t:
        t.pipe("names", "k", "Kay", at=77)
        t.pipe("prices", "tea", 5, at=77)
        t.pipe(orders, "k", "tea", at=78)
        t.pipe(orders, "j", "milk", at=79)
        assert [record.value for record in t.read("out")] == ["tea 5", "milk None"]
        assert [record.value for record in t.read("greetings")] == ["Kay tea", "nobody milk"]
    given = sk.Record("k", "tea", 78)
    assert greet(given, {"k": "Kay"}) == "Kay tea"


def test_view_outside_of_a_task_says_so() -> None:
    view = sk.App("views").global_table("prices", key=str, value=int).view()
    with pytest.raises(TopologyError, match=r"give a dict in tests"):
        view.get("tea")


def test_resource_is_opened_once_and_closed_at_the_end() -> None:
    app, events = sk.App("resources"), []

    @app.resource
    def database() -> Iterator[dict[str, int]]:
        events.append("open")
        yield {"k": 7}
        events.append("close")

    @app.resource
    async def client() -> AsyncIterator[str]:
        events.append("connect")
        yield "client"
        events.append("disconnect")

    numbers = app.topic("numbers", key=str, value=int)

    @app.processor(numbers, to=app.topic("out", key=str, value=str))
    async def look_up(number: int, db: dict[str, int] = database, http: str = client) -> str:
        return f"{number} {db['k']} {http}"

    with app.test(partitions=3) as t:
        t.pipe(numbers, "k", 8, at=77)
        assert [record.value for record in t.read("out")] == ["8 7 client"]
        assert events == ["open", "connect"]
    assert sorted(events) == ["close", "connect", "disconnect", "open"]


def test_async_function_with_stores_and_many_results() -> None:
    app = sk.App("async")
    words = app.topic("words", key=str, value=str)

    @app.processor(words, to=app.topic("out", key=str, value=str))
    async def spell(word: str, seen: sk.KeyValue[str, int]) -> AsyncIterator[str]:
        for letter in word:
            await asyncio.sleep(0)
            seen[letter] = seen.get(letter, 0) + 1
            yield f"{letter}{seen[letter]}"

    with app.test() as t:
        for word in ("ab", "ba"):
            t.pipe(words, "k", word, at=77)
        assert [record.value for record in t.read("out")] == ["a1", "b1", "b2", "a2"]
        assert dict(t.store("seen").all()) == {"a": 2, "b": 2}


def test_nothing_of_a_record_counts_before_its_async_call() -> None:
    app = sk.App("held", on_error="skip")
    words = app.topic("words", key=str, value=str)

    @app.processor(words, to=app.topic("out", key=str, value=str))
    async def checked(word: str, seen: sk.KeyValue[str, int]) -> str:
        seen["all"] = seen.get("all", 0) + 1
        await asyncio.sleep(0)
        if word == "bad":
            raise ValueError(word)
        return word

    app.stream(words).group_by_key().count(name="counts").to_stream().to("counted")
    with app.test() as t:
        for word in ("good", "bad", "good"):
            t.pipe(words, "k", word, at=77)
        assert len(t.read("out")) == 2
        assert [record.value for record in t.read("counted")] == [1, 2]
        assert t.store("seen").get("all") == 2


def test_async_function_is_tried_again() -> None:
    app, failures = sk.App("again"), [ValueError("first")]
    words = app.topic("words", key=str, value=str)

    @app.processor(words, to=app.topic("out", key=str, value=str), on_error=sk.fail(attempts=2))
    async def shaky(word: str) -> str:
        await asyncio.sleep(0)
        if failures:
            raise failures.pop()
        return word

    with app.test() as t:
        t.pipe(words, "k", "w", at=77)
        assert [record.value for record in t.read("out")] == ["w"]
