"""A function, a class, a store or a view annotated for other types than come is refused."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NewType, Protocol, TypeVar

import pytest
from typing_extensions import TypedDict

import streamkit as sk
from streamkit.common.errors import TopologyError

HERE = r"test_typed_functions\.py:\d+"
T = TypeVar("T")
UserId = NewType("UserId", str)


@dataclass
class Order:
    amount: int


@dataclass
class BigOrder(Order):
    discount: int = 0


class Row(TypedDict):
    amount: int


class Sized(Protocol):
    def __len__(self) -> int: ...


class Program:
    """Streams, groups and tables of texts, and tables of numbers."""

    def __init__(self) -> None:
        self.app = sk.App("typed")
        self.lines = self.app.stream("lines", key=str, value=str)
        self.others = self.app.stream("others", key=str, value=str)
        self.grouped = self.lines.group_by_key()
        self.windowed = self.grouped.windowed_by(sk.tumbling("1m"))
        self.sessions = self.grouped.windowed_by(sk.session("1m"))
        self.table = self.app.table("people", key=str, value=str)
        self.numbers = self.app.table("numbers", key=int, value=str)
        self.everyone = self.app.global_table("everyone", key=str, value=str)


@pytest.fixture
def given() -> Program:
    return Program()


def one(value: int) -> int:
    return value


def two(key: str, value: int) -> Any:
    return value


def pair(left: str, right: int) -> int:
    return right


def three(key: str, value: int, total: int) -> int:
    return total


def merged(key: str, total: str, other: str) -> int:
    return 0


def summed(key: str, value: str, total: int) -> int:
    return total


def identity(key: str, value: str) -> int:
    return 0


def text(left: str, right: str) -> str:
    return left


Declare = Callable[[Program], object]
VALUE = r"takes int as value, but str comes"
RIGHT = r"takes int as right, but str comes"
WRONG: dict[str, tuple[Declare, str]] = {
    "filter": (lambda p: p.lines.filter(two), VALUE),
    "filter_not": (lambda p: p.lines.filter_not(two), VALUE),
    "map": (lambda p: p.lines.map(two), VALUE),
    "map_values": (lambda p: p.lines.map_values(one), VALUE),
    "map_values with key": (lambda p: p.lines.map_values(two, with_key=True), VALUE),
    "flat_map": (lambda p: p.lines.flat_map(two), VALUE),
    "flat_map_values": (lambda p: p.lines.flat_map_values(one), VALUE),
    "select_key": (lambda p: p.lines.select_key(two), VALUE),
    "peek": (lambda p: p.lines.peek(two), VALUE),
    "foreach": (lambda p: p.lines.foreach(two), VALUE),
    "print": (lambda p: p.lines.print(mapper=two), VALUE),
    "group_by": (lambda p: p.lines.group_by(two), VALUE),
    "branch": (lambda p: p.lines.split().branch(two), VALUE),
    "deduplicate": (lambda p: p.lines.deduplicate(within="1m", by=two), VALUE),
    "reduce": (lambda p: p.grouped.reduce(pair), RIGHT),
    "aggregate": (lambda p: p.grouped.aggregate(0, three), VALUE),
    "cogroup": (lambda p: p.grouped.cogroup(three), VALUE),
    "windowed reduce": (lambda p: p.windowed.reduce(pair), RIGHT),
    "windowed aggregate": (lambda p: p.windowed.aggregate(0, three), VALUE),
    "merger": (
        lambda p: p.sessions.aggregate(0, summed, merged),
        r"takes str as total, but int comes",
    ),
    "table filter": (lambda p: p.table.filter(two), VALUE),
    "table map_values": (lambda p: p.table.map_values(one), VALUE),
    "transform_values": (lambda p: p.table.transform_values(two), VALUE),
    "table group_by": (lambda p: p.table.group_by(two), VALUE),
    "grouped table reduce": (
        lambda p: p.table.group_by(lambda k, v: (k, v), key=str, value=str).reduce(pair, text),
        RIGHT,
    ),
    "grouped table aggregate": (
        lambda p: p.table.group_by(lambda k, v: (k, v), key=str, value=str).aggregate(
            0, summed, three
        ),
        VALUE,
    ),
    "stream-table join": (lambda p: p.lines.join(p.table, pair), RIGHT),
    "stream-stream join": (lambda p: p.lines.join(p.others, pair, within="1m"), RIGHT),
    "stream-global join": (lambda p: p.lines.join(p.everyone, pair, on=lambda k, v: k), RIGHT),
    "table-table join": (lambda p: p.table.outer_join(p.table, pair), RIGHT),
    "foreign-key join": (lambda p: p.table.join(p.numbers, pair, on=lambda k, v: 1), RIGHT),
    "on takes": (lambda p: p.table.join(p.numbers, text, on=two), VALUE),
    "on of a foreign-key join gives": (
        lambda p: p.numbers.join(p.table, text, on=lambda_int),
        r"lambda_int gives int, but the keys of the other table are str",
    ),
    "on of a global join gives": (
        lambda p: p.lines.join(p.everyone, text, on=identity),
        r"identity gives int, but the keys of the other table are str",
    ),
    "key of a window": (
        lambda p: p.windowed.count().filter(two),
        r"takes str as key, but Windowed\[str\] comes",
    ),
}


def lambda_int(key: int, value: str) -> int:
    return key


@pytest.mark.parametrize("case", WRONG)
def test_function_for_other_types_is_refused(given: Program, case: str) -> None:
    declare, says = WRONG[case]
    with pytest.raises(TopologyError, match=r"\(\) at " + HERE + ": .*" + says):
        declare(given)


def of_any(value: Any) -> Any: ...
def of_object(value: object) -> Any: ...
def of_union(value: int | str | None) -> Any: ...
def of_protocol(value: Sized) -> Any: ...
def of_variable(value: T) -> T: ...
def of_sequence(value: Sequence[str]) -> Any: ...
def of_iterable(value: Iterable[str]) -> Any: ...
def of_literal(value: Literal["a", "b"]) -> Any: ...
def of_new_type(value: UserId) -> Any: ...
def of_more(*values: int) -> Any: ...
def of_nothing(value) -> Any: ...  # type: ignore[no-untyped-def]


@functools.wraps(one)
def wrapping(value: str) -> int:
    return one(len(value))


@pytest.mark.parametrize(
    "function",
    [of_any, of_object, of_union, of_protocol, of_variable, of_sequence, of_iterable, of_literal,
     of_new_type, of_more, of_nothing, wrapping, str.upper, int, len, Order,
     functools.partial(pair, "a")],
)  # fmt: skip
def test_function_that_may_take_it_is_accepted(
    given: Program, function: Callable[..., Any]
) -> None:
    given.lines.map_values(function)
    given.table.map_values(function)


def of_number(value: float) -> Any: ...
def of_base(value: Order) -> Any: ...
def of_row(value: Row) -> Any: ...
def of_mapping(value: Mapping[str, int]) -> Any: ...
def of_optional(value: Order | None) -> Any: ...
def of_narrower(value: BigOrder) -> Any: ...
def to_tuple(value: str) -> tuple[str, ...]: ...


@pytest.mark.parametrize(
    ("declared", "function"),
    [(int, of_number), (bool, one), (BigOrder, of_base), (Order, of_optional), (dict, of_row),
     (Row, of_mapping), (dict[str, int], of_mapping), (int | str, one), (Order | None, of_base),
     (Order, of_narrower), (Order | str, of_narrower)],
)  # fmt: skip
def test_wider_annotation_is_accepted(declared: Any, function: Callable[..., Any]) -> None:
    app = sk.App("typed")
    app.stream("in", key=str, value=declared).map_values(function)
    app.stream("in", key=str, value=declared).process(function)


def test_tuple_is_an_array_of_json() -> None:
    sk.App("typed").stream("in", key=str, value=str).map_values(to_tuple).to("o", value=list)


def test_names_are_those_of_the_module_of_the_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program has another class of that name."""
    module = tmp_path / "handlers_of_others.py"
    module.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Order:\n    size: int\n"
        "def total(value: Order) -> int:\n    return 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    others = importlib.import_module(module.stem)
    Order = str  # noqa: F841, N806 - the name that is not meant
    sk.App("typed").stream("in", key=str, value=others.Order).map_values(others.total)


