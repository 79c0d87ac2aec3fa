"""The decorated function: its signature is the contract, read once.

The first parameter is the value, or by annotation the record. The others are stores and the
context, by annotation, views of tables and resources, by their default. The return annotation is
the fan-out: `R` one, `R | None` zero or one, `Iterator[R]` many, `Record[K, R]` with another key or
time, None nothing. An `async def` runs concurrently with others.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from streamkit.common.errors import TopologyError
from streamkit.common.model import Record
from streamkit.serdes.lookup import serde_for, type_of
from streamkit.state import interfaces
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.topology.dsl.annotations import hints_of
from streamkit.topology.dsl.calls import CallContext, StagedStore
from streamkit.topology.dsl.context import Context
from streamkit.topology.dsl.fitting import may_take, type_name
from streamkit.topology.dsl.resources import Resource
from streamkit.topology.dsl.scope import Scope
from streamkit.topology.dsl.sides import UNKNOWN, Side, annotated
from streamkit.topology.dsl.views import TableView
from streamkit.topology.graph.physical import PhysicalBuilder
from streamkit.topology.operators.asynchronous import CONCURRENCY, AsyncNode, Begin, Call
from streamkit.topology.operators.functions import FunctionNode
from streamkit.topology.operators.node import Node, ProcessorContext

_FORMS = {
    StoreKind.KEY_VALUE: "key_value",
    StoreKind.TIMESTAMPED_KEY_VALUE: "timestamped",
    StoreKind.WINDOW: "window",
    StoreKind.SESSION: "session",
    StoreKind.VERSIONED: "versioned",
    StoreKind.HEADERS: "headers",
}
_STORES: dict[object, StoreKind] = {
    interfaces.KeyValue: StoreKind.KEY_VALUE,
    interfaces.KeyValueStore: StoreKind.KEY_VALUE,
    interfaces.TimestampedStore: StoreKind.TIMESTAMPED_KEY_VALUE,
    interfaces.WindowStore: StoreKind.WINDOW,
    interfaces.SessionStore: StoreKind.SESSION,
    interfaces.VersionedStore: StoreKind.VERSIONED,
    interfaces.HeadersStore: StoreKind.HEADERS,
}
"""What may stand in an annotation, and what it is."""
_MANY = (
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
)
_ASYNC = (
    collections.abc.Awaitable,
    collections.abc.Coroutine,
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)


class Output(IntEnum):
    """How many records one call may give."""

    NOTHING = 0
    ONE = 1
    MANY = 2


@dataclass(frozen=True, slots=True)
class Result:
    """What a return annotation says."""

    output: Output
    makes_records: bool = False
    key: Side = UNKNOWN
    value: Side = UNKNOWN


@dataclass(frozen=True, slots=True)
class Contract:
    """What a function's signature says. `stores` by parameter, `positional` when they may be."""

    function: Callable[..., Any]
    takes_record: bool
    key: Side
    value: Side
    result: Result
    parameters: tuple[str, ...]
    stores: Mapping[str, StoreBuilder]
    positional: bool
    handles: Mapping[str, TableView | Resource] = field(default_factory=dict)
    is_async: bool = False
    concurrency: int = CONCURRENCY

    @property
    def may_change_key(self) -> bool:
        """Whether records go on under keys that streamkit cannot know to be the same."""
        known = len(self.stores) + len(self.handles)
        return self.result.makes_records or known < len(self.parameters)

    def connect(self, scope: Scope, builder: PhysicalBuilder, node: str) -> None:
        """Give the node its stores and the tables that it views."""
        for store in self.stores.values():
            builder.add_store(scope.function_stores[store.name][1], node)
        for handle in self.handles.values():
            if isinstance(handle, TableView):
                handle.connect(builder, node, builder.parents_of(node))

    def make(self, name: str) -> Node:
        """The node that calls the function."""
        if self.is_async:
            return AsyncNode(
                name,
                self.bind_async,
                takes_record=self.takes_record,
                makes_records=self.result.makes_records,
                output=int(self.result.output),
                is_generator=inspect.isasyncgenfunction(self.function),
                concurrency=self.concurrency,
            )
        return FunctionNode(
            name,
            self.bind,
            Record,
            self.takes_record,
            int(self.result.output),
            self.result.makes_records,
        )

    def bind(
        self, node: Node, context: ProcessorContext
    ) -> tuple[Callable[..., Any], tuple[Any, ...], Callable[[], object] | None]:
        """The function, its arguments after the first, and what to call at the end."""
        found = {
            parameter: self._argument(parameter, node, context) for parameter in self.parameters
        }
        close = self._release_of(context)
        if self.positional:
            return self.function, tuple(found.values()), close
        function = self.function
        return lambda subject: function(subject, **found), (), close

    def bind_async(
        self, node: Node, context: ProcessorContext
    ) -> tuple[Begin, Callable[[], object] | None]:
        """What begins a call, and what to call at the end."""
        fixed = {
            parameter: None
            if parameter in self.stores
            else self._argument(parameter, node, context)
            for parameter in self.parameters
        }
        function = self.function

        def begin(subject: Any, call: Call) -> Any:
            found = dict(fixed)
            for parameter, store in self.stores.items():
                found[parameter] = StagedStore(context.store(store.name), call)
            for parameter, given in fixed.items():
                if isinstance(given, Context):
                    found[parameter] = CallContext(node, context, call)
            return function(subject, **found)

        return begin, self._release_of(context)

    def _release_of(self, context: ProcessorContext) -> Callable[[], object] | None:
        """What lets go of the resources; None when there are none."""
        resources = [each for each in self.handles.values() if isinstance(each, Resource)]

        def release() -> None:
            for resource in resources:
                context.release(resource)

        return release if resources else None

    def _argument(self, parameter: str, node: Node, context: ProcessorContext) -> Any:
        if parameter in self.stores:
            return context.store(self.stores[parameter].name)
        handle = self.handles.get(parameter)
        if isinstance(handle, TableView):
            return handle.open(context)
        if isinstance(handle, Resource):
            return context.acquire(handle)
        return Context(node, context)


