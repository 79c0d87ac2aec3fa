"""A topic and what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from streamkit.topology.dsl.sides import UNKNOWN, Side

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Topic(Generic[K, V]):
    """A topic with keys of type K and values of type V; made by `App.topic`."""

    name: str
    key_side: Side = UNKNOWN
    value_side: Side = UNKNOWN

    def __str__(self) -> str:
        return self.name
