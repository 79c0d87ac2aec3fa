"""The Processor API: classes of processors, made anew for each task.

A processor may keep what it likes in itself: one task calls it from one thread. What must survive
the task belongs into a store.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from streamkit.common.errors import FatalError, TopologyError
from streamkit.common.model import Record
from streamkit.state.builders import StoreBuilder
from streamkit.topology.dsl.annotations import is_async
from streamkit.topology.dsl.context import Context
from streamkit.topology.dsl.scope import Scope
from streamkit.topology.dsl.sides import UNKNOWN, Side
from streamkit.topology.graph.physical import PhysicalBuilder
from streamkit.topology.operators.functions import FunctionNode
from streamkit.topology.operators.node import ProcessorContext

KIn = TypeVar("KIn")
VIn = TypeVar("VIn")
KOut = TypeVar("KOut")
VOut = TypeVar("VOut")

Stores = Mapping[str, str | StoreBuilder] | Sequence[StoreBuilder | str] | None


class Processor(Generic[KIn, VIn, KOut, VOut]):
    """Takes records of one kind and forwards records of another.

    class Count(sk.Processor[str, int, str, int]):
        def init(self, context):
            super().init(context)
            self.seen = 0
            context.schedule("1m", self.report)

        def process(self, record):
            self.seen += 1

        def report(self, time):
            self.context.forward(sk.Record("seen", self.seen, time))
    """

    context: Context

    def init(self, context: Context) -> None:
        """Called once before the first record."""
        self.context = context

    def process(self, record: Record[KIn, VIn]) -> None:
        """Take one record."""
        raise NotImplementedError(f"{type(self).__name__} has no process(record)")

    def close(self) -> None:
        """Called once at the end; also when the task moves on to another worker."""


class FixedKeyProcessor(Generic[KIn, VIn, VOut]):
    """Like `Processor`, but every record goes on under its own key: nothing is re-partitioned."""

    context: Context

    def init(self, context: Context) -> None:
        """Called once before the first record."""
        self.context = context

    def process(self, record: Record[KIn, VIn]) -> None:
        """Take one record."""
        raise NotImplementedError(f"{type(self).__name__} has no process(record)")

    def close(self) -> None:
        """Called once at the end; also when the task moves on to another worker."""


def is_supplier(given: object) -> bool:
    """Whether it makes processors: a class of such, or a partial of one."""
    if isinstance(given, functools.partial):
        given = given.func
    return isinstance(given, type) and callable(getattr(given, "process", None))


@dataclass(frozen=True, slots=True)
class Supplier:
    """A class of processors with its stores; the counterpart of a function's contract."""

    make_processor: Callable[[], Any]
    stores: tuple[StoreBuilder | str, ...]
    key: Side = UNKNOWN
    value: Side = UNKNOWN

    @property
    def takes(self) -> tuple[object, object]:
        """The types of the keys and values it takes, where its class says them."""
        said = _types_of(self.made)
        return (said[0], said[1]) if said else (None, None)

    @property
    def gives(self) -> tuple[object, object]:
        """The types of the keys and values it gives, where its class says them."""
        said = _types_of(self.made)
        return (None if len(said) < 4 else said[2], said[-1]) if said else (None, None)

    @property
    def made(self) -> object:
        """What is made for each task: a class."""
        given = self.make_processor
        return given.func if isinstance(given, functools.partial) else given

    @property
    def may_change_key(self) -> bool:
        """Whether records go on under other keys."""
        return not self.is_fixed_key

    @property
    def is_fixed_key(self) -> bool:
        """Whether its processors cannot change keys."""
        return isinstance(self.made, type) and issubclass(self.made, FixedKeyProcessor)

    def make(self, name: str) -> FunctionNode:
        """The node that calls the processor."""
        return FunctionNode(name, self.bind, Record, True, 0, False)

    def bind(
        self, node: FunctionNode, context: ProcessorContext
    ) -> tuple[Callable[..., Any], tuple[Any, ...], Callable[[], object]]:
        """A new processor, once it is initialised."""
        processor = self.make_processor()
        own = Context(node, context, fixes_key=self.is_fixed_key)
        if isinstance(processor, Processor | FixedKeyProcessor):
            processor.context = own  # its own init() need not call this one's
        context.current = node
        try:
            processor.init(own)
        except Exception as error:  # the user's code: the task cannot start without it
            raise FatalError(
                f"processor {node.name} failed in init(): {type(error).__name__}: {error}"
            ) from error
        if self.is_fixed_key:
            return own.with_key_fixed(processor.process), (), processor.close
        return processor.process, (), processor.close

    def connect(self, scope: Scope, builder: PhysicalBuilder, node: str) -> None:
        """Give the node its stores."""
        for store in self.stores:
            if not isinstance(store, str):
                builder.add_store(store, node)
            elif store in scope.stores:
                builder.add_store(scope.stores[store], node)
            else:
                builder.connect_store(store, node)


def _types_of(made: object) -> tuple[object, ...]:
    """What a class puts in the brackets behind `Processor`; empty when it puts nothing there."""
    for kind in made.__mro__ if isinstance(made, type) else ():
        for base in kind.__dict__.get("__orig_bases__", ()):
            if typing.get_origin(base) in {Processor, FixedKeyProcessor}:
                return typing.get_args(base)
    return ()


def supplier_of(given: Callable[[], Any], stores: Stores, name: str) -> Supplier:
    """Check a class of processors. Raises TopologyError."""
    if isinstance(stores, Mapping):
        raise TopologyError(
            f"processor {name}: the stores of a processor class are a list, as in stores=['seen']"
        )
    for store in stores or ():
        if not isinstance(store, str | StoreBuilder):
            raise TopologyError(
                f"processor {name}: {store!r} is no store: give streamkit.store(...) or a name"
            )
    processes = given.func if isinstance(given, functools.partial) else given
    if is_async(getattr(processes, "process", None)):
        raise TopologyError(
            f"processor {name}: its process() is async, which only functions may be: write an "
            "async def, as for @app.processor"
        )
    if given() is given():
        raise TopologyError(
            f"processor {name}: each call must make a new processor, since each task has its own"
        )
    return Supplier(given, tuple(stores or ()))
