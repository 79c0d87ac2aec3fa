"""A guard in front of an operator: its failure ends its own call, and what is above goes on.

It stands only where Kafka Streams' own handlers are asked for (its ProcessorNode.process).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamkit.common.model import Headers
from streamkit.topology.operators.node import Node

Handle = Callable[[Exception, bool, int, Headers], bool]
"""Handles a failure, given whether the node is a sink, the time and the headers; else False."""


class GuardNode(Node):
    """Stands for the node behind it, whose name it has."""

    def __init__(self, guarded: Node, handle: Handle, is_sink: bool) -> None:
        super().__init__(guarded.name)
        self._guarded = guarded
        self._handle = handle
        self._is_sink = is_sink

    def process(self, key: Any, value: Any, timestamp: int, headers: Headers) -> None:
        self.context.current = self._guarded
        try:
            self._guarded.process(key, value, timestamp, headers)
        except Exception as error:  # whatever user code raises is for the handler
            if not self._handle(error, self._is_sink, timestamp, headers):
                raise

    def process_change(
        self, key: Any, new: Any, old: Any, timestamp: int, headers: Headers
    ) -> None:
        self.context.current = self._guarded
        try:
            self._guarded.process_change(key, new, old, timestamp, headers)
        except Exception as error:  # whatever user code raises is for the handler
            if not self._handle(error, self._is_sink, timestamp, headers):
                raise
