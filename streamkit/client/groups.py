"""Groups of every type: list, describe and delete them, and what they have committed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamkit.client.client import Client, CoordinatorKind
from streamkit.client.draft import Draft
from streamkit.client.errors import CodedError, UnsupportedByBrokerError, error_for, raise_for
from streamkit.client.group_descriptions import GroupDescription, classic_group, consumer_group
from streamkit.client.metadata import BrokerView
from streamkit.client.offsets import (
    CommittedOffset,
    ConsumerGroupMetadata,
    Offsets,
    committed_offset,
)
from streamkit.common.errors import RejoinError, UsageError
from streamkit.common.model import TopicPartition
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode

DEAD = "Dead"
"""The state of a group that is not there, before DescribeGroups had an error for it."""

_NOT_NEW = (ErrorCode.group_id_not_found, ErrorCode.unsupported_version)

LIST_VERSION_MIN = 5
"""ListGroups tells the type of a group since then."""


@dataclass(frozen=True, slots=True)
class GroupListing:
    """A group as its coordinator lists it; `type` is classic, consumer, share or streams."""

    group_id: str
    type: str
    state: str


class Groups:
    """Calls on groups; each retries until `default.api.timeout.ms`.

    await Groups(client).list()
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._offsets = Offsets(client)

    async def list(
        self, *, types: Sequence[str] = (), states: Sequence[str] = ()
    ) -> list[GroupListing]:
        """Every group of the cluster, or those of these types and states, by id."""
        view = await self._client.retrying(lambda: self._client.metadata.refresh([]))
        draft = Draft(
            ApiKey.LIST_GROUPS,
            {"states_filter": tuple(states), "types_filter": tuple(types)},
            version_min=LIST_VERSION_MIN,
        )
        found = []
        for node_id in sorted(view.brokers):
            response = await self._client.request(
                node_id, draft, lambda answer: raise_for(answer.error_code, "list of the groups")
            )
            found += [
                GroupListing(group.group_id, group.group_type.lower(), group.group_state)
                for group in response.groups
            ]
        return sorted(found, key=lambda group: group.group_id)

    async def coordinator(self, group_id: str) -> BrokerView:
        """The broker that coordinates a group."""
        find = self._client.coordinator
        return await self._client.retrying(lambda: find(CoordinatorKind.GROUP, group_id))

    async def describe(self, group_id: str) -> GroupDescription:
        """A group of consumers, classic or new.

        Raises UsageError when there is none of that name, or one of another type.
        """
        coordinator = await self.coordinator(group_id)
        try:
            answer = await self._describe(ApiKey.CONSUMER_GROUP_DESCRIBE, "group_ids", group_id)
        except (CodedError, UnsupportedByBrokerError) as error:
            # A broker may not know the new groups, or have switched them off.
            if isinstance(error, CodedError) and error.code not in _NOT_NEW:
                raise
        else:
            return consumer_group(answer, coordinator)
        answer = await self._describe(ApiKey.DESCRIBE_GROUPS, "groups", group_id)
        if answer.group_state == DEAD:
            raise error_for(ErrorCode.group_id_not_found, f"group {group_id!r}")
        return classic_group(answer, coordinator)

    async def _describe(self, api: ApiKey, field: str, group_id: str) -> Any:
        def check(response: Any) -> None:
            group = response.groups[0]
            raise_for(group.error_code, f"group {group_id!r}", group.error_message)

        draft = Draft(api, {field: (group_id,)})
        response = await self._client.call_coordinator(
            CoordinatorKind.GROUP, group_id, draft, check
        )
        return response.groups[0]

    async def offsets(
        self,
        group_id: str,
        partitions: Iterable[TopicPartition] | None,
        *,
        require_stable: bool,
    ) -> dict[TopicPartition, CommittedOffset]:
        """What a group has committed; nothing for one that there is not."""
        member = ConsumerGroupMetadata(group_id)
        return await self._offsets.fetch(member, partitions, require_stable=require_stable)

    async def alter_offsets(
        self, group_id: str, offsets: Mapping[TopicPartition, int | CommittedOffset]
    ) -> None:
        """Commit for a group without members. Raises UsageError when it has some."""
        committed = {tp: committed_offset(each) for tp, each in offsets.items()}
        try:
            await self._offsets.commit(ConsumerGroupMetadata(group_id), committed)
        except RejoinError as error:
            raise UsageError(f"group {group_id!r} has members: stop them first") from error

    async def delete(self, group_id: str) -> bool:
        """Delete an empty group with its offsets; False when there is none.

        Raises UsageError when it has members.
        """
        is_found = True

        def check(response: Any) -> None:
            nonlocal is_found
            code = response.results[0].error_code
            is_found = code != ErrorCode.group_id_not_found
            if is_found:
                raise_for(code, f"delete group {group_id!r}")

        draft = Draft(ApiKey.DELETE_GROUPS, {"groups_names": (group_id,)})
        await self._client.call_coordinator(CoordinatorKind.GROUP, group_id, draft, check)
        return is_found

    async def delete_offsets(self, group_id: str, partitions: Iterable[TopicPartition]) -> None:
        """Delete what a group committed for these partitions.

        Raises UsageError when there is no such group, or it reads one of the topics,
        UnknownTopicError for a partition that is not there.
        """
        topics: dict[str, list[dict[str, int]]] = {}
        for tp in partitions:
            topics.setdefault(tp.topic, []).append({"partition_index": tp.partition})
        what = f"delete offsets of group {group_id!r}"

        def check(response: Any) -> None:
            raise_for(response.error_code, what)

        fields = {
            "group_id": group_id,
            "topics": [{"name": name, "partitions": parts} for name, parts in topics.items()],
        }
        draft = Draft(ApiKey.OFFSET_DELETE, fields)
        response = await self._client.call_coordinator(
            CoordinatorKind.GROUP, group_id, draft, check
        )
        # To ask again would not bring a topic back, nor make the group leave one alone.
        for topic in response.topics:
            for answer in topic.partitions:
                raise_for(answer.error_code, f"{what}, {topic.name}-{answer.partition_index}")
