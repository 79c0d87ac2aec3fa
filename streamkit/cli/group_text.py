"""A described group as text for people and as an object for scripts; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from streamkit.cli.cluster import table
from streamkit.cli.group_offsets import PartitionLag
from streamkit.cli.group_view import GroupView, members_count
from streamkit.cli.other_groups import (
    other_head,
    other_members_text,
    other_object,
    partition_owners,
)
from streamkit.common.model import TopicPartition
from streamkit.rebalance.description import DescribedGroup, DescribedMember
from streamkit.rebalance.reasons import shown


@dataclass(frozen=True, slots=True)
class DescribedView:
    """What `describe` shows."""

    group: GroupView
    coordinator: str
    lags: Sequence[PartitionLag]
    reasons: Sequence[str]


def as_text(view: DescribedView) -> str:
    """One line on the group, what it waits for, its members, its topology, its lags."""
    streams, other = view.group.streams, view.group.other
    listing = view.group.listing
    parts = [
        f"{listing.group_id}: {listing.type} group, {listing.state}{_epochs(view.group)}"
        f", coordinator {view.coordinator}"
    ]
    parts += [f"* {reason}" for reason in view.reasons]
    if streams is not None:
        parts += [streams.note, _members_text(streams), _topology_text(streams)]
    elif other is not None:
        parts.append(other_members_text(other))
    parts.append(_lags_text(view))
    return "\n\n".join(part for part in parts if part)


def _epochs(group: GroupView) -> str:
    if group.streams is not None:
        streams = group.streams
        topology = "none" if streams.topology_epoch is None else streams.topology_epoch
        return (
            f", epoch {streams.epoch}, assignment of epoch {streams.assignment_epoch}, topology "
            f"epoch {topology}, {members_count(len(streams.members))}"
        )
    if group.other is not None:
        return f"{other_head(group.other)}, {members_count(len(group.members))}"
    return ""


def _lags_text(view: DescribedView) -> str:
    streams, other = view.group.streams, view.group.other
    owners: Mapping[TopicPartition, str] = {}
    if streams is not None:
        owners = _task_owners(streams)
    elif other is not None:
        owners = partition_owners(other)
    rows = [
        (
            each.partition.topic,
            each.partition.partition,
            each.committed,
            each.end,
            each.lag,
            owners.get(each.partition, ""),
        )
        for each in view.lags
    ]
    total = sum(each.lag for each in view.lags)
    owner = "MEMBER" if streams is None else "TASK"
    header = ("TOPIC", "PARTITION", "COMMITTED", "END", "LAG", owner)
    return f"{table(header, rows)}\nlag in all: {total}"


def _members_text(group: DescribedGroup) -> str:
    if not group.members:
        return ""
    rows = [
        (
            member.member_id,
            member.process_id,
            member.client_id,
            member.client_host,
            member.rack_id,
            member.epoch,
            shown(member.assigned.active),
            shown(member.assigned.standby),
            shown(member.assigned.warmup),
            _moves(member),
            _behind(group, member),
        )
        for member in group.members
    ]
    header = [
        "MEMBER", "PROCESS", "CLIENT", "HOST", "RACK", "EPOCH", "ACTIVE", "STANDBY", "WARM-UP",
        "MOVES", "BEHIND",
    ]  # fmt: skip
    return table(header, rows)


def _behind(group: DescribedGroup, member: DescribedMember) -> str:
    """How many changelog offsets its copies are behind, those that are."""
    copies = sorted(member.assigned.standby | member.assigned.warmup)
    lags = ((task, group.behind(task, member)) for task in copies)
    return ", ".join(f"{shown([task])}: {lag}" for task, lag in lags if lag)


def _moves(member: DescribedMember) -> str:
    """What is still to come (+) and to go (-)."""
    have, want = member.assigned.every, member.target.every
    comes, goes = shown(want - have), shown(have - want)
    return " ".join(text for text in (comes and f"+{comes}", goes and f"-{goes}") if text)


def _topology_text(group: DescribedGroup) -> str:
    rows = [
        (
            each.id,
            ", ".join(each.input_topics),
            ", ".join(each.repartition_sinks),
            ", ".join(topic.name for topic in each.changelogs),
        )
        for each in group.subtopologies
    ]
    return table(("SUB-TOPOLOGY", "READS", "REPARTITIONS TO", "CHANGELOGS"), rows)


def _task_owners(group: DescribedGroup) -> dict[TopicPartition, str]:
    """`SUBTOPOLOGY_PARTITION at MEMBER` by input partition."""
    inputs = {each.id: each.input_topics for each in group.subtopologies}
    return {
        TopicPartition(topic, partition): f"{subtopology}_{partition} at {member.member_id}"
        for member in group.members
        for subtopology, partition in sorted(member.assigned.active)
        for topic in inputs.get(subtopology, ())
    }


def as_object(view: DescribedView) -> dict[str, Any]:
    """The same for JSON."""
    found: dict[str, Any] = {
        **asdict(view.group.listing),
        "coordinator": view.coordinator,
        "lags": [
            {
                "topic": each.partition.topic,
                "partition": each.partition.partition,
                "committed": each.committed,
                "end": each.end,
                "lag": each.lag,
            }
            for each in view.lags
        ],
        "reasons": list(view.reasons),
    }
    group = view.group.streams
    if group is not None:
        found |= {
            "epoch": group.epoch,
            "assignment_epoch": group.assignment_epoch,
            "topology_epoch": group.topology_epoch,
            "note": group.note,
            "subtopologies": [asdict(each) for each in group.subtopologies],
            "members": [_member_object(member) for member in group.members],
        }
    elif view.group.other is not None:
        found |= other_object(view.group.other)
    return found


def _member_object(member: DescribedMember) -> dict[str, Any]:
    plain = {
        name: getattr(member, name)
        for name in (
            "member_id", "epoch", "topology_epoch", "process_id", "client_id", "client_host",
            "rack_id", "endpoint",
        )
    }  # fmt: skip
    plain["client_tags"] = dict(member.client_tags)
    for name, offsets in (("offsets", member.offsets), ("end_offsets", member.ends)):
        plain[name] = {f"{task[0]}_{task[1]}": offset for task, offset in sorted(offsets.items())}
    for name, tasks in (("assigned", member.assigned), ("target", member.target)):
        plain[name] = {
            role: [f"{subtopology}_{partition}" for subtopology, partition in sorted(found)]
            for role, found in (
                ("active", tasks.active), ("standby", tasks.standby), ("warmup", tasks.warmup)
            )
        }  # fmt: skip
    return plain
