"""What the coordinator does for classic members: from a request to its answer.

JoinGroup and SyncGroup wait for other members: an operation leaves their ticket in the group, an
`Answer` effect of a later one brings the response.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from streamkit.broker.coordinators.group.classic import members
from streamkit.broker.coordinators.group.classic.describe import describe, described_error
from streamkit.broker.coordinators.group.classic.join import join
from streamkit.broker.coordinators.group.classic.messages import (
    Environment,
    HeartbeatRequest,
    JoinAnswer,
    JoinRequest,
    Leaver,
    LeaverAnswer,
    SyncAnswer,
    SyncRequest,
)
from streamkit.broker.coordinators.group.classic.model import ClassicGroup, ClassicState
from streamkit.broker.coordinators.group.classic.rebalance import prepare, start_session
from streamkit.broker.coordinators.group.consumer import classic_members
from streamkit.broker.coordinators.group.consumer.environment import (
    Environment as ConsumerEnvironment,
)
from streamkit.broker.coordinators.group.effects import Outcome, Ticket
from streamkit.broker.coordinators.group.requests import CommitRequest
from streamkit.broker.coordinators.group.state import GroupShard
from streamkit.broker.coordinators.runtime import Result, Runtime
from streamkit.broker.settings import BrokerSettings
from streamkit.protocol.errors import ApiError, ErrorCode

PartitionOf = Callable[[str], int]
Waiting = Callable[[GroupShard, Ticket], Outcome]


class ClassicCalls:
    """The requests of the classic protocol."""

    def __init__(
        self,
        settings: BrokerSettings,
        runtime: Runtime[GroupShard],
        partition_of: PartitionOf,
        consumer_env: ConsumerEnvironment,
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._partition_of = partition_of
        self._consumer_env = consumer_env
        self._env = consumer_env.classic

    async def join(self, request: JoinRequest) -> JoinAnswer:
        """Answered when the group's barrier opens. Raises ApiError."""
        low = self._settings.group_min_session_timeout_ms
        high = self._settings.group_max_session_timeout_ms
        _check_group_id(request.group_id)
        if not low <= request.session_timeout_ms <= high:
            raise ApiError(ErrorCode.invalid_session_timeout, f"it must be within {low}..{high} ms")

        def operation(shard: GroupShard, ticket: Ticket) -> Outcome:
            group = shard.consumer.get(request.group_id)
            if group is not None and group.members:
                return classic_members.join(group, request, self._consumer_env, ticket)
            if request.group_id not in shard.classic and shard.has_members(request.group_id):
                raise ApiError(ErrorCode.inconsistent_group_protocol, "another type of group")
            return join(shard, request, self._env, ticket)

        answer: JoinAnswer = await self._wait(request.group_id, operation)
        return answer

    async def sync(self, request: SyncRequest) -> SyncAnswer:
        """Answered when the leader's assignment is committed. Raises ApiError."""
        _check_group_id(request.group_id)

        def operation(shard: GroupShard, ticket: Ticket) -> Outcome:
            consumer = shard.consumer.get(request.group_id)
            if consumer is not None:
                return classic_members.sync(consumer, request, self._consumer_env, ticket)
            group = _group_or_raise(shard, request.group_id)
            return members.sync(group, request, self._env, ticket)

        answer: SyncAnswer = await self._wait(request.group_id, operation)
        return answer

    async def heartbeat(self, request: HeartbeatRequest) -> ErrorCode:
        """Raises ApiError."""
        _check_group_id(request.group_id)

        def operation(shard: GroupShard) -> Result[GroupShard, ErrorCode]:
            consumer = shard.consumer.get(request.group_id)
            if consumer is not None:
                out, error = classic_members.heartbeat(consumer, request, self._consumer_env)
            else:
                group = _group_or_raise(shard, request.group_id)
                out, error = members.heartbeat(group, request, self._env)
            return out.result(error)

        try:
            return await self._runtime.write(self._partition_of(request.group_id), operation)
        except ApiError as error:
            if error.code is ErrorCode.coordinator_load_in_progress:
                # Nobody is removed while the group is loaded: no reason to alarm the member.
                return ErrorCode.none
            raise

    async def leave(self, group_id: str, leavers: Sequence[Leaver]) -> Sequence[LeaverAnswer]:
        """Raises ApiError."""
        _check_group_id(group_id)

        def operation(shard: GroupShard) -> Result[GroupShard, Sequence[LeaverAnswer]]:
            consumer = shard.consumer.get(group_id)
            if consumer is not None:
                out, answers = classic_members.leave(consumer, leavers, self._consumer_env)
                return out.result(answers)
            group = shard.classic.get(group_id)
            if group is None:
                unknown = ErrorCode.unknown_member_id
                return Result([LeaverAnswer(*each[:2], unknown) for each in leavers])
            out, answers = members.leave(group, leavers, self._env)
            return out.result(answers)

        return await self._runtime.write(self._partition_of(group_id), operation)

    def describe(self, group_id: str) -> dict[str, object]:
        """A `DescribedGroup` by field name; a group of another type is not to be found."""
        try:
            return self._runtime.read(
                self._partition_of(group_id), lambda shard: _described(shard, group_id)
            )
        except ApiError as error:
            return described_error(group_id, error.code, error.message)

    def committed(self, shard: GroupShard, request: CommitRequest) -> Sequence[Any]:
        """A member that commits lives: its session counts anew."""
        out = Outcome()
        group = shard.classic.get(request.group_id)
        member = None if group is None else group.members.get(request.member_id)
        states = (ClassicState.STABLE, ClassicState.PREPARING)
        if group is not None and member is not None and group.state in states:
            start_session(group, member, self._env, out)
        return out.effects

    def loaded(self, shard: GroupShard) -> Sequence[Any]:
        """The timers of the members that were loaded."""
        out = Outcome()
        for group in shard.classic.values():
            for member in group.members.values():
                start_session(group, member, self._env, out)
            if len(group.members) > self._env.size_max:
                prepare(group, self._env, out, f"more than {self._env.size_max} members")
        return out.effects

    def unloaded(self, shard: GroupShard) -> Sequence[Any]:
        """Those who wait look for another coordinator."""
        out = Outcome()
        for group in shard.classic.values():
            for member in group.members.values():
                moved = ErrorCode.not_coordinator
                out.answer(member.join_ticket, JoinAnswer(moved, member.member_id))
                out.answer(member.sync_ticket, SyncAnswer(moved))
        return out.effects

    async def _wait(self, group_id: str, operation: Waiting) -> Any:
        ticket: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await self._runtime.write(
            self._partition_of(group_id), lambda shard: operation(shard, ticket).result(None)
        )
        return await ticket


def classic_environment(
    settings: BrokerSettings, now_ms: Callable[[], int], make_id: Callable[[], str]
) -> Environment:
    """What operations on classic groups need to know."""
    return Environment(
        now_ms, make_id, settings.group_initial_rebalance_delay_ms, settings.group_max_size
    )


def _check_group_id(group_id: str) -> None:
    if not group_id:
        raise ApiError(ErrorCode.invalid_group_id, "the group id is empty")


def _group_or_raise(shard: GroupShard, group_id: str) -> ClassicGroup:
    group = shard.classic.get(group_id)
    if group is None:
        raise ApiError(ErrorCode.unknown_member_id, f"Group {group_id} not found.")
    return group


def _described(shard: GroupShard, group_id: str) -> dict[str, object]:
    group = shard.classic.get(group_id)
    if group is not None:
        return describe(group)
    if not shard.is_typed(group_id) and shard.offsets.has_group(group_id):
        return describe(ClassicGroup(group_id, ClassicState.EMPTY))
    message = f"Group {group_id} not found."
    return described_error(group_id, ErrorCode.group_id_not_found, message)
