"""Offsets: what groups have committed, and where logs begin and end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from streamkit.client.client import Client, CoordinatorKind
from streamkit.client.draft import Draft
from streamkit.client.errors import error_for, raise_for
from streamkit.client.metadata import ClusterView
from streamkit.common.errors import RefreshMetadataError, UsageError
from streamkit.common.model import TopicPartition
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode

LATEST: Final = -1
"""The timestamp that asks for the end: high watermark or, read_committed, last stable offset."""
EARLIEST: Final = -2
"""The timestamp that asks for the log start."""
MAX_TIMESTAMP: Final = -3
"""The timestamp that asks for the record with the highest timestamp."""

NO_EPOCH: Final = -1
MEMBER_EPOCH_SINCE: Final = 9
"""OffsetCommit and OffsetFetch know member ids and epochs of KIP-848 and KIP-1071 since then."""
NAMES_UNTIL: Final = 9
"""OffsetCommit and OffsetFetch name topics up to this version, later by id."""


class CommittedOffset(NamedTuple):
    """What a group commits for a partition: the offset of the next record to read.

    `leader_epoch` is that of the last record read, -1 when it is not known: with it a consumer
    that goes on there sees whether the log was cut off meanwhile. `metadata` is the user's own
    text, up to the broker's `offset.metadata.max.bytes` (4096). Kafka's name for it is
    OffsetAndMetadata.
    """

    offset: int
    leader_epoch: int = -1
    metadata: str = ""


class ListedOffset(NamedTuple):
    """An offset of a log; `offset` is -1 when no record is that young."""

    offset: int
    timestamp: int
    leader_epoch: int


@dataclass(frozen=True, slots=True)
class ConsumerGroupMetadata:
    """On whose behalf offsets are committed; the default is a group without members.

    `member_epoch` is the generation where the group is a classic one (Kafka's `generationId`).
    """

    group_id: str
    member_id: str = ""
    member_epoch: int = NO_EPOCH
    group_instance_id: str | None = None


Membership = ConsumerGroupMetadata
"""What the rest of the package calls it."""


class Offsets:
    """Commit, fetch and look up offsets; each call retries until `default.api.timeout.ms`.

    offsets = Offsets(client)
    await offsets.commit(Membership("shop"), {tp: CommittedOffset(42)})
    await offsets.fetch(Membership("shop"), [tp])
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def commit(
        self, member: Membership, offsets: Mapping[TopicPartition, CommittedOffset]
    ) -> None:
        """Commit offsets of a group.

        Raises RejoinError when the member is fenced or unknown, StaleMemberEpochError when it
        has a newer epoch than the one given, UsageError when metadata is too long.
        """
        if not offsets:
            return
        draft = Draft(
            ApiKey.OFFSET_COMMIT,
            {
                "group_id": member.group_id,
                "generation_id_or_member_epoch": member.member_epoch,
                "member_id": member.member_id,
                "group_instance_id": member.group_instance_id,
                "topics": commit_topics(offsets),
            },
            version_max=NAMES_UNTIL,
            version_min=_version_min(member),
        )
        what = f"commit of group {member.group_id!r} by member {member.member_id!r}"

        def check(response: Any) -> None:
            for topic in response.topics:
                for partition in topic.partitions:
                    where = f"{topic.name}-{partition.partition_index}"
                    raise_for(partition.error_code, f"{what}, {where}")

        await self._client.call_coordinator(
            CoordinatorKind.GROUP, member.group_id, draft, check, canonical=False
        )

    async def fetch(
        self,
        member: Membership,
        partitions: Iterable[TopicPartition] | None = None,
        *,
        require_stable: bool = False,
    ) -> dict[TopicPartition, CommittedOffset]:
        """The committed offsets of these partitions, or of all; those without are left out.

        With `require_stable` it waits for offsets of open transactions (KIP-447).
        """
        wanted = None if partitions is None else list(partitions)
        topics = None if wanted is None else _fetch_topics(wanted)
        group = {
            "group_id": member.group_id,
            "member_id": member.member_id or None,
            "member_epoch": member.member_epoch,
            "topics": topics,
        }
        draft = Draft(
            ApiKey.OFFSET_FETCH,
            {
                "groups": [group],
                "group_id": member.group_id,
                "topics": topics,
                "require_stable": require_stable,
            },
            version_max=NAMES_UNTIL,
        )
        what = f"committed offsets of group {member.group_id!r}"

        def check(answer: Any) -> None:
            raise_for(getattr(_group(answer), "error_code", 0), what)
            for topic in _group(answer).topics:
                for partition in topic.partitions:
                    raise_for(partition.error_code, what)

        answer = await self._client.call_coordinator(
            CoordinatorKind.GROUP, member.group_id, draft, check, canonical=False
        )
        return _committed(_group(answer))

    async def list_offsets(
        self, timestamps: Mapping[TopicPartition, int], *, read_committed: bool = False
    ) -> dict[TopicPartition, ListedOffset]:
        """The first offset at or after each timestamp in milliseconds, or LATEST or EARLIEST.

        Raises UnknownTopicError when a partition does not turn up in time.
        """
        found: dict[TopicPartition, ListedOffset] = {}

        async def attempt() -> dict[TopicPartition, ListedOffset]:
            left = {tp: time for tp, time in timestamps.items() if tp not in found}
            view = await self._view_with(left)
            by_leader, missing = view.by_leader(left)
            for leader in sorted(by_leader):
                asked = {tp: left[tp] for tp in by_leader[leader]}
                found.update(await self._list_from(leader, asked, read_committed))
            if missing:
                code = view.errors.get(missing[0].topic, ErrorCode.unknown_topic_or_partition)
                raise error_for(code, f"offsets of {missing[0]}")
            return found

        return await self._client.retrying(attempt) if timestamps else found

    async def end_offsets(
        self, partitions: Iterable[TopicPartition], *, read_committed: bool = False
    ) -> dict[TopicPartition, int]:
        """Where the logs end for a reader of this isolation."""
        listed = await self.list_offsets(
            dict.fromkeys(partitions, LATEST), read_committed=read_committed
        )
        return {tp: answer.offset for tp, answer in listed.items()}

    async def start_offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Where the logs begin."""
        listed = await self.list_offsets(dict.fromkeys(partitions, EARLIEST))
        return {tp: answer.offset for tp, answer in listed.items()}

    async def _view_with(self, partitions: Iterable[TopicPartition]) -> ClusterView:
        view = self._client.view
        unknown = dict.fromkeys(tp.topic for tp in partitions if view.leader_of(tp) < 0)
        return await self._client.metadata.refresh(unknown) if unknown else view

    async def _list_from(
        self, leader: int, timestamps: Mapping[TopicPartition, int], read_committed: bool
    ) -> dict[TopicPartition, ListedOffset]:
        draft = Draft(
            ApiKey.LIST_OFFSETS,
            {
                "replica_id": -1,
                "isolation_level": int(read_committed),
                "topics": _list_topics(timestamps, self._client.view),
                "timeout": self._client.settings.request_timeout_ms,
            },
        )
        response = await self._client.call(leader, draft)
        found = {}
        for topic in response.topics:
            for answer in topic.partitions:
                tp = TopicPartition(topic.name, answer.partition_index)
                if answer.error_code:
                    await self._on_list_error(tp, answer.error_code)
                found[tp] = ListedOffset(
                    answer.offset, answer.timestamp, getattr(answer, "leader_epoch", -1)
                )
        return found

    async def _on_list_error(self, tp: TopicPartition, code: int) -> None:
        error = error_for(code, f"offsets of {tp}")
        if isinstance(error, RefreshMetadataError):
            await self._client.metadata.refresh([tp.topic])
        raise error


def _version_min(member: Membership) -> int:
    return MEMBER_EPOCH_SINCE if member.member_epoch > NO_EPOCH and member.member_id else 0


def committed_offset(offset: int | CommittedOffset) -> CommittedOffset:
    """What to commit, from what a user gives. Raises UsageError for a negative offset."""
    committed = offset if isinstance(offset, CommittedOffset) else CommittedOffset(offset)
    if committed.offset < 0:
        raise UsageError(f"cannot commit offset {committed.offset}: offsets begin at 0")
    return committed


def commit_topics(offsets: Mapping[TopicPartition, CommittedOffset]) -> list[dict[str, Any]]:
    """The `topics` of OffsetCommit and TxnOffsetCommit."""
    topics: dict[str, list[dict[str, Any]]] = {}
    for tp, committed in offsets.items():
        topics.setdefault(tp.topic, []).append(
            {
                "partition_index": tp.partition,
                "committed_offset": committed.offset,
                "committed_leader_epoch": committed.leader_epoch,
                "committed_metadata": committed.metadata,
            }
        )
    return [{"name": name, "partitions": partitions} for name, partitions in topics.items()]


def _fetch_topics(partitions: Iterable[TopicPartition]) -> list[dict[str, Any]]:
    topics: dict[str, list[int]] = {}
    for tp in partitions:
        topics.setdefault(tp.topic, []).append(tp.partition)
    return [{"name": name, "partition_indexes": indexes} for name, indexes in topics.items()]


def _group(answer: Any) -> Any:
    """The one group of an answer; older versions are the group themselves."""
    return answer.groups[0] if hasattr(answer, "groups") else answer


def _committed(group: Any) -> dict[TopicPartition, CommittedOffset]:
    return {
        TopicPartition(topic.name, partition.partition_index): CommittedOffset(
            partition.committed_offset,
            getattr(partition, "committed_leader_epoch", -1),
            partition.metadata or "",
        )
        for topic in group.topics
        for partition in topic.partitions
        if partition.committed_offset >= 0
    }


def _list_topics(
    timestamps: Mapping[TopicPartition, int], view: ClusterView
) -> list[dict[str, Any]]:
    topics: dict[str, list[dict[str, Any]]] = {}
    for tp, timestamp in timestamps.items():
        partition = view.partition(tp)
        topics.setdefault(tp.topic, []).append(
            {
                "partition_index": tp.partition,
                "current_leader_epoch": partition.leader_epoch if partition else -1,
                "timestamp": timestamp,
            }
        )
    return [{"name": name, "partitions": partitions} for name, partitions in topics.items()]