def test_serde_says_nothing_of_types() -> None:
    stream = sk.App("typed").stream("in", key=str, value=sk.serdes.string)
    stream.map_values(one)


def test_windowed_keys_do_not_fit_a_topic_of_plain_ones(given: Program) -> None:
    counts = given.windowed.count().to_stream()
    with pytest.raises(TopologyError, match=r"keys of type str, but Windowed\[str\] comes"):
        counts.to(given.app.topic("counts", key=str, value=int))
    cogrouped = given.grouped.cogroup(summed).windowed_by(sk.session("1m"))
    totals = cogrouped.aggregate(0, lambda k, a, b: a + b, value=int).to_stream()
    with pytest.raises(TopologyError, match=r"keys of type str, but Windowed\[str\] comes"):
        totals.to(given.app.topic("counts", key=str, value=int))
    of_windows = sk.serdes.time_windowed(str, 60_000)
    counts.to(given.app.topic("windows", key=of_windows, value=int))
    counts.to(given.app.topic("described", key=sk.Windowed[str], value=int))


def test_windowed_tables_still_join(given: Program) -> None:
    other = given.grouped.windowed_by(sk.tumbling("2m")).count()
    given.windowed.count().join(other, lambda a, b: a + b, value=int)


class Numbers(sk.Processor[int, int, str, str]):
    """Never run."""