def contract_of(
    function: Callable[..., Any],
    name: str,
    store_names: Mapping[str, str | StoreBuilder],
    concurrency: int = CONCURRENCY,
) -> Contract:
    """Read a function's signature. Raises TopologyError, naming the function and the fix."""
    if not callable(function):
        raise TopologyError(f"processor {name}: {function!r} is no function: give one, or a class")
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin without a signature takes the value
        parameters = []
    else:
        if not parameters:
            raise TopologyError(f"processor {name} takes nothing: its first parameter is the value")
    hints = hints_of(function)
    unresolved = set(getattr(function, "__annotations__", {})) - set(hints)
    if unresolved:
        raise TopologyError(
            f"processor {name}: the annotations of {sorted(unresolved)} name types that cannot "
            "be found: import them at the top of the module, not under TYPE_CHECKING"
        )
    takes_record, key, value = _first_parameter(parameters, hints)
    asked, stores, handles = _other_parameters(parameters[1:], hints, name, store_names)
    if is_async:
        _refuse_unstaged(stores, name)
    if is_async and concurrency < 1:
        raise TopologyError(f"processor {name}: concurrency={concurrency}: it must be at least 1")
    return Contract(
        function,
        takes_record,
        key,
        value,
        _result(function, hints.get("return", inspect.Signature.empty), name, is_async=is_async),
        tuple(asked),
        stores,
        _is_positional(parameters, asked),
        handles,
        is_async,
        concurrency,
    )


def _refuse_unstaged(stores: Mapping[str, StoreBuilder], name: str) -> None:
    """What an async function writes waits for its turn, which only plain rows by key can do."""
    for store in stores.values():
        if store.kind is not StoreKind.KEY_VALUE or store.interface is not None:
            raise TopologyError(
                f"processor {name}: store {store.name}: an async function has stores of the form "
                "key_value only: put what needs another into a function of its own behind it"
            )


def _result(
    function: Callable[..., Any], annotation: object, name: str, *, is_async: bool
) -> Result:
    """What it gives, by its annotation; a generator gives many even without one."""
    if not inspect.isgeneratorfunction(function) and not inspect.isasyncgenfunction(function):
        return result_of(annotation, name, is_async=is_async)
    if annotation is inspect.Signature.empty:
        return Result(Output.MANY)
    said = result_of(annotation, name, is_async=is_async)
    if said.output is not Output.MANY:
        shown = "AsyncIterator" if is_async else "Iterator"
        raise TopologyError(
            f"processor {name}: it yields, but is annotated to return {type_name(annotation)}: "
            f"annotate it -> {shown}[...]"
        )
    return said


def result_of(annotation: object, name: str, *, is_async: bool = False) -> Result:
    """What a return annotation says; none at all means one value of unknown type."""
    if annotation is inspect.Signature.empty:
        return Result(Output.ONE)
    if annotation is None or annotation is type(None):
        return Result(Output.NOTHING)
    origin = typing.get_origin(annotation) or annotation
    if origin in _ASYNC and not is_async:
        raise TopologyError(f"processor {name}: what it returns must be awaited: make it async def")
    if origin in _MANY or origin in _ASYNC:
        arguments = typing.get_args(annotation)
        one = result_of(arguments[0], name) if arguments else Result(Output.ONE)
        return Result(Output.MANY, one.makes_records, one.key, one.value)
    held = _without_none(annotation)
    if typing.get_origin(held) is Record:
        key, value = typing.get_args(held)
        return Result(Output.ONE, True, annotated(key), annotated(value))
    if held is Record:
        return Result(Output.ONE, True)
    return Result(Output.ONE, False, UNKNOWN, annotated(held))


