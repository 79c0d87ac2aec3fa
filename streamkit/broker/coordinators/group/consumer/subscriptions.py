"""What members subscribe to: topics by name, and by regular expressions that the broker resolves.

Regular expressions are RE2's, which match in linear time whatever a client sends. They are
resolved in an operation of their own, after the heartbeat that asked for it: all of a group at
once, when one is new, when topics were made, or when the last time is long ago.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from streamkit.broker.coordinators.group.consumer.model import (
    ConsumerGroup,
    Member,
    ResolvedRegex,
)
from streamkit.broker.coordinators.group.consumer.translate import group_record, regex_record
from streamkit.broker.coordinators.group.records import Record
from streamkit.broker.coordinators.group.topics_hash import topics_hash
from streamkit.broker.coordinators.patterns import whole_matcher
from streamkit.broker.coordinators.seams import TopicCatalog
from streamkit.protocol.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

REFRESH_INTERVAL_MIN_MS = 10_000
"""Regular expressions of one group are resolved at most this often."""


def is_homogeneous(members: Iterable[Member]) -> bool:
    """Whether all subscribe to the same, either by names or by one regular expression."""
    kinds = {(each.topics, each.regex) for each in members}
    return len(kinds) <= 1 and not any(topics and regex for topics, regex in kinds)


def topic_ids(names: Iterable[str], topics: TopicCatalog) -> frozenset[UUID]:
    """The ids of those topics that exist."""
    found = (topics.topic_id(name) for name in names)
    return frozenset(each for each in found if each is not None)


def compile_or_raise(regex: str) -> Callable[[str], object]:
    """What matches whole topic names. Raises ApiError when it is no regular expression."""
    try:
        return whole_matcher(regex)
    except ValueError as error:
        raise ApiError(
            ErrorCode.invalid_regular_expression,
            f"SubscribedTopicRegex `{regex}` is not a valid regular expression: {error}.",
        ) from error


def resolve(group: ConsumerGroup, topics: TopicCatalog, now_ms: int) -> tuple[list[Record], bool]:
    """Match all regular expressions of a group anew; the records, and whether its epoch moved."""
    regexes = sorted(group.subscribers)
    if not regexes:
        return [], False
    names = list(topics.topic_names())
    records = []
    resolved: dict[str, ResolvedRegex] = {}
    for regex in regexes:
        matches = compile_or_raise(regex)
        found = frozenset(name for name in names if matches(name))
        resolved[regex] = ResolvedRegex(found, topics.version, now_ms)
        records.append(regex_record(group.group_id, regex, resolved[regex]))
    subscribed = {name for each in group.members.values() for name in each.topics}
    subscribed.update(name for each in resolved.values() for name in each.topics)
    new_hash = topics_hash(subscribed, topics)
    has_changed = new_hash != group.metadata_hash or any(
        each.topics != group.resolved(regex) for regex, each in resolved.items()
    )
    if has_changed:
        records.append(group_record(group.group_id, group.epoch + 1, new_hash))
    return records, has_changed


def is_refresh_due(
    group: ConsumerGroup,
    regexes: frozenset[str],
    new_topics_version: int,
    now_ms: int,
    interval_ms: int,
) -> bool:
    """Whether to resolve `regexes`, those of all members by now."""
    if not regexes or group.is_resolving:
        return False
    # All were resolved at once, so that any of them tells when that was.
    last = next(iter(group.regexes.values()), None)
    if last is not None and now_ms <= last.timestamp + REFRESH_INTERVAL_MIN_MS:
        return False
    return (
        last is None
        or len(regexes) != len(group.regexes)
        or last.version < new_topics_version
        or now_ms > last.timestamp + interval_ms
    )
