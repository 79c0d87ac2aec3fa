"""DescribeGroups: a classic group as an administrator sees it."""

from __future__ import annotations

from streamkit.broker.coordinators.group.classic.model import ClassicGroup, ClassicState
from streamkit.protocol.errors import ErrorCode

DEAD = "Dead"


def describe(group: ClassicGroup) -> dict[str, object]:
    """A `DescribedGroup` by field name; metadata only once it is settled."""
    is_stable = group.state is ClassicState.STABLE
    return {
        "error_code": ErrorCode.none,
        "group_id": group.group_id,
        "group_state": group.state.value,
        "protocol_type": group.protocol_type or "",
        "protocol_data": (group.protocol or "") if is_stable else "",
        "members": [
            {
                "member_id": each.member_id,
                "group_instance_id": each.instance_id,
                "client_id": each.client_id,
                "client_host": each.client_host,
                "member_metadata": each.metadata(group.protocol) if is_stable else b"",
                "member_assignment": each.assignment,
            }
            for each in group.members.values()
        ],
    }


def described_error(group_id: str, code: ErrorCode, message: str | None) -> dict[str, object]:
    """A group that cannot be described: it is dead."""
    return {
        "error_code": code,
        "error_message": message,
        "group_id": group_id,
        "group_state": DEAD if code in (ErrorCode.none, ErrorCode.group_id_not_found) else "",
        "protocol_type": "",
        "protocol_data": "",
        "members": [],
    }
