"""Transactions of a cluster: list and describe them, see a partition's producers, abort one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from streamkit.client.client import Client, CoordinatorKind
from streamkit.client.draft import Draft
from streamkit.client.errors import UnknownTopicError, raise_for
from streamkit.common.errors import UsageError
from streamkit.common.model import TopicPartition
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.units import to_ms, to_timestamp

DURATION_VERSION = 1
PATTERN_VERSION = 2
"""ListTransactions filters by duration since KIP-994, by pattern since KIP-1152."""


@dataclass(frozen=True, slots=True)
class TransactionListing:
    """A transactional id as its coordinator lists it; `state` by Kafka's name (`Ongoing`, …)."""

    transactional_id: str
    producer_id: int
    state: str


@dataclass(frozen=True, slots=True)
class TransactionDescription:
    """A transaction; `started_ms` is -1 when none is open."""

    transactional_id: str
    state: str
    producer_id: int
    producer_epoch: int
    timeout_ms: int
    started_ms: int
    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class ProducerState:
    """What a partition remembers of a producer; `transaction_start` is -1 when none is open."""

    producer_id: int
    producer_epoch: int
    last_sequence: int
    last_timestamp: int
    coordinator_epoch: int
    transaction_start: int


class Transactions:
    """Calls on transactions; each retries until `default.api.timeout.ms`.

    await Transactions(client).list(states=["Ongoing"])
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def list(
        self,
        *,
        states: Sequence[str] = (),
        producer_ids: Collection[int] = (),
        running_longer_than_ms: int = -1,
        id_pattern: str | None = None,
    ) -> list[TransactionListing]:
        """Every transactional id of the cluster that passes all filters, by id.

        Raises UsageError for a state that a broker does not know (it would list nothing).
        """
        view = await self._client.retrying(lambda: self._client.metadata.refresh([]))
        fields = {
            "state_filters": tuple(states),
            "producer_id_filters": tuple(producer_ids),
            "duration_filter": running_longer_than_ms,
            "transactional_id_pattern": id_pattern,
        }
        needed = DURATION_VERSION if running_longer_than_ms >= 0 else 0
        if id_pattern is not None:
            needed = PATTERN_VERSION
        draft = Draft(ApiKey.LIST_TRANSACTIONS, fields, version_min=needed)
        found: list[TransactionListing] = []
        for node_id in sorted(view.brokers):
            response = await self._client.request(
                node_id, draft, lambda answer: raise_for(answer.error_code, "list of transactions")
            )
            if response.unknown_state_filters:
                unknown = ", ".join(response.unknown_state_filters)
                raise UsageError(f"there is no transaction state {unknown}")
            found += [
                TransactionListing(each.transactional_id, each.producer_id, each.transaction_state)
                for each in response.transaction_states
            ]
        return sorted(found, key=lambda each: each.transactional_id)

    async def describe(self, transactional_id: str) -> TransactionDescription:
        """One transactional id. Raises UsageError when there is no such."""

        def check(response: Any) -> None:
            code = response.transaction_states[0].error_code
            raise_for(code, f"transactional id {transactional_id!r}")

        draft = Draft(ApiKey.DESCRIBE_TRANSACTIONS, {"transactional_ids": (transactional_id,)})
        response = await self._client.call_coordinator(
            CoordinatorKind.TRANSACTION, transactional_id, draft, check
        )
        found = response.transaction_states[0]
        return TransactionDescription(
            transactional_id,
            found.transaction_state,
            found.producer_id,
            found.producer_epoch,
            to_ms(found.transaction_timeout),
            to_timestamp(found.transaction_start_time),
            tuple(
                TopicPartition(str(topic.topic), int(index))
                for topic in found.topics
                for index in topic.partitions
            ),
        )

    async def producers(self, partition: TopicPartition) -> Sequence[ProducerState]:
        """The producers that a partition's leader remembers, by producer id."""
        asked = {"name": partition.topic, "partition_indexes": (partition.partition,)}

        async def attempt() -> Sequence[ProducerState]:
            leader = await self._leader(partition)
            draft = Draft(ApiKey.DESCRIBE_PRODUCERS, {"topics": [asked]})
            response = await self._client.call(leader, draft)
            answer = response.topics[0].partitions[0]
            raise_for(answer.error_code, f"producers of {partition}", answer.error_message)
            states = (
                ProducerState(
                    int(each.producer_id),
                    int(each.producer_epoch),
                    int(each.last_sequence),
                    int(each.last_timestamp),
                    int(each.coordinator_epoch),
                    int(each.current_txn_start_offset),
                )
                for each in answer.active_producers
            )
            return sorted(states, key=lambda each: each.producer_id)

        return await self._client.retrying(attempt)

    async def abort(self, partition: TopicPartition, start_offset: int) -> ProducerState:
        """Abort the transaction that is open in a partition since `start_offset`.

        For one that hangs: its coordinator knows nothing of it. Gives the producer whose
        transaction it was. Raises UsageError when none is open there.
        """
        producers = await self.producers(partition)
        found = [each for each in producers if each.transaction_start == start_offset]
        if not found:
            raise UsageError(f"no transaction is open in {partition} since offset {start_offset}")
        producer = found[0]
        marker = {
            "producer_id": producer.producer_id,
            "producer_epoch": producer.producer_epoch,
            "transaction_result": False,
            "topics": [
                {"name": partition.topic, "partition_indexes": (partition.partition,)},
            ],
            # A partition that no coordinator has written to tells -1, which no marker may carry.
            "coordinator_epoch": max(producer.coordinator_epoch, 0),
            "transaction_version": 0,
        }

        async def attempt() -> None:
            leader = await self._leader(partition)
            draft = Draft(ApiKey.WRITE_TXN_MARKERS, {"markers": [marker]})
            response = await self._client.call(leader, draft)
            for topic in response.markers[0].topics:
                for answer in topic.partitions:
                    raise_for(answer.error_code, f"abort in {partition}")

        await self._client.retrying(attempt)
        return producer

    async def _leader(self, partition: TopicPartition) -> int:
        view = await self._client.metadata.refresh([partition.topic])
        found = view.partition(partition)
        if found is None:
            raise UnknownTopicError(f"there is no partition {partition}")
        return found.leader
