"""Which topology a group has once a member has sent its own; nothing is changed here.

Apache Kafka keeps the first one, and refuses others. With our extension one of a higher epoch takes
its place, provided that the group can go on with it (`rebalance.updates`) and that its topics are
there and fit; else the member that brought it is refused, and the group keeps what it has. A
member of a former topology runs what it has in common with the group's; when nobody else is in the
group, the group goes back to it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.streams import translate
from streamkit.broker.coordinators.group.streams.model import StreamsGroup
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.rebalance.rules import GroupTopology, PartitionsOf
from streamkit.rebalance.updates import (
    common,
    differences,
    fingerprint,
    is_same,
    recounted,
    unfit,
)

FORMER_MAX = 16
"""Topologies that a group remembers; older workers than that are long gone."""
_WAYS_ON = "Reset the application, or give it another id."


@dataclass(frozen=True, slots=True)
class Choice:
    """The group's topology from now on; `value` is its record when it is news."""

    topology: GroupTopology
    value: rec.StreamsGroupTopologyValue | None = None
    cause: str = ""
    """Why the group's epoch moves on; empty: the topology is no reason."""
    sent: GroupTopology | None = None
    """What the member says that its program has."""

    @property
    def parts(self) -> tuple[str, ...] | None:
        """The sub-topologies that the member's program has; None when it said nothing."""
        return None if self.sent is None else common(self.sent, self.topology)


def choose(
    group: StreamsGroup,
    member_id: str,
    message: Any,
    partitions_of: PartitionsOf,
    *,
    takes_updates: bool,
) -> Choice:
    """The group's topology after the member's request; `message` is the one in it, or None.

    Raises ApiError when the member cannot take part with what it sent.
    """
    known = group.topology
    if message is None:
        if known is None:
            raise ApiError(ErrorCode.unknown_server_error, "the group has no topology")
        return Choice(known)
    value = translate.topology_value(message)
    sent = translate.topology_of_value(value)
    if known is None:
        return Choice(sent, value, sent=sent)
    if sent.epoch > known.epoch and takes_updates:
        _check_update(known, sent)
        _check_fit(known, sent, partitions_of)
        return _taken_over(group, known, sent, value, "follows on")
    if sent.epoch < known.epoch:
        _check_former(group, known, sent)
        is_alone = not (group.members.keys() - {member_id})
        if takes_updates and is_alone and fingerprint(sent) in group.former_topologies:
            _check_fit(known, sent, partitions_of)
            return _taken_over(group, known, sent, value, "comes back after")
    elif sent.epoch > known.epoch or not _is_same(sent, known, takes_updates=takes_updates):
        raise _refusal_of_other(known, sent, takes_updates=takes_updates)
    return Choice(known, sent=sent)


def _taken_over(
    group: StreamsGroup,
    known: GroupTopology,
    sent: GroupTopology,
    value: rec.StreamsGroupTopologyValue,
    how: str,
) -> Choice:
    own, former = fingerprint(sent), (fingerprint(known), *group.former_topologies)
    kept = [each for each in dict.fromkeys(former) if each != own]
    value = replace(value, former=tuple(kept[:FORMER_MAX]))
    return Choice(sent, value, f"topology epoch {sent.epoch} {how} {known.epoch}", sent)


def _is_same(sent: GroupTopology, known: GroupTopology, *, takes_updates: bool) -> bool:
    """Whether it is the group's topology.

    For Apache Kafka it is not when a config of an internal topic differs; the topics are there
    already, so where topologies may be updated that is no reason to refuse the member.
    """
    return is_same(sent, known) or (
        takes_updates and fingerprint(sent) == fingerprint(known) and not differences(known, sent)
    )


def _refusal_of_other(
    known: GroupTopology, sent: GroupTopology, *, takes_updates: bool
) -> ApiError:
    found = differences(known, sent) if takes_updates else []
    if not found:
        return _refusal("Topology updates are not supported yet.")
    return _refusal(f"The topology is not the group's: {'; '.join(found)}. {_WAYS_ON}")


def _check_update(known: GroupTopology, sent: GroupTopology) -> None:
    """Raises ApiError when the group cannot go on with the topology that was sent."""
    found = differences(known, sent)
    if found:
        raise _refusal(
            f"Topology epoch {sent.epoch} cannot follow on epoch {known.epoch}: "
            f"{'; '.join(found)}. {_WAYS_ON}"
        )


def _check_fit(known: GroupTopology, sent: GroupTopology, partitions_of: PartitionsOf) -> None:
    """Raises ApiError when no task could run with it: the group's would stop."""
    found = unfit(sent, partitions_of)
    if found is not None:
        raise _refusal(
            f"The group keeps its topology of epoch {known.epoch}: that of epoch {sent.epoch} "
            f"cannot run yet. {found}."
        )


def _check_former(group: StreamsGroup, known: GroupTopology, sent: GroupTopology) -> None:
    """Raises ApiError when a topology that is said to be old is none that the group had."""
    former = group.former_topologies
    if not former or is_same(sent, known):
        return
    is_former = fingerprint(sent) in (fingerprint(known), *former)
    if not is_former or recounted(known.subtopologies, sent.subtopologies):
        found = differences(known, sent) or ["it is another one"]
        raise _refusal(
            f"The topology is none that the group had before its epoch {known.epoch}: "
            f"{'; '.join(found)}. {_WAYS_ON}"
        )


def _refusal(message: str) -> ApiError:
    return ApiError(ErrorCode.invalid_request, message)
