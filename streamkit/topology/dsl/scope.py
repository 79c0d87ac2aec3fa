"""The program that operators are declared in: its graph, and where serdes must come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from streamkit.common.errors import TopologyError
from streamkit.serdes.serde import Serde, for_keys
from streamkit.state.builders import StoreBuilder
from streamkit.topology.dsl.sides import UNKNOWN, Side
from streamkit.topology.graph.logical import Graph


@dataclass(slots=True)
class Scope:
    """One program. The defaults are those of `default.key.serde` and `default.value.serde`."""

    graph: Graph = field(default_factory=Graph)
    default_key: Side = UNKNOWN
    default_value: Side = UNKNOWN
    function_stores: dict[str, tuple[str, StoreBuilder]] = field(default_factory=dict)
    stores: dict[str, StoreBuilder] = field(default_factory=dict)
    keeps_on_disk: bool = True
    """Where operators keep what they keep, unless they are told."""
    default_extractor: Any = None
    """What gives the times of records whose source says nothing; None takes their own."""
    keeps_headers: bool = False
    """Whether rows of tables have the headers of the record that set them."""

    def is_on_disk(self, kind: str | None) -> bool:
        """Whether a store of this kind is; None is the default."""
        return self.keeps_on_disk if kind is None else kind in {"persistent", "versioned"}

    def key_serde(self, side: Side, place: Place) -> Serde[Any]:
        """The serde of keys. Raises TopologyError naming operator, topic and fix."""
        return for_keys(_serde_or_raise(side, self.default_key, "key", place))

    def value_serde(self, side: Side, place: Place) -> Serde[Any]:
        """The serde of values. Raises TopologyError naming operator, topic and fix."""
        return _serde_or_raise(side, self.default_value, "value", place)


@dataclass(frozen=True, slots=True)
class Place:
    """What an error about a serde names: the call, its node, its topic or store, its line."""

    operator: str
    node: str
    target: str
    line: str

    def __str__(self) -> str:
        return f"{self.operator} ({self.node}) at {self.line}"


def _serde_or_raise(side: Side, default: Side, what: str, place: Place) -> Serde[Any]:
    serde = side.serde if side.serde is not None else default.serde
    if serde is None:
        raise TopologyError(
            f"{place}: no serde for the {what} of {place.target}: give {what}= there or on the "
            f"operator before it, annotate its function, or set default.{what}.serde"
        )
    return serde
