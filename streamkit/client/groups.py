"""Groups of every type: list them, delete them, delete what they committed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from streamkit.client.client import Client, CoordinatorKind
from streamkit.client.draft import Draft
from streamkit.client.errors import raise_for
from streamkit.client.metadata import BrokerView
from streamkit.common.model import TopicPartition
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode

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
        """Delete what a group committed for these partitions."""
        topics: dict[str, list[dict[str, int]]] = {}
        for tp in partitions:
            topics.setdefault(tp.topic, []).append({"partition_index": tp.partition})
        what = f"delete offsets of group {group_id!r}"

        def check(response: Any) -> None:
            raise_for(response.error_code, what)
            for topic in response.topics:
                for answer in topic.partitions:
                    raise_for(answer.error_code, f"{what}, {topic.name}")

        fields = {
            "group_id": group_id,
            "topics": [{"name": name, "partitions": parts} for name, parts in topics.items()],
        }
        draft = Draft(ApiKey.OFFSET_DELETE, fields)
        await self._client.call_coordinator(CoordinatorKind.GROUP, group_id, draft, check)
