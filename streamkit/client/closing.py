"""How a member of a group leaves when it is closed (KIP-1092)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class GroupMembership(Enum):
    """What becomes of the membership."""

    DEFAULT = "default"
    """Leave, unless the member is static (it has an instance id) or its slot will come back."""
    LEAVE = "leave"
    """Leave: the others take over at once."""
    REMAIN = "remain"
    """Stay a member until the session times out, so that a quick return moves nothing."""


@dataclass(frozen=True, slots=True)
class CloseOptions:
    """Options of `close`: how long to wait, and what becomes of the membership."""

    timeout_ms: int = 30_000
    membership: GroupMembership = GroupMembership.DEFAULT

    def leaves(self, *, is_static: bool) -> bool:
        """Whether a member with or without an instance id leaves the group."""
        if self.membership is GroupMembership.DEFAULT:
            return not is_static
        return self.membership is GroupMembership.LEAVE
