"""What an assignor is told, and what it gives back. Racks are not part of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from streamkit.broker.coordinators.group.consumer.model import NO_PARTITIONS, Partitions


@dataclass(frozen=True, slots=True)
class AssignmentMember:
    """One member: the topics it subscribes to, all of which exist, and what it had so far."""

    member_id: str
    instance_id: str | None
    topics: frozenset[UUID]
    assigned: Partitions = NO_PARTITIONS


@dataclass(frozen=True, slots=True)
class AssignmentSpec:
    """All members, by member id, and the partition count of every topic of theirs."""

    members: Sequence[AssignmentMember]
    partitions: Mapping[UUID, int]
    is_homogeneous: bool
    """All subscribe to the same."""


Assignment = dict[str, Partitions]
"""Partitions by member id."""
Assignor = Callable[[AssignmentSpec], Assignment]
