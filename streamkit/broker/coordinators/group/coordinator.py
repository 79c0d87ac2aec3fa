"""The group coordinator as the rest of the node sees it.

Each group lives on one partition of `__consumer_offsets`; the partition's leader coordinates it.
Request errors that concern the whole request are raised as ApiError; NOT_COORDINATOR and
COORDINATOR_LOAD_IN_PROGRESS are among them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from streamkit.broker.coordinators.group import commits
from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.classic_calls import (
    ClassicCalls,
    classic_environment,
)
from streamkit.broker.coordinators.group.consumer.config import ConsumerConfig, consumer_config
from streamkit.broker.coordinators.group.consumer.environment import Environment
from streamkit.broker.coordinators.group.consumer_calls import ConsumerCalls
from streamkit.broker.coordinators.group.counts import GroupCounts, offset_tombstones
from streamkit.broker.coordinators.group.effects import Answer
from streamkit.broker.coordinators.group.listing import ListedGroup, list_groups
from streamkit.broker.coordinators.group.offsets import tombstones, with_topic_ids
from streamkit.broker.coordinators.group.requests import (
    CommitRequest,
    FetchAnswer,
    FetchRequest,
)
from streamkit.broker.coordinators.group.state import GroupShard
from streamkit.broker.coordinators.group.streams.config import StreamsConfig, streams_config
from streamkit.broker.coordinators.group.streams.describe import Silence, describe, described_error
from streamkit.broker.coordinators.group.streams.fencing import rebalance_timer, session_timer
from streamkit.broker.coordinators.group.streams.heartbeat import (
    CreateTopics,
    HeartbeatContext,
    heartbeat,
)
from streamkit.broker.coordinators.group.streams.messages import (
    HeartbeatRequest,
    HeartbeatResponse,
    error_response,
)
from streamkit.broker.coordinators.group.streams.model import MemberState
from streamkit.broker.coordinators.runtime import (
    Result,
    Runtime,
    RuntimeTimes,
    StartTimer,
    TransactionEnd,
    WithinTransaction,
)
from streamkit.broker.coordinators.seams import (
    CreateInternalTopics,
    GroupConfigs,
    PartitionLog,
    StartTask,
    Timers,
    TopicCatalog,
)
from streamkit.broker.settings import BrokerSettings
from streamkit.common.errors import StreamkitError
from streamkit.common.model import TopicPartition
from streamkit.common.seams import Clock
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.rebalance.rules import InternalTopic

logger = logging.getLogger(__name__)

OFFSETS_TOPIC = "__consumer_offsets"
_CLEAN_UP = "clean up"


def partition_for_group(group_id: str, partitions: int) -> int:
    """The partition of `__consumer_offsets` that a group lives on: Java's hash of its id."""
    value = 0
    encoded = group_id.encode("utf-16-be", "surrogatepass")
    for index in range(0, len(encoded), 2):
        value = (31 * value + (encoded[index] << 8) + encoded[index + 1]) & 0xFFFFFFFF
    signed = value - (1 << 32) if value & 0x80000000 else value
    # Java's abs of the smallest int is negative; Kafka takes 0 for it.
    return 0 if signed == -(1 << 31) else abs(signed) % partitions


class _Codec:
    """The records of `__consumer_offsets` for the runtime."""

    def encode(self, record: rec.Record) -> tuple[bytes, bytes | None]:
        return rec.encode_key(record.key), rec.encode_value(record)

    def decode(self, key: bytes, value: bytes | None) -> rec.Record | None:
        return rec.decode(key, value)


