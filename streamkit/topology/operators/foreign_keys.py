"""Foreign-key joins of tables, in the five steps of Kafka Streams.

A left row subscribes to the right row of its foreign key, in the partition where that is; the
subscription, and later each change of the right row, are answered with the right row, in the
partition where the left row is; there the two are joined, unless the left row has changed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from streamkit.common.model import Headers
from streamkit.common.murmur3 import hash128
from streamkit.serdes.serde import Serde
from streamkit.serdes.subscriptions import Instruction, Response, Subscription
from streamkit.topology.operators.joins import Open
from streamkit.topology.operators.node import Node, ProcessorContext

_SIZE = struct.Struct(">i")
Extractor = Callable[[Any, Any], Any]
ToBytes = Callable[[Any, Headers], bytes]


class SubscribeNode(Node):
    """Sends subscriptions for the changes of the left table."""

    def __init__(
        self,
        name: str,
        extractor: Extractor,
        keeps_left: bool,
        to_bytes: tuple[ToBytes, ToBytes],
        has_versions: bool = False,
    ) -> None:
        super().__init__(name)
        self._has_versions = has_versions
        self._extractor = extractor
        self._keeps_left = keeps_left
        self._key_bytes, self._value_bytes = to_bytes

    def process_change(
        self, key: Any, new: Any, old: Any, timestamp: int, headers: Headers
    ) -> None:
        if self._has_versions and not self.context.is_latest:
            self.context.drop(f"{self.name}: a row that is not the latest")
            return
        if old is None and new is None:
            return
        for foreign_key, instruction in self._steps(key, new, old, headers):
            row_hash = None if new is None else hash128(self._value_bytes(new, headers))
            partition = self.context.task_id.partition
            message = Subscription(row_hash, instruction, key, partition)
            self.forward(foreign_key, message, timestamp, headers)

    def _steps(
        self, key: Any, new: Any, old: Any, headers: Headers
    ) -> list[tuple[Any, Instruction]]:
        before = None if old is None else self._extractor(key, old)
        after = None if new is None else self._extractor(key, new)
        if self._keeps_left:
            steps = [(after, Instruction.PROPAGATE_NULL_IF_NO_FK_VAL_AVAILABLE)]
            if before is not None and self._differ(before, after, headers):
                steps.insert(0, (before, Instruction.DELETE_KEY_NO_PROPAGATE))
            return steps
        if after is None:
            if new is not None:
                self.context.drop(f"{self.name}: null foreign key")
            return [] if before is None else [(before, Instruction.DELETE_KEY_AND_PROPAGATE)]
        if before is None or not self._differ(before, after, headers):
            return [(after, Instruction.PROPAGATE_ONLY_IF_FK_VAL_AVAILABLE)]
        return [
            (before, Instruction.DELETE_KEY_NO_PROPAGATE),
            (after, Instruction.PROPAGATE_NULL_IF_NO_FK_VAL_AVAILABLE),
        ]

    def _differ(self, one: Any, two: Any, headers: Headers) -> bool:
        return two is None or self._key_bytes(one, headers) != self._key_bytes(two, headers)


class ReceiveNode(Node):
    """Keeps subscriptions by foreign key and primary key, and hands them on."""

    def __init__(self, name: str, store_name: str, key_bytes: tuple[ToBytes, ToBytes]) -> None:
        super().__init__(name)
        self._store_name = store_name
        self._foreign_bytes, self._primary_bytes = key_bytes
        self._put: Any = None

    def init(self, context: ProcessorContext) -> None:
        """Look up the store."""
        super().init(context)
        self._put = context.store(self._store_name).put

    def process(self, key: Any, value: Subscription, timestamp: int, headers: Headers) -> None:
        instruction = value.instruction
        if key is not None:
            combined = prefix_of(self._foreign_bytes(key, headers))
            combined += self._primary_bytes(value.primary_key, headers)
            is_deleted = instruction <= Instruction.DELETE_KEY_AND_PROPAGATE
            self._put(combined, None if is_deleted else value, timestamp, headers)
        elif instruction is not Instruction.PROPAGATE_NULL_IF_NO_FK_VAL_AVAILABLE:
            self.context.drop(f"{self.name}: null foreign key")
            return
        self.forward(key, value, timestamp, headers)


class AnswerSubscriptionNode(Node):
    """Answers a subscription with the right row as it is now."""

    def __init__(self, name: str, open_rows: Open) -> None:
        super().__init__(name)
        self._open = open_rows
        self._find: Callable[[Any], Any] = lambda key: None

    def init(self, context: ProcessorContext) -> None:
        """Open the right table's rows."""
        super().init(context)
        self._find = self._open(context)

    def process(self, key: Any, value: Subscription, timestamp: int, headers: Headers) -> None:
        instruction = value.instruction
        row = None if key is None else self._find(key)
        if instruction is Instruction.DELETE_KEY_NO_PROPAGATE or (
            row is None and instruction is Instruction.PROPAGATE_ONLY_IF_FK_VAL_AVAILABLE
        ):
            return
        found = None
        if row is not None:
            found, timestamp = row[0], max(timestamp, row[1])
        if instruction is Instruction.DELETE_KEY_AND_PROPAGATE:
            found = None
        response = Response(value.hash, found, value.partition)
        self.forward(value.primary_key, response, timestamp, headers)


