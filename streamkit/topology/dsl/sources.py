"""Source nodes of the DSL: topics read as streams and as tables."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamkit.common.errors import ConfigError, TopologyError
from streamkit.common.model import Record
from streamkit.serdes.serde import Serde
from streamkit.topology.dsl.annotations import call_site
from streamkit.topology.dsl.scope import Place, Scope
from streamkit.topology.dsl.sides import Side, refuse_mismatch, said
from streamkit.topology.dsl.topic import Topic
from streamkit.topology.graph.physical import PhysicalBuilder
from streamkit.topology.offset_resets import reset_or_raise
from streamkit.topology.operators.node import SourceNode
from streamkit.topology.plan import NodeKind, NodeSpec

WALL_CLOCK = "wall"
"""Stands for the extractor that takes the task's clock."""

Extractor = Callable[[Any, int], int] | str
TimestampChoice = (
    str | Callable[[Record[Any, Any]], int] | Callable[[Record[Any, Any], int], int] | None
)


@dataclass(frozen=True, slots=True)
class Consumed:
    """How a topic is read."""

    key: Side
    value: Side
    extractor: Extractor | None
    says_time: bool
    offset_reset: str | None
    line: str
    timestamp: TimestampChoice = None


def consumed(
    topics: Sequence[Topic[Any, Any] | str],
    key: object,
    value: object,
    timestamp: TimestampChoice,
    offset_reset: str | None,
) -> Consumed:
    """Bring together what the topics say and what the operator says."""
    key_side, value_side = said(key), said(value)
    for topic in topics:
        if isinstance(topic, Topic):
            key_side = _agreed(key_side, topic.key_side, f"keys of topic {topic.name} are")
            value_side = _agreed(value_side, topic.value_side, f"values of topic {topic.name} are")
    reset_or_raise(offset_reset)
    extractor, says_time = extractor_of(timestamp), timestamp is not None
    line = call_site()
    return Consumed(key_side, value_side, extractor, says_time, offset_reset, line, timestamp)


def differences(scope: Scope, one: Consumed, other: Consumed) -> list[str]:
    """The options by which two streams of one topic would read it in different ways."""
    pairs = {
        "key": (
            one.key.serde or scope.default_key.serde,
            other.key.serde or scope.default_key.serde,
        ),
        "value": (
            one.value.serde or scope.default_value.serde,
            other.value.serde or scope.default_value.serde,
        ),
    }
    found = [option for option, (mine, its) in pairs.items() if _are_other_serdes(mine, its)]
    if one.timestamp != other.timestamp and _time_of(scope, one) != _time_of(scope, other):
        found.append("timestamp")
    return found


def _are_other_serdes(one: Serde[Any] | None, other: Serde[Any] | None) -> bool:
    if one is None or other is None or one == other:
        return False
    # Two of a class that does not say when they are equal may well be.
    return type(one) is not type(other) or type(one).__eq__ is not object.__eq__


def _time_of(scope: Scope, how: Consumed) -> Extractor | None:
    return how.extractor if how.says_time else scope.default_extractor


def source_spec(
    scope: Scope, name: str, topics: tuple[str, ...], pattern: str | None, how: Consumed
) -> NodeSpec:
    """The source's node. Raises TopologyError when a serde is unknown."""
    place = Place("stream()", name, "topic " + ", ".join(topics or (str(pattern),)), how.line)
    key = scope.key_serde(how.key, place)
    value = scope.value_serde(how.value, place)
    extractor = _time_of(scope, how)

    def make(topic: str) -> SourceNode:
        return SourceNode(name, topic, key, value, extractor, Record)

    return NodeSpec(name, NodeKind.SOURCE, (), make, topics=topics, pattern=pattern)


def write_source(
    scope: Scope, name: str, topics: tuple[str, ...], pattern: re.Pattern[str] | None, how: Consumed
) -> Callable[[PhysicalBuilder, tuple[str, ...]], None]:
    """What writes a stream's source."""
    text = None if pattern is None else pattern.pattern

    def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        builder.add_source(source_spec(scope, name, topics, text, how), how.offset_reset)

    return write


def _agreed(have: Side, of_topic: Side, what: str) -> Side:
    if have.serde is None:
        return of_topic
    refuse_mismatch(have, of_topic, what)
    return have


def default_extractor(config: Mapping[str, object]) -> Extractor | None:
    """That of `default.timestamp.extractor`: ours or Kafka's name, or a function.

    Raises ConfigError.
    """
    choice: Any = config.get("default.timestamp.extractor")
    if isinstance(choice, str):
        choice = _EXTRACTORS.get(choice.rsplit(".", 1)[-1], choice)
    try:
        return extractor_of(choice)
    except TopologyError as error:
        raise ConfigError(f"default.timestamp.extractor: {error}") from None


_EXTRACTORS = {
    "FailOnInvalidTimestamp": "record",
    "LogAndSkipOnInvalidTimestamp": "log_and_skip",
    "UsePartitionTimeOnInvalidTimestamp": "use_partition_time",
    "WallclockTimestampExtractor": "wall",
}


def extractor_of(choice: TimestampChoice) -> Extractor | None:
    """What gives a record's time; None takes its own. Raises TopologyError."""
    if choice is None or choice == "record":
        return None
    if choice == "log_and_skip":
        return _record_time
    if choice == "wall":
        return WALL_CLOCK
    if choice == "use_partition_time":
        return _record_or_partition_time
    if isinstance(choice, str):
        raise TopologyError(
            f"timestamp={choice!r}: use record, log_and_skip, use_partition_time, wall or a "
            "function of the record that gives milliseconds"
        )
    if not callable(choice):
        raise TopologyError(f"timestamp={choice!r} is no function")
    function: Callable[..., int] = choice
    if _takes_two(function):
        return function
    return lambda record, partition_time: function(record)


def _takes_two(function: Callable[..., int]) -> bool:
    """Whether an extractor asks for the partition's time too."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return len([each for each in parameters if each.default is each.empty]) == 2


def _record_time(record: Record[Any, Any], partition_time: int) -> int:
    return record.timestamp


def _record_or_partition_time(record: Record[Any, Any], partition_time: int) -> int:
    return record.timestamp if record.timestamp >= 0 else partition_time
