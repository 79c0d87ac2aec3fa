"""The keys of the timers of consumer groups."""

from __future__ import annotations

Key = tuple[str, str, str]


def session_key(group_id: str, member_id: str) -> Key:
    """Of a member that is to be heard of."""
    return ("consumer session", group_id, member_id)


def rebalance_key(group_id: str, member_id: str) -> Key:
    """Of a member that has partitions to give back."""
    return ("consumer rebalance", group_id, member_id)


def join_key(group_id: str, member_id: str) -> Key:
    """Of a classic member that has to join again."""
    return ("consumer join", group_id, member_id)


def sync_key(group_id: str, member_id: str) -> Key:
    """Of a classic member that has to sync."""
    return ("consumer sync", group_id, member_id)


def timers_of(group_id: str, member_id: str) -> tuple[Key, ...]:
    """All of one member."""
    return tuple(
        key(group_id, member_id) for key in (session_key, rebalance_key, join_key, sync_key)
    )
