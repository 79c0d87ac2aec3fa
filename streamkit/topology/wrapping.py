"""`processor.wrapper.class`: what stands around every processor, those of the DSL too (KIP-1112).

A wrapper is a function `wrap(name, process, context)`, called once for each processor of each task.
It gives what is called with each record in the place of `process`, or `process` itself to leave a
processor alone. The records of a table's operators have a `Change` for their value.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, NamedTuple, TypeVar, cast

from streamkit.common.errors import ConfigError, TopologyError
from streamkit.common.model import Headers, Record
from streamkit.topology.dsl.context import Context
from streamkit.topology.operators.node import Node, ProcessorContext
from streamkit.topology.plan import NodeKind, NodeSpec, Subtopology, Topology

V = TypeVar("V")

Process = Callable[[Record[Any, Any]], object]
Wrapper = Callable[[str, Process, Context], Process]

KEY = "processor.wrapper.class"


class Change(NamedTuple, Generic[V]):
    """A change of a table's row; `old` is None unless an operator behind needs it."""

    new: V | None
    old: V | None


class WrapNode(Node):
    """Stands for the node behind it, whose name it has, and calls it through a wrapper."""

    def __init__(self, wrapped: Node, process: Process) -> None:
        super().__init__(wrapped.name)
        self._wrapped = wrapped
        self._process = process

    def process(self, key: Any, value: Any, timestamp: int, headers: Headers) -> None:
        self._process(Record(key, value, timestamp, headers))

    def process_change(
        self, key: Any, new: Any, old: Any, timestamp: int, headers: Headers
    ) -> None:
        self._process(Record(key, Change(new, old), timestamp, headers))


def wrapper_of(choice: object) -> Wrapper | None:
    """The configured wrapper: a function or class, or "package.module:name".

    Raises ConfigError.
    """
    if isinstance(choice, str):
        choice = _loaded(choice)
    if choice is None or callable(choice):
        return cast("Wrapper | None", choice)
    raise ConfigError(f"{KEY}={choice!r}: give a function wrap(name, process, context)")


def wrapped(topology: Topology, wrapper: Wrapper | None) -> Topology:
    """The plan with every processor wrapped, those of global tables included."""
    if wrapper is None:
        return topology

    def wrap(node: Node, context: ProcessorContext) -> Node:
        return wrap_node(node, context, wrapper)

    def of_part(part: Subtopology) -> Subtopology:
        return replace(part, nodes=tuple(of_node(spec) for spec in part.nodes))

    def of_node(spec: NodeSpec) -> NodeSpec:
        return replace(spec, wrap=wrap) if spec.kind is NodeKind.PROCESSOR else spec

    return replace(
        topology,
        subtopologies=tuple(of_part(part) for part in topology.subtopologies),
        globals=tuple(of_part(part) for part in topology.globals),
    )


def wrap_node(node: Node, context: ProcessorContext, wrapper: Wrapper) -> Node:
    """What stands for a node: itself where the wrapper leaves it alone."""

    def process(record: Record[Any, Any]) -> None:
        context.current = node
        value = record.value
        if isinstance(value, Change):
            node.process_change(record.key, value.new, value.old, record.timestamp, record.headers)
        else:
            node.process(record.key, value, record.timestamp, record.headers)

    around = wrapper(node.name, process, Context(node, context))
    if around is process:
        return node
    if not callable(around):
        raise TopologyError(
            f"{KEY} gave {around!r} for processor {node.name}: it gives what is called with each "
            "record, or `process` itself"
        )
    return WrapNode(node, around)


def _loaded(name: str) -> object:
    module, colon, attribute = name.partition(":")
    if not colon:
        module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{KEY}={name}: {error}: name it as package.module:function") from None