class Lengths(sk.Processor[str, str, str, int]):
    """Never run."""


class Doubled(sk.FixedKeyProcessor[str, int, int]):
    """Never run."""


class Derived(Lengths):
    """Never run."""


class Open(sk.Processor[Any, T, Any, T]):
    """Never run."""


def test_processor_class_for_other_types_is_refused(given: Program) -> None:
    says = r"processor Numbers at " + HERE + r": it takes keys of type int, but str comes"
    with pytest.raises(TopologyError, match=says):
        given.lines.process(Numbers)  # type: ignore[arg-type]
    with pytest.raises(TopologyError, match=r"Doubled .* it takes values of type int, but str"):
        given.lines.process(Doubled)  # type: ignore[arg-type]
    with pytest.raises(TopologyError, match=r"Numbers .* it takes keys of type int"):
        given.lines.process(functools.partial(Numbers))  # type: ignore[arg-type]


@pytest.mark.parametrize("made", [Lengths, Derived])
def test_result_of_a_processor_class_has_its_types(given: Program, made: Any) -> None:
    with pytest.raises(TopologyError, match=r"values of type str, but int comes"):
        given.lines.process(made).to(given.app.topic("out", key=str, value=str))
    given.lines.process(made).to("lengths")
    _ = given.app.topology


def test_what_a_processor_class_leaves_open_is_not_asked(given: Program) -> None:
    given.lines.process(Open).to("out", key=str, value=int)
    given.lines.process(Lengths, value=str).to(given.app.topic("said", key=str, value=str))


@dataclass
class Custom:
    """A serde that has no hash, and says nothing of its type."""

    def serialize(self, topic: str, value: int, headers: Any, /) -> bytes:
        return b""

    def deserialize(self, topic: str, data: bytes, headers: Any, /) -> int:
        return 0


def test_store_of_other_types_is_refused(given: Program) -> None:
    def remember(line: str, seen: sk.KeyValue[str, int]) -> str:
        return line

    says = HERE + r": store seen has values of type str, but parameter seen asks for int"
    with pytest.raises(TopologyError, match=says):
        given.lines.process(remember, stores={"seen": sk.store("seen", key=str, value=str)})
    with pytest.raises(TopologyError, match=r"store seen has keys of type Order, but .* for str"):
        given.lines.process(remember, stores={"seen": sk.store("seen", key=Order, value=int)})
    given.lines.process(remember, stores={"seen": sk.store("seen", key=str, value=int)})
    custom = Custom()
    given.lines.process(
        remember, name="other", stores={"seen": sk.store("other", key=str, value=custom)}
    )


def test_view_of_other_types_is_refused(given: Program) -> None:
    counts = given.grouped.count()

    def look(line: str, rows: sk.View[str, str] = counts.view()) -> str:  # type: ignore[assignment]  # noqa: B008
        return line

    says = HERE + r": the view has values of type int, but parameter rows asks for str"
    with pytest.raises(TopologyError, match=says):
        given.lines.process(look)

    def find(line: str, rows: sk.View[int, str] = given.everyone.view()) -> str:  # type: ignore[assignment]  # noqa: B008
        return line

    with pytest.raises(TopologyError, match=r"the view has keys of type str, but .* asks for int"):
        given.lines.process(find)

    def right(line: str, rows: sk.View[str, object] = counts.view()) -> str:  # noqa: B008
        return line

    given.lines.process(right)


def test_operator_that_says_another_type_than_comes_is_refused(given: Program) -> None:
    says = HERE + r": the operator says str, but int comes"
    for declare in (
        lambda: given.grouped.count().to_stream().to("counts", value=str),
        lambda: given.grouped.count().to_stream().group_by_key(value=str),
        lambda: given.grouped.count().to_stream().repartition(value=str),
        lambda: given.grouped.count().to_stream().to_table(value=str),
    ):
        with pytest.raises(TopologyError, match=says):
            declare()


def test_operator_may_narrow_what_a_filter_lets_through() -> None:
    app = sk.App("typed")
    app.stream("orders", key=str, value=Order).to("big", value=BigOrder)
    app.stream("mixed", key=str, value=int | str).to("texts", value=str)
    app.stream("numbers", key=str, value=int).to("reals", value=float)
