"""What the member asks its shell to do."""

from __future__ import annotations

from dataclasses import dataclass

from streamkit.common.errors import StreamkitError
from streamkit.common.model import TaskId, TopicPartition
from streamkit.rebalance.rules import StatusCode


@dataclass(frozen=True, slots=True)
class Assign:
    """Close `revoke` (commit first), run exactly `active`, follow the others; then `reconciled`.

    `active`, `standby` and `warmup` are the whole target. `revoke` are the owned active tasks that
    are not in `active`; owned standbys and warm-ups that are not in the target close too.
    """

    revoke: frozenset[TaskId]
    active: frozenset[TaskId]
    standby: frozenset[TaskId]
    warmup: frozenset[TaskId] = frozenset()


@dataclass(frozen=True, slots=True)
class TasksLost:
    """Close every task without commit, then call `reconciled` with two empty sets."""


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """What the coordinator says of the group changed; not ready means tasks have to wait."""

    ready: bool
    statuses: tuple[tuple[StatusCode | int, str], ...]


@dataclass(frozen=True, slots=True)
class EndpointPartitions:
    """One member's endpoint for interactive queries and what it can answer for."""

    host: str
    port: int
    active: tuple[TopicPartition, ...]
    standby: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class EndpointsChanged:
    """Who can answer interactive queries; several entries may name one endpoint."""

    endpoints: tuple[EndpointPartitions, ...]


@dataclass(frozen=True, slots=True)
class FindCoordinator:
    """Look the group's coordinator up again before the next heartbeat is sent."""


@dataclass(frozen=True, slots=True)
class MemberWarning:
    """Tell the user; the member goes on trying."""

    error: StreamkitError


@dataclass(frozen=True, slots=True)
class MemberFatal:
    """The member stopped for good: close every task without commit and stop."""

    error: StreamkitError


Effect = (
    Assign
    | TasksLost
    | GroupStatus
    | EndpointsChanged
    | FindCoordinator
    | MemberWarning
    | MemberFatal
)
