"""One step of one member, by heartbeat or JoinGroup: what changes, what follows from it.

Steps, in Kafka's order: take over what the member says; see whether the topics of the group
changed; bump the group epoch, once; compute the target when it is due; move this member one step
towards it. The group itself changes only when the records are replayed.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.consumer.environment import Environment
from streamkit.broker.coordinators.group.consumer.fencing import start_rebalance
from streamkit.broker.coordinators.group.consumer.keys import rebalance_key
from streamkit.broker.coordinators.group.consumer.model import (
    ConsumerGroup,
    Member,
    MemberState,
    Partitions,
)
from streamkit.broker.coordinators.group.consumer.reconcile import reconcile
from streamkit.broker.coordinators.group.consumer.subscriptions import (
    compile_or_raise,
    is_refresh_due,
    resolve,
    topic_ids,
)
from streamkit.broker.coordinators.group.consumer.target import (
    compute_target,
    is_due,
    target_records,
)
from streamkit.broker.coordinators.group.consumer.translate import (
    current_record,
    group_record,
    member_record,
    member_tombstones,
    partition_metadata_tombstone,
    regex_tombstone,
    target_record,
)
from streamkit.broker.coordinators.group.effects import Outcome
from streamkit.broker.coordinators.group.topics_hash import topics_hash

if TYPE_CHECKING:
    from streamkit.broker.coordinators.group.state import GroupShard


class Round:
    """One member's step; `out` collects records and effects."""

    def __init__(self, group: ConsumerGroup, env: Environment, out: Outcome) -> None:
        self.group = group
        self.out = out
        self.epoch = group.epoch
        self.has_changed = False
        """The member subscribes to something else than before."""
        self._env = env
        self._config = env.config(group.group_id)
        self._topics = env.topics()
        self._now_ms = env.now_ms()
        self._replaced: Member | None = None

    def take_over(self, old: Member, member_id: str) -> Member:
        """The same static member under a new member id."""
        new = replace(old, member_id=member_id, epoch=0, previous_epoch=0)
        group_id = self.group.group_id
        self.out.records += member_tombstones(group_id, old.member_id)
        self.out.records += [
            member_record(group_id, new),
            target_record(group_id, member_id, self.group.target_of(old.member_id)),
            current_record(group_id, new),
        ]
        self._replaced = old
        return new

    def update(self, before: Member, said: rec.ConsumerGroupMemberMetadataValue) -> Member:
        """Take over what the member says of itself; bump the group epoch when it matters."""
        after = replace(before, metadata=said)
        if after.metadata != before.metadata:
            self.out.records.append(member_record(self.group.group_id, after))
        self._before, self._member = before, after
        has_names_changed = after.topics != before.topics
        has_regex_changed = after.regex != before.regex
        is_bumped = has_names_changed
        if has_regex_changed:
            is_bumped |= self._change_regex(before, after)
        self.has_changed = has_names_changed or has_regex_changed
        self._maybe_resolve()
        self._maybe_bump(is_bumped)
        return after

    def _change_regex(self, before: Member, after: Member) -> bool:
        """Whether what the new regular expression matches is known; if not, it is resolved later.

        Raises ApiError when it is no regular expression.
        """
        group = self.group
        if before.regex and before.regex not in self._regexes:
            self.out.records.append(regex_tombstone(group.group_id, before.regex))
        if not after.regex or group.subscribers[after.regex]:
            return not after.regex or after.regex in group.regexes
        compile_or_raise(after.regex)
        return False

    @cached_property
    def _members(self) -> dict[str, Member]:
        """The members as they will be."""
        members = {**self.group.members, self._member.member_id: self._member}
        if self._replaced is not None and self._replaced.member_id != self._member.member_id:
            del members[self._replaced.member_id]
        return members

    @cached_property
    def _regexes(self) -> frozenset[str]:
        """The regular expressions as they will be; looked for among all members only if needed."""
        if self._before.regex == self._member.regex:
            return frozenset(self.group.subscribers)
        return frozenset(each.regex for each in self._members.values() if each.regex)

    def _maybe_resolve(self) -> None:
        group = self.group
        interval_ms = self._config.regex_refresh_interval_ms
        version = self._env.new_topics_version()
        if is_refresh_due(group, self._regexes, version, self._now_ms, interval_ms):
            group.is_resolving = True
            env, group_id = self._env, group.group_id
            self.out.start_timer(
                ("consumer regex", group_id), 0, lambda shard: _resolve(shard, group_id, env)
            )

    def _maybe_bump(self, is_bumped: bool) -> None:
        group = self.group
        if not is_bumped and not group.is_metadata_stale:
            return
        new_hash = topics_hash(group.topics_of(self._members.values()), self._topics)
        if is_bumped or new_hash != group.metadata_hash:
            self.epoch += 1
            self.out.records.append(group_record(group.group_id, self.epoch, new_hash))
        group.is_metadata_stale = False
        if group.has_partition_metadata:
            self.out.records.append(partition_metadata_tombstone(group.group_id))

    def move(self, owned: Partitions | None) -> Member:
        """The member after its next step towards its target. Raises ApiError to fence it."""
        group, member = self.group, self._member
        assignment_epoch, target = self._target()
        if not self.has_changed and member.is_reconciled_to(assignment_epoch):
            return member
        subscribed = topic_ids(group.topics_of([member]), self._topics)
        moved = reconcile(
            member,
            owned,
            assignment_epoch,
            target,
            subscribed,
            group.holders,
            is_changed=self.has_changed,
        )
        if moved == member:
            return member
        self.out.records.append(current_record(group.group_id, moved))
        if moved.is_classic:
            # It has deadlines to join and to sync instead.
            return moved
        if moved.state is MemberState.UNREVOKED_PARTITIONS:
            start_rebalance(group.group_id, moved, self._env, self.out)
        else:
            self.out.cancel_timer(rebalance_key(group.group_id, moved.member_id))
        return moved

    def _target(self) -> tuple[int, Partitions]:
        """The assignment epoch and this member's target, computed anew when that is due."""
        group, member = self.group, self._member
        interval_ms = self._config.assignment_interval_ms
        if self.epoch <= group.assignment_epoch or not is_due(group, interval_ms, self._now_ms):
            return group.assignment_epoch, self.last_target
        target = compute_target(group, self._members, self._config, self._topics)
        self.out.records += target_records(group, target, self.epoch, self._now_ms)
        return self.epoch, target[member.member_id]

    @property
    def last_target(self) -> Partitions:
        """What the last target gives the member, or gave the one whose place it takes."""
        known = self._replaced or self._member
        return self.group.target_of(known.member_id)


def _resolve(shard: GroupShard, group_id: str, env: Environment) -> Outcome:
    group = shard.consumer.get(group_id)
    if group is None:
        return Outcome()
    group.is_resolving = False
    records, has_changed = resolve(group, env.topics(), env.now_ms())
    if has_changed:
        group.is_metadata_stale = False
    return Outcome(records)
