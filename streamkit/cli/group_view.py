"""A group of any type with its members: what `describe` shows, and who is in a change's way."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from streamkit.client.admin import Admin
from streamkit.client.errors import CodedError
from streamkit.client.group_descriptions import GroupDescription, MemberDescription
from streamkit.client.groups import GroupListing
from streamkit.common.errors import UsageError
from streamkit.protocol.errors import ErrorCode
from streamkit.rebalance.description import DescribedGroup, DescribedMember, described_group

WAIT_STEP_S = 0.5
_NAMED_MEMBERS_MAX = 4
_SAY_MEMBERS = {
    ErrorCode.non_empty_group,
    ErrorCode.unknown_member_id,
    ErrorCode.stale_member_epoch,
    ErrorCode.rebalance_in_progress,
}
"""What brokers answer to a change of a group that has members."""

Echo = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group as it is listed, and described if its type is known: as streams, or as another."""

    listing: GroupListing
    streams: DescribedGroup | None = None
    other: GroupDescription | None = None

    @property
    def members(self) -> Sequence[DescribedMember | MemberDescription]:
        """Its members, of whatever type."""
        group = self.streams or self.other
        return () if group is None else group.members


async def find_streams_group(admin: Admin, group_id: str) -> DescribedGroup | None:
    """The streams group, or None when there is none of this id."""
    try:
        return described_group(await admin.describe_streams_group(group_id))
    except CodedError as error:
        if error.code == ErrorCode.group_id_not_found:
            return None
        raise


async def find_group(admin: Admin, group_id: str) -> GroupView | None:
    """The group of this id; None when there is none."""
    listed = [each for each in await admin.groups.list() if each.group_id == group_id]
    if not listed:
        return None
    match listed[0].type:
        case "streams":
            return GroupView(listed[0], streams=await find_streams_group(admin, group_id))
        case "consumer" | "classic":
            return GroupView(listed[0], other=await _find_other_group(admin, group_id))
    return GroupView(listed[0])


async def _find_other_group(admin: Admin, group_id: str) -> GroupDescription | None:
    try:
        return await admin.groups.describe(group_id)
    except CodedError as error:
        if error.code == ErrorCode.group_id_not_found:
            return None
        raise


async def group_or_raise(admin: Admin, group_id: str) -> GroupView:
    """The group of this id. Raises UsageError when there is none."""
    found = await find_group(admin, group_id)
    if found is None:
        raise await no_group(admin, group_id)
    return found


async def no_group(admin: Admin, group_id: str) -> UsageError:
    """The error for a group that is not there; it names one of nearly that name."""
    known = [each.group_id for each in await admin.groups.list()]
    return UsageError(f"there is no group {group_id!r}{near(group_id, known)}")


def near(name: str, known: Iterable[str]) -> str:
    """The end of a sentence on a name that is not there: the one that may have been meant."""
    found = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


async def wait_empty(admin: Admin, group_id: str, wait_s: float, echo: Echo) -> GroupView | None:
    """The group once it has no members; None when there is none.

    Raises UsageError that names the members who are still there after `wait_s`.
    """
    left_s, told = wait_s, 0
    while True:
        group = await find_group(admin, group_id)
        if group is None or not has_members(group):
            return group
        if left_s <= 0:
            raise UsageError(_in_the_way(group))
        if len(group.members) != told:
            told = len(group.members)
            echo(f"waiting for {members_count(told)} to leave or to time out")
        await asyncio.sleep(WAIT_STEP_S)
        left_s -= WAIT_STEP_S


@asynccontextmanager
async def members_are_named(admin: Admin, group_id: str) -> AsyncIterator[None]:
    """Around a change: when somebody joined before it, the error says who."""
    try:
        yield
    except CodedError as error:
        if error.code not in _SAY_MEMBERS:
            raise
        group = await find_group(admin, group_id)
        if group is None or not has_members(group):
            raise
        raise UsageError(_in_the_way(group)) from error


def has_members(group: GroupView) -> bool:
    """Whether somebody is in it; by its state where its members cannot be described."""
    if group.streams is None and group.other is None:
        return group.listing.state not in ("Empty", "Dead")
    return bool(group.members)


def members_count(count: int) -> str:
    """`1 member`, `7 members`."""
    return f"{count} member" + "s" * (count != 1)


def _in_the_way(group: GroupView) -> str:
    known = [_named(member) for member in group.members]
    listed = ", ".join(known[:_NAMED_MEMBERS_MAX])
    if len(known) > _NAMED_MEMBERS_MAX:
        listed += f" and {len(known) - _NAMED_MEMBERS_MAX} more"
    who = f"{members_count(len(known))}: {listed}" if known else "members"
    return (
        f"group {group.listing.group_id!r} has {who}. Stop {'it' if len(known) == 1 else 'them'} "
        "first, or give --wait SECONDS; one that crashed or is static leaves when its session "
        "times out"
    )


def _named(member: DescribedMember | MemberDescription) -> str:
    instance = member.instance_id if isinstance(member, MemberDescription) else None
    static = f" (instance {instance})" if instance else ""
    return f"{member.client_id or member.member_id}{static} at {host_of(member)}"


def host_of(member: DescribedMember | MemberDescription) -> str:
    """Where its client is; Java brokers put a slash in front."""
    return member.client_host.lstrip("/")
