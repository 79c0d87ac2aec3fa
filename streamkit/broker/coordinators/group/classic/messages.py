"""Requests to classic groups and their answers, as plain values by the messages' field names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from streamkit.protocol.errors import ErrorCode

NO_GENERATION = -1
NEW_MEMBER_JOIN_TIMEOUT_MS = 5 * 60 * 1000
"""How long the first join of a member waits: it knows no id by which it could send heartbeats."""

Protocols = tuple[tuple[str, bytes], ...]
"""Names and metadata, the preferred one first."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What the node knows and decides; time and chance are asked for when the operation runs."""

    now_ms: Callable[[], int]
    make_id: Callable[[], str]
    initial_delay_ms: int
    size_max: int


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """JoinGroup, with who sent it."""

    group_id: str
    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocol_type: str
    protocols: Protocols
    requires_member_id: bool
    """A new dynamic member is first told its id (v4, KIP-394)."""
    may_skip_assignment: bool
    """The leader understands `skip_assignment` (v9, KIP-814)."""
    reason: str = "not provided"


class JoinedMember(NamedTuple):
    """A member as the leader sees it."""

    member_id: str
    group_instance_id: str | None
    metadata: bytes


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """The response to JoinGroup."""

    error_code: ErrorCode = ErrorCode.none
    member_id: str = ""
    generation_id: int = NO_GENERATION
    protocol_type: str | None = None
    protocol_name: str | None = None
    leader: str = ""
    skip_assignment: bool = False
    members: Sequence[JoinedMember] = ()


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """SyncGroup; the protocol's type and name are None before version 5."""

    group_id: str
    member_id: str
    instance_id: str | None
    generation: int
    protocol_type: str | None
    protocol_name: str | None
    assignments: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class SyncAnswer:
    """The response to SyncGroup."""

    error_code: ErrorCode = ErrorCode.none
    protocol_type: str | None = None
    protocol_name: str | None = None
    assignment: bytes = b""


@dataclass(frozen=True, slots=True)
class HeartbeatRequest:
    """Heartbeat of a classic member."""

    group_id: str
    member_id: str
    instance_id: str | None
    generation: int


class Leaver(NamedTuple):
    """Who leaves; with an instance id alone an administrator removes a static member."""

    member_id: str
    instance_id: str | None = None
    reason: str = "not provided"


class LeaverAnswer(NamedTuple):
    """What came of one who leaves."""

    member_id: str
    group_instance_id: str | None
    error_code: ErrorCode = ErrorCode.none
