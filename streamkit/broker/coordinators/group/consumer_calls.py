"""What the coordinator does for consumer groups: from a request to its answer.

Classic members of such groups come in through `ClassicCalls`, with the same `Environment`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from streamkit.broker.coordinators.group.consumer.config import ConsumerConfig
from streamkit.broker.coordinators.group.consumer.describe import describe, described_error
from streamkit.broker.coordinators.group.consumer.environment import Caller, Environment
from streamkit.broker.coordinators.group.consumer.fencing import start_rebalance, start_session
from streamkit.broker.coordinators.group.consumer.heartbeat import heartbeat
from streamkit.broker.coordinators.group.consumer.messages import (
    HeartbeatRequest,
    HeartbeatResponse,
    error_response,
)
from streamkit.broker.coordinators.group.consumer.model import MemberState
from streamkit.broker.coordinators.group.effects import Outcome
from streamkit.broker.coordinators.group.state import GroupShard
from streamkit.broker.coordinators.runtime import Runtime
from streamkit.protocol.errors import ApiError

PartitionOf = Callable[[str], int]


class ConsumerCalls:
    """The requests of the consumer protocol."""

    def __init__(
        self,
        runtime: Runtime[GroupShard],
        partition_of: PartitionOf,
        config: Callable[[str], ConsumerConfig],
        env: Environment,
    ) -> None:
        self._runtime = runtime
        self._partition_of = partition_of
        self._config = config
        self._env = env

    async def heartbeat(
        self, request: HeartbeatRequest, client_id: str, client_host: str, api_version: int
    ) -> HeartbeatResponse:
        """Answer a ConsumerGroupHeartbeat (as v1) with its response, errors included."""
        # As Java writes an address that was not looked up by name.
        caller = Caller(client_id, f"/{client_host}", api_version)
        try:
            return await self._runtime.write(
                self._partition_of(request.group_id),
                lambda shard: heartbeat(shard, request, caller, self._env),
            )
        except ApiError as error:
            return error_response(error)

    def describe(self, group_ids: Sequence[str]) -> list[dict[str, object]]:
        """A `DescribedGroup` by field name for each group id, errors included."""
        return [self._describe(group_id) for group_id in group_ids]

    def _describe(self, group_id: str) -> dict[str, object]:
        config, topics = self._config(group_id), self._env.topics()
        try:
            return self._runtime.read(
                self._partition_of(group_id),
                lambda shard: describe(shard, group_id, config, topics),
            )
        except ApiError as error:
            return described_error(group_id, error.code, error.message)

    def loaded(self, shard: GroupShard) -> Sequence[Any]:
        """The timers of the members that were loaded."""
        out = Outcome()
        for group_id, group in sorted(shard.consumer.items()):
            for member in group.member_list:
                start_session(group_id, member.member_id, self._env, out)
                if member.state is MemberState.UNREVOKED_PARTITIONS:
                    start_rebalance(group_id, member, self._env, out)
        return out.effects

    @staticmethod
    def mark_stale(shard: GroupShard, changed: Iterable[str] | None) -> None:
        """Topics changed; None stands for any."""
        names = None if changed is None else frozenset(changed)
        for group in shard.consumer.values():
            if names is None or not names.isdisjoint(group.subscribed_topics):
                group.is_metadata_stale = True