def _without_none(annotation: object) -> object:
    if typing.get_origin(annotation) not in {typing.Union, types.UnionType}:
        return annotation
    held = [part for part in typing.get_args(annotation) if part is not type(None)]
    return held[0] if len(held) == 1 else annotation


def _first_parameter(
    parameters: list[inspect.Parameter], hints: Mapping[str, object]
) -> tuple[bool, Side, Side]:
    annotation = hints.get(parameters[0].name) if parameters else None
    if annotation is Record:
        return True, UNKNOWN, UNKNOWN
    if typing.get_origin(annotation) is Record:
        key, value = typing.get_args(annotation)
        return True, annotated(key), annotated(value)
    return False, UNKNOWN, annotated(annotation)


def _other_parameters(
    parameters: list[inspect.Parameter],
    hints: Mapping[str, object],
    name: str,
    store_names: Mapping[str, str | StoreBuilder],
) -> tuple[list[str], dict[str, StoreBuilder], dict[str, TableView | Resource]]:
    asked: list[str] = []
    stores: dict[str, StoreBuilder] = {}
    handles: dict[str, TableView | Resource] = {}
    for parameter in parameters:
        annotation = hints.get(parameter.name)
        choice = store_names.get(parameter.name, parameter.name)
        if typing.get_origin(annotation) in _STORES or isinstance(choice, StoreBuilder):
            stores[parameter.name] = _store(choice, annotation, name, parameter.name)
            asked.append(parameter.name)
        elif isinstance(parameter.default, TableView | Resource):
            if isinstance(parameter.default, TableView):
                have = tuple(side.declared for side in parameter.default.sides)
                _refuse_other_types(have, annotation, f"{name}: the view", parameter.name)
            handles[parameter.name] = parameter.default
            asked.append(parameter.name)
        elif annotation is Context:
            asked.append(parameter.name)
        elif parameter.default is parameter.empty and parameter.kind not in {
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        }:
            raise TopologyError(
                f"processor {name}: parameter {parameter.name} is "
                f"{'not annotated' if annotation is None else type_name(annotation)}: after the "
                "value, a processor can ask for streamkit.KeyValue[K, V], "
                "streamkit.KeyValueStore[K, V] and streamkit.Context, by default for a view "
                "of a table or a resource, and for any store that stores= gives it"
            )
    unknown = sorted(set(store_names) - set(stores))
    if unknown:
        raise TopologyError(
            f"processor {name}: stores= names {unknown}, which are no store parameters"
        )
    return asked, stores, handles


def _refuse_other_types(
    have: tuple[object, ...], annotation: object, what: str, parameter: str
) -> None:
    """Raise TopologyError when keys or values are of other types than a parameter asks for."""
    for one, asked, part in zip(
        have, typing.get_args(annotation), ("keys", "values"), strict=False
    ):
        if not may_take(one, asked):
            raise TopologyError(
                f"processor {what} has {part} of type {type_name(one)}, but parameter {parameter} "
                f"asks for {type_name(asked)}: change one of the types"
            )


def _store(
    choice: str | StoreBuilder, annotation: object, name: str, parameter: str
) -> StoreBuilder:
    """The store of a parameter: the one given, else one of the annotation's types."""
    kind = _STORES.get(typing.get_origin(annotation))
    if isinstance(choice, StoreBuilder):
        if kind not in {None, choice.kind} and choice.interface is None:
            raise TopologyError(
                f"processor {name}: store {choice.name} is of the form "
                f"{_FORMS.get(choice.kind, choice.kind.value)}, not {type_name(annotation)}"
            )
        if choice.interface is None:
            have = type_of(choice.key_serde), type_of(choice.value_serde)
            _refuse_other_types(have, annotation, f"{name}: store {choice.name}", parameter)
        return choice
    assert kind is not None, "a name alone is asked for by annotation"
    if kind not in {StoreKind.KEY_VALUE, StoreKind.TIMESTAMPED_KEY_VALUE}:
        raise TopologyError(
            f"processor {name}: store {choice} needs more than types: say "
            f"stores={{{choice!r}: streamkit.store({choice!r}, form={_FORMS[kind]!r}, ...)}}"
        )
    key, value = typing.get_args(annotation)
    try:
        return StoreBuilder(choice, kind, serde_for(key), serde_for(value))
    except TopologyError as error:
        raise TopologyError(f"processor {name}: store {choice}: {error}") from None


def _is_positional(parameters: list[inspect.Parameter], asked: list[str]) -> bool:
    leading = [
        parameter.name
        for parameter in parameters[1 : len(asked) + 1]
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
    ]
    return leading == asked