class AnswerChangeNode(Node):
    """Tells all who subscribed to a right row that it has changed."""

    def __init__(
        self, name: str, store_name: str, foreign_bytes: ToBytes, has_versions: bool = False
    ) -> None:
        super().__init__(name)
        self._has_versions = has_versions
        self._store_name = store_name
        self._foreign_bytes = foreign_bytes
        self._prefix: Any = None

    def init(self, context: ProcessorContext) -> None:
        """Look up the store."""
        super().init(context)
        self._prefix = context.store(self._store_name).prefix

    def process_change(
        self, key: Any, new: Any, old: Any, timestamp: int, headers: Headers
    ) -> None:
        if key is None:
            self.context.drop(f"{self.name}: null key")
            return
        if self._has_versions and not self.context.is_latest:
            self.context.drop(f"{self.name}: a row that is not the latest")
            return
        for _, row in self._prefix(prefix_of(self._foreign_bytes(key, headers))):
            subscription: Subscription = row[0]
            response = Response(subscription.hash, new, subscription.partition)
            self.forward(subscription.primary_key, response, timestamp, headers)


class ResolveNode(Node):
    """Joins a response with the left row, unless that is not the row that asked."""

    def __init__(
        self,
        name: str,
        open_rows: Open,
        joiner: Callable[[Any, Any], Any],
        keeps_left: bool,
        value_bytes: ToBytes,
    ) -> None:
        super().__init__(name)
        self._open = open_rows
        self._joiner = joiner
        self._keeps_left = keeps_left
        self._value_bytes = value_bytes
        self._find: Callable[[Any], Any] = lambda key: None

    def init(self, context: ProcessorContext) -> None:
        """Open the left table's rows."""
        super().init(context)
        self._find = self._open(context)

    def process(self, key: Any, value: Response, timestamp: int, headers: Headers) -> None:
        row = self._find(key)
        row_hash = None if row is None else hash128(self._value_bytes(row[0], headers))
        if row_hash != value.hash:
            self.context.drop(f"{self.name}: a response to an older row")
            return
        result = None
        if value.value is not None or (self._keeps_left and row is not None):
            result = self._joiner(None if row is None else row[0], value.value)
        self.forward(key, result, timestamp, headers)


def prefix_of(foreign_key: bytes) -> bytes:
    """What the combined keys of a foreign key begin with; the primary key follows."""
    return _SIZE.pack(len(foreign_key)) + foreign_key


def to_bytes(serde: Serde[Any], topic: str) -> ToBytes:
    """A serde as a function, under the name of a topic that does not exist."""

    def serialize(value: Any, headers: Headers) -> bytes:
        return serde.serialize(topic, value, headers) or b""

    return serialize
