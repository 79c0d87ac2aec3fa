"""What is wrong in a program is said where it is declared, in words."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

import streamkit as sk
from streamkit.common.errors import ConfigError, TopologyError


class Order:
    """A class without a serde."""


def numbers() -> tuple[sk.App, sk.Stream[str, int], sk.Topic[str, int]]:
    app = sk.App("wrong")
    return app, app.stream("in", key=str, value=int), app.topic("out", key=str, value=int)


def test_result_of_a_class_without_a_serde_does_not_fit_a_topic_of_numbers() -> None:
    _, stream, out = numbers()

    def order(number: int) -> Order:
        return Order()

    with pytest.raises(TopologyError, match=r"topic out has values of type int, but Order comes"):
        stream.map_values(order).to(out)
    with pytest.raises(TopologyError, match=r"but Order comes"):
        stream.process(order).to(out)


def test_function_that_takes_another_class_is_refused() -> None:
    _, stream, _ = numbers()

    def take(order: Order) -> None:
        """Never called."""

    with pytest.raises(TopologyError, match=r"it takes Order, but int comes"):
        stream.process(take)


@pytest.mark.parametrize(
    "operator",
    ["filter", "filter_not", "map", "map_values", "flat_map", "select_key", "peek", "foreach",
     "group_by", "process", "flat_map_values"],
)  # fmt: skip
def test_what_is_no_function_is_refused(operator: str) -> None:
    _, stream, _ = numbers()
    with pytest.raises(TopologyError, match=r"'x' is no function"):
        getattr(stream, operator)("x")


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda app: app.stream(5), r"5 is no topic: give app.topic"),
        (lambda app: app.stream("in", timestamp=5), r"timestamp=5 is no function"),
        (lambda app: app.resource(lambda: 5), r"write a generator function"),
        (lambda app: app.add_state_store("seen"), r"give streamkit.store"),
    ],
)
def test_wrong_arguments_of_the_app_are_refused(declare: Any, message: str) -> None:
    with pytest.raises(TopologyError, match=message):
        declare(sk.App("wrong"))


def test_application_id_and_configuration_of_another_type() -> None:
    with pytest.raises(TopologyError, match=r"App\(5\): the application id is a text"):
        sk.App(5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"config=\['a'\]: give a mapping"):
        sk.App("wrong", config=["a"])  # type: ignore[arg-type]


def test_threads_are_processes_here() -> None:
    with pytest.raises(ConfigError, match=r"'num.stream.threads': .*--processes N"):
        sk.App("wrong", config={"num.stream.threads": 4})


def test_store_form_that_is_unknown() -> None:
    with pytest.raises(TopologyError, match=r"form='list': use one of key_value"):
        sk.store("seen", key=str, value=int, form="list")  # type: ignore[arg-type]
    with pytest.raises(TopologyError, match=r"for how long it keeps rows"):
        sk.store("seen", key=str, value=int, form="window")


def test_async_result_must_be_awaited() -> None:
    _, stream, _ = numbers()

    def later(number: int) -> Awaitable[int]:
        raise AssertionError("never called")

    with pytest.raises(TopologyError, match=r"must be awaited: make it async def"):
        stream.process(later)