class GroupCoordinator:
    """All groups whose partition this node leads."""

    def __init__(
        self,
        settings: BrokerSettings,
        clock: Clock,
        timers: Timers,
        start_task: StartTask,
        *,
        topics: TopicCatalog,
        create_internal_topics: CreateInternalTopics,
        group_configs: GroupConfigs,
        make_id: Callable[[], str],
    ) -> None:
        self.codec = _Codec()
        self._settings = settings
        self._clock = clock
        self._start_task = start_task
        self._topics = topics
        self._create_internal_topics = create_internal_topics
        self._group_configs = group_configs
        self._being_created: set[str] = set()
        self.counts = GroupCounts()
        self._runtime: Runtime[GroupShard] = Runtime(
            self, clock, timers, start_task, self.counts.note
        )
        self._new_topics_version = topics.version
        env = Environment(
            clock.now_ms,
            make_id,
            self._consumer_config,
            lambda: self._topics,
            lambda: self._new_topics_version,
            classic_environment(settings, clock.now_ms, make_id),
        )
        self.classic = ClassicCalls(settings, self._runtime, self.partition_for, env)
        self.consumer = ConsumerCalls(self._runtime, self.partition_for, self._consumer_config, env)

    def partition_for(self, group_id: str) -> int:
        """The partition of `__consumer_offsets` that a group lives on."""
        # The setting is for the topic that is yet to be made: it may have changed since.
        partitions = self._topics.partition_count(OFFSETS_TOPIC)
        return partition_for_group(
            group_id, partitions or self._settings.offsets_topic_num_partitions
        )

    async def on_elected(self, partition: int, leader_epoch: int, log: PartitionLog) -> None:
        """This node leads a partition from `leader_epoch` on: load its groups by replay."""
        await self._runtime.on_elected(partition, leader_epoch, log)

    def shards(self) -> Iterator[GroupShard]:
        """The loaded partitions' states, to look at."""
        return (shard for _, shard in self._runtime.active())

    def phases(self) -> Mapping[str, int]:
        """How many partitions are loading, active or failed."""
        return self._runtime.phases()

    @property
    def times(self) -> RuntimeTimes:
        """How long writes and loading take."""
        return self._runtime.times

    @property
    def waiting_count(self) -> int:
        """How many writes wait for their turn."""
        return self._runtime.waiting_count

    def on_resigned(self, partition: int, leader_epoch: int | None = None) -> None:
        """This node leads a partition no more: forget its groups."""
        self._runtime.on_resigned(partition, leader_epoch)

    def on_metadata(self, topics: TopicCatalog, changed: Iterable[str] | None = None) -> None:
        """The image moved on; `changed` names the topics made, deleted or resized, None: any."""
        before, self._topics = self._topics, topics
        names = None if changed is None else frozenset(changed)
        if names is None or any(
            topics.topic_id(name) not in (None, before.topic_id(name)) for name in names
        ):
            self._new_topics_version = topics.version
        for partition, shard in self._runtime.active():
            self._mark_stale(shard, names)
            self.consumer.mark_stale(shard, names)
            gone = frozenset(name for name in names or () if topics.topic_id(name) is None)
            if gone:
                self._start_task(self._drop_offsets(partition, gone))

    async def commit_offsets(self, request: CommitRequest) -> Mapping[TopicPartition, ErrorCode]:
        """Commit offsets; an error for each partition. Raises ApiError for the whole request.

        Old clients commit for the group "", which Kafka takes, too.
        """
        names = {partition.topic for partition in request.offsets}
        known = with_topic_ids(request, {name: self._topics.topic_id(name) for name in names})
        metadata_max = self._settings.offset_metadata_max_bytes

        def operation(shard: GroupShard) -> Result[GroupShard, Mapping[TopicPartition, ErrorCode]]:
            result = commits.commit(shard, known, self._clock.now_ms(), metadata_max)
            return Result(result.response, result.records, self.classic.committed(shard, known))

        return await self._runtime.write(self.partition_for(request.group_id), operation)

    async def commit_in_transaction(
        self, request: CommitRequest, transaction: WithinTransaction
    ) -> Mapping[TopicPartition, ErrorCode]:
        """Commit offsets that count when the producer's transaction does. Raises ApiError.

        They are stored without topic ids, as Kafka does.
        """
        if not request.group_id:
            raise ApiError(ErrorCode.invalid_group_id, "the group id is empty")
        metadata_max = self._settings.offset_metadata_max_bytes

        def operation(shard: GroupShard) -> Result[GroupShard, Mapping[TopicPartition, ErrorCode]]:
            result = commits.commit(shard, request, self._clock.now_ms(), metadata_max)
            return Result(result.response, result.records, result.effects, transaction)

        return await self._runtime.write(self.partition_for(request.group_id), operation)

    async def end_transaction(self, partition: int, end: TransactionEnd) -> None:
        """Commit or drop the offsets of a transaction in a partition of `__consumer_offsets`.

        Raises ApiError when this node does not lead it, or the log refuses the marker.
        """
        await self._runtime.write(partition, lambda _: Result(None, transaction=end))

    async def fetch_offsets(self, request: FetchRequest) -> FetchAnswer:
        """Committed offsets of one group. Never raises ApiError: it is in the answer."""
        partition = self.partition_for(request.group_id)
        try:
            return self._runtime.read(partition, lambda shard: commits.fetch(shard, request))
        except ApiError as error:
            return FetchAnswer(request.group_id, error=error.code)

    async def streams_heartbeat(
        self, request: HeartbeatRequest, client_id: str, client_host: str
    ) -> HeartbeatResponse:
        """Answer a StreamsGroupHeartbeatRequest (v0) with its response, errors included."""
        partition = self.partition_for(request.group_id)

        def operation(shard: GroupShard) -> Result[GroupShard, HeartbeatResponse]:
            context = HeartbeatContext(
                client_id,
                # As Java writes an address that was not looked up by name.
                f"/{client_host}",
                self._clock.now_ms(),
                self._streams_config(request.group_id),
                self._topics,
            )
            return heartbeat(shard, request, context)

        try:
            return await self._runtime.write(partition, operation)
        except ApiError as error:
            return error_response(error)

    async def streams_describe(self, group_ids: Sequence[str]) -> tuple[Any, ...]:
        """A `DescribedGroup` (StreamsGroupDescribe v0) for each group id, errors included."""
        return tuple(self._describe(group_id) for group_id in group_ids)

    async def delete_group(self, group_id: str) -> ErrorCode:
        """Remove an empty group and its offsets. Raises ApiError when it is not here."""
        return await self._runtime.write(
            self.partition_for(group_id), lambda shard: commits.delete(shard, group_id)
        )

    async def delete_offsets(
        self, group_id: str, partitions: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, ErrorCode]:
        """Remove offsets; an error for each. Raises ApiError for the whole group."""
        if not group_id:
            raise ApiError(ErrorCode.invalid_group_id, "the group id is empty")

        def operation(shard: GroupShard) -> Result[GroupShard, commits.Committed]:
            result = commits.delete_offsets(shard, group_id, partitions)
            self.counts.offsets_deleted += offset_tombstones(result.records)
            return result

        return await self._runtime.write(self.partition_for(group_id), operation)

    def list_groups(
        self, states: Sequence[str] = (), types: Sequence[str] = ()
    ) -> Sequence[ListedGroup]:
        """The groups coordinated here, filtered."""
        shards = self._runtime.active()
        return [group for _, shard in shards for group in list_groups(shard, states, types)]

    def make_state(self) -> GroupShard:
        """An empty partition, for the runtime."""
        return GroupShard()

    def loaded(self, state: GroupShard) -> Sequence[Any]:
        """The timers of a partition that was loaded: every member is given a whole session."""
        effects: list[Any] = [self._clean_up_timer()]
        for group_id, group in sorted(state.streams.items()):
            session_ms = self._streams_config(group_id).session_timeout_ms
            for member in group.member_list:
                effects.append(session_timer(group_id, member.member_id, session_ms))
                if member.state is MemberState.UNREVOKED_TASKS:
                    timeout_ms = member.rebalance_timeout_ms
                    effects.append(
                        rebalance_timer(group_id, member.member_id, member.epoch, timeout_ms)
                    )
        effects += self.consumer.loaded(state)
        effects += self.classic.loaded(state)
        return effects

    def unloaded(self, state: GroupShard) -> Sequence[Any]:
        """Answers for those who wait, for the runtime."""
        return self.classic.unloaded(state)

    def perform(self, partition: int, effect: Any) -> None:
        """Effects beyond timers, for the runtime."""
        if isinstance(effect, Answer):
            ticket = effect.ticket
            assert isinstance(ticket, asyncio.Future), "a ticket is the future of its call"
            if not ticket.done():
                ticket.set_result(effect.response)
            return
        assert isinstance(effect, CreateTopics), f"no such effect: {effect}"
        topics = [each for each in effect.topics if each.name not in self._being_created]
        if topics:
            self._being_created.update(each.name for each in topics)
            self._start_task(self._create_topics(partition, effect, topics))

    async def _create_topics(
        self, partition: int, effect: CreateTopics, topics: Sequence[InternalTopic]
    ) -> None:
        names = [topic.name for topic in topics]
        try:
            errors = await self._create_internal_topics(topics)
        except StreamkitError as error:
            errors = dict.fromkeys(names, str(error))
        finally:
            self._being_created.difference_update(names)
        if not errors:
            return
        until_ms = self._clock.now_ms() + effect.retry_ms
        logger.warning("group %s: internal topics not created: %s", effect.group_id, errors)
        for known, shard in self._runtime.active():
            if known == partition and effect.group_id in shard.streams:
                told = {name: (text, until_ms) for name, text in errors.items()}
                shard.soft_of(effect.group_id).creation_errors.update(told)

    def _consumer_config(self, group_id: str) -> ConsumerConfig:
        return consumer_config(self._settings, self._group_configs(group_id))

    def _streams_config(self, group_id: str) -> StreamsConfig:
        return streams_config(self._settings, self._group_configs(group_id))

    def _describe(self, group_id: str) -> Any:
        count = self._topics.partition_count
        config = self._streams_config(group_id)
        silence = Silence(
            self._clock.now_ms(), 2 * config.heartbeat_interval_ms, config.session_timeout_ms
        )
        try:
            return self._runtime.read(
                self.partition_for(group_id),
                lambda shard: describe(shard, group_id, count, silence),
            )
        except ApiError as error:
            return described_error(group_id, error.code, error.message)

    @staticmethod
    def _mark_stale(shard: GroupShard, changed: frozenset[str] | None) -> None:
        for group in shard.streams.values():
            required = group.topology.required_topics if group.topology is not None else ()
            if changed is None or not changed.isdisjoint(required):
                group.soft.is_metadata_stale = True

    async def _drop_offsets(self, partition: int, topics: frozenset[str]) -> None:
        """Offsets of deleted topics go with them."""
        try:
            await self._runtime.write(partition, _offset_remover(topics))
        except ApiError as error:
            logger.info("offsets of %s were not removed: %s", sorted(topics), error)

    def _clean_up_timer(self) -> StartTimer[GroupShard]:
        """Expire offsets now and then, as long as the partition is led here."""
        retention_ms = self._settings.offsets_retention_minutes * 60_000

        def operation(shard: GroupShard) -> Result[GroupShard, None]:
            result = commits.clean_up(shard, self._clock.now_ms(), retention_ms)
            self.counts.offsets_expired += offset_tombstones(result.records)
            return Result(None, result.records, (self._clean_up_timer(),))

        interval_ms = self._settings.offsets_retention_check_interval_ms
        return StartTimer(_CLEAN_UP, interval_ms, operation)


def _offset_remover(
    topics: frozenset[str],
) -> Callable[[GroupShard], Result[GroupShard, None]]:
    def remove(shard: GroupShard) -> Result[GroupShard, None]:
        found: list[rec.Record] = []
        for group_id in sorted(shard.offsets.groups()):
            known = shard.offsets.partitions(group_id)
            gone = sorted(each for each in known if each.topic in topics)
            found += tombstones(group_id, gone)
        return Result(None, found)

    return remove
