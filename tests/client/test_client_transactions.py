"""Transactions against a scripted coordinator: both protocols, faults, unknown outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from streamkit.client.client import Client
from streamkit.client.errors import BrokerFatalError
from streamkit.client.offsets import CommittedOffset, Membership
from streamkit.client.producer import Producer
from streamkit.client.sender import BatchSender
from streamkit.client.settings import ProducerSettings
from streamkit.client.transactions import Transactions
from streamkit.client.transactions_state import TransactionPhase
from streamkit.common.errors import (
    AbortTransactionError,
    ConfigError,
    RejoinError,
    RetriableError,
    StreamkitError,
    UsageError,
)
from streamkit.common.model import TopicPartition
from streamkit.protocol.apis import ApiKey
from streamkit.records import BatchBuilder, scan

TP = TopicPartition("orders", 2)
SOURCE = TopicPartition("carts", 4)
MEMBER = Membership("shop", "m-7", 9)
PRODUCER_ID = 5_003


class FakeCoordinator:
    """A transaction coordinator and a group coordinator that remember what they were asked."""

    def __init__(self, cluster: Any, *, implicit: bool) -> None:
        self.epoch = 20
        self.implicit = implicit
        self.said: list[str] = []
        self.versions: dict[ApiKey, set[int]] = {}
        if implicit:
            cluster.features["transaction.version"] = 2
        self._on(cluster, ApiKey.INIT_PRODUCER_ID, self._init)
        self._on(cluster, ApiKey.ADD_PARTITIONS_TO_TXN, self._add_partitions)
        self._on(cluster, ApiKey.ADD_OFFSETS_TO_TXN, self._add_offsets)
        self._on(cluster, ApiKey.TXN_OFFSET_COMMIT, self._offsets)
        self._on(cluster, ApiKey.END_TXN, self._end)

    def _on(self, cluster: Any, api: ApiKey, answer: Callable[[Any, int], dict[str, Any]]) -> None:
        def handle(message: Any, code: int) -> dict[str, Any]:
            self.versions.setdefault(api, set()).add(int(message.__version__))
            return answer(message, code)

        cluster.handlers[api] = handle

    def _init(self, message: Any, code: int) -> dict[str, Any]:
        self.said.append(f"init {message.producer_id} {message.producer_epoch}")
        if not code:
            self.epoch += 1
        return {"error_code": code, "producer_id": PRODUCER_ID, "producer_epoch": self.epoch}

    def _add_partitions(self, message: Any, code: int) -> dict[str, Any]:
        topics = message.v3_and_below_topics
        found = [(topic.name, number) for topic in topics for number in topic.partitions]
        self.said.append("add " + ",".join(f"{name}-{number}" for name, number in found))
        return {
            "results_by_topic_v3_and_below": [
                {
                    "name": topic.name,
                    "results_by_partition": [
                        {"partition_index": number, "partition_error_code": code}
                        for number in topic.partitions
                    ],
                }
                for topic in topics
            ]
        }

    def _add_offsets(self, message: Any, code: int) -> dict[str, Any]:
        self.said.append(f"add group {message.group_id}")
        return {"error_code": code}

    def _offsets(self, message: Any, code: int) -> dict[str, Any]:
        self.said.append(f"offsets of {message.member_id} {message.generation_id}")
        return {
            "topics": [
                {
                    "name": topic.name,
                    "partitions": [
                        {"partition_index": each.partition_index, "error_code": code}
                        for each in topic.partitions
                    ],
                }
                for topic in message.topics
            ]
        }

    def _end(self, message: Any, code: int) -> dict[str, Any]:
        self.said.append("commit" if message.committed else "abort")
        if self.implicit and not code and message.producer_epoch == self.epoch:
            self.epoch += 1
        return {"error_code": code, "producer_id": PRODUCER_ID, "producer_epoch": self.epoch}


def batch(value: str) -> BatchBuilder:
    builder = BatchBuilder(16_384)
    builder.append(None, value.encode(), 1_700_000_000_123)
    return builder


def ignore(_tp: TopicPartition, _base_offset: int, _error: StreamkitError | None) -> None:
    """For batches whose fate the transaction tells."""


def epochs(cluster: Any) -> list[tuple[int, int, bool]]:
    """Epoch, base sequence and whether it is transactional, of each batch written."""
    headers = [scan(data)[0] for data in cluster.partition(TP).batches]
    return [(h.producer_epoch, h.base_sequence, h.is_transactional) for h in headers]


Check = Callable[[Any, FakeCoordinator, Transactions], Any]


def run(world: Any, check: Check, *, implicit: bool = True, timeout_ms: int = 60_000) -> None:
    async def scenario(cluster: Any, seams: Any) -> None:
        cluster.add_topic("orders", partitions=3)
        coordinator = FakeCoordinator(cluster, implicit=implicit)
        settings = ProducerSettings.from_mapping({"bootstrap.servers": cluster.bootstrap})
        async with Client(settings, seams) as client:
            sender = BatchSender(client, settings, transactional_id="shop-1")
            transactions = Transactions(
                client, sender, "shop-1", transaction_timeout_ms=7_000, timeout_ms=timeout_ms
            )
            await transactions.initialise()
            coordinator.said.clear()
            await check(cluster, coordinator, transactions)

    world.run(scenario)


async def transact(transactions: Transactions, value: str = "x") -> None:
    transactions.begin()
    transactions.submit(TP, batch(value), ignore)
    await transactions.send_offsets(MEMBER, {SOURCE: CommittedOffset(42)})
    await transactions.commit()


def test_commit_where_brokers_add_partitions_themselves(world: Any) -> None:
    async def check(cluster: Any, coordinator: Any, transactions: Transactions) -> None:
        await transact(transactions)
        await transact(transactions)
        assert coordinator.said == ["offsets of m-7 9", "commit"] * 2
        assert epochs(cluster) == [(21, 0, True), (22, 0, True)]
        assert coordinator.versions[ApiKey.END_TXN] == {5}

    run(world, check)


def test_commit_where_partitions_are_added_first(world: Any) -> None:
    async def check(cluster: Any, coordinator: Any, transactions: Transactions) -> None:
        await transact(transactions)
        await transact(transactions)
        assert sorted(coordinator.said[:3]) == [
            "add group shop",
            "add orders-2",
            "offsets of m-7 9",
        ]
        assert coordinator.said.count("commit") == 2
        assert epochs(cluster) == [(21, 0, True), (21, 1, True)]
        assert coordinator.versions[ApiKey.END_TXN] == {4}
        assert coordinator.versions[ApiKey.TXN_OFFSET_COMMIT] == {4}
        produced = [int(m.__version__) for _, api, m in cluster.seen if api == ApiKey.PRODUCE]
        assert set(produced) == {11}

    run(world, check, implicit=False)


def test_aborted_transaction_goes_on_under_a_new_epoch(world: Any) -> None:
    async def check(cluster: Any, coordinator: Any, transactions: Transactions) -> None:
        transactions.begin()
        transactions.submit(TP, batch("x"), ignore)
        await transactions.send_offsets(MEMBER, {SOURCE: CommittedOffset(42)})
        await transactions.abort()
        await transact(transactions)
        assert "abort" in coordinator.said
        assert epochs(cluster)[-1] == (22, 0, True)
        assert (f"init {PRODUCER_ID} 21" in coordinator.said) is not coordinator.implicit

    run(world, check)
    run(world, check, implicit=False)


def test_empty_transaction_asks_nobody(world: Any) -> None:
    async def check(cluster: Any, coordinator: Any, transactions: Transactions) -> None:
        for end in (transactions.commit, transactions.abort):
            transactions.begin()
            await end()
        assert coordinator.said == []

    run(world, check)


def test_failed_batch_fails_the_commit_until_it_is_aborted(world: Any, fault: Any) -> None:
    async def check(cluster: Any, coordinator: Any, transactions: Transactions) -> None:
        cluster.faults.append(fault(ApiKey.PRODUCE, code=120))
        transactions.begin()
        transactions.submit(TP, batch("x"), ignore)
        with pytest.raises(AbortTransactionError, match="TRANSACTION_ABORTABLE"):
            await transactions.commit()
        await transactions.abort()
        await transact(transactions)
        assert coordinator.said == ["abort", "offsets of m-7 9", "commit"]

    run(world, check)


def test_lost_answer_to_a_commit_is_asked_for_again(world: Any, fault: Any) -> None:
    async def check(cluster: Any, coordinator: Any, transactions: Transactions) -> None:
        cluster.faults.append(fault(ApiKey.END_TXN, drop="after"))
        await transact(transactions)
        assert coordinator.said.count("commit") == 2
        assert transactions.state.identity.epoch == 22

    run(world, check)


def test_commit_that_timed_out_may_be_called_again(world: Any, fault: Any) -> None:
    async def check(cluster: Any, coordinator: Any, transactions: Transactions) -> None:
        cluster.faults.append(fault(ApiKey.END_TXN, code=51, times=100))
        with pytest.raises(RetriableError, match="CONCURRENT_TRANSACTIONS"):
            await transact(transactions)
        cluster.faults.clear()
        await transactions.commit()
        assert transactions.phase is TransactionPhase.READY

    run(world, check, timeout_ms=1_000)


def test_fenced_while_the_outcome_is_unknown_asks_for_a_new_producer(
    world: Any, fault: Any
) -> None:
    async def check(cluster: Any, coordinator: Any, transactions: Transactions) -> None:
        cluster.faults.append(fault(ApiKey.END_TXN, drop="after"))
        cluster.faults.append(fault(ApiKey.END_TXN, code=90))
        with pytest.raises(RejoinError, match="PRODUCER_FENCED"):
            await transact(transactions)
        with pytest.raises(RejoinError):
            transactions.begin()
        await transactions.initialise()
        await transact(transactions)

    run(world, check)


@pytest.mark.parametrize("implicit", [True, False])
def test_initialised_with_a_batch_on_its_way_begins_anew(world: Any, implicit: bool) -> None:
    async def check(cluster: Any, coordinator: Any, transactions: Transactions) -> None:
        failed: list[StreamkitError | None] = []
        transactions.begin()
        transactions.submit(TP, batch("lost"), lambda _tp, _offset, error: failed.append(error))
        await transactions.initialise()
        assert [type(error) for error in failed] == [AbortTransactionError]
        await transact(transactions)
        assert epochs(cluster)[-1] == (22, 0, True)

    run(world, check, implicit=implicit)


@pytest.mark.parametrize("code", [0, 48, 90])
def test_late_answer_of_a_former_producer_changes_nothing(
    world: Any, fault: Any, code: int
) -> None:
    async def check(cluster: Any, coordinator: Any, transactions: Transactions) -> None:
        cluster.faults.append(fault(ApiKey.ADD_PARTITIONS_TO_TXN, code=code, delay_ms=300))
        transactions.begin()
        transactions.submit(TP, batch("lost"), ignore)
        await asyncio.sleep(0.1)
        await transactions.initialise()
        await transact(transactions)
        assert coordinator.said.count("add orders-2") == 2
        assert epochs(cluster) == [(22, 0, True)]

    run(world, check, implicit=False)


def test_coordinator_that_moved_is_looked_up_again(world: Any, fault: Any) -> None:
    async def check(cluster: Any, coordinator: Any, transactions: Transactions) -> None:
        before = cluster.count(ApiKey.FIND_COORDINATOR)
        cluster.faults.append(fault(ApiKey.END_TXN, code=16))
        await transact(transactions)
        # One for the group, one because of the fault.
        assert cluster.count(ApiKey.FIND_COORDINATOR) == before + 2

    run(world, check)


def test_member_that_is_not_known_asks_for_an_abort(world: Any, fault: Any) -> None:
    async def check(cluster: Any, coordinator: Any, transactions: Transactions) -> None:
        cluster.faults.append(fault(ApiKey.TXN_OFFSET_COMMIT, code=25))
        with pytest.raises(AbortTransactionError, match="UNKNOWN_MEMBER_ID"):
            await transact(transactions)
        assert transactions.state.may_abort

    run(world, check)


def test_partition_that_cannot_be_added_fails_its_batches(world: Any, fault: Any) -> None:
    async def check(cluster: Any, coordinator: Any, transactions: Transactions) -> None:
        cluster.faults.append(fault(ApiKey.ADD_PARTITIONS_TO_TXN, code=48))
        transactions.begin()
        transactions.submit(TP, batch("x"), ignore)
        with pytest.raises(RejoinError, match="INVALID_TXN_STATE"):
            await transactions.commit()
        assert epochs(cluster) == []

    run(world, check, implicit=False)


def test_refused_transaction_timeout_stops(world: Any, fault: Any) -> None:
    async def check(cluster: Any, coordinator: Any, transactions: Transactions) -> None:
        cluster.faults.append(fault(ApiKey.INIT_PRODUCER_ID, code=50))
        for _ in range(2):
            with pytest.raises(BrokerFatalError, match="INVALID_TRANSACTION_TIMEOUT"):
                await transactions.initialise()

    run(world, check)


def with_producer(world: Any, check: Callable[[Any, FakeCoordinator, Producer], Any]) -> None:
    async def scenario(cluster: Any, seams: Any) -> None:
        cluster.add_topic("orders", partitions=3)
        coordinator = FakeCoordinator(cluster, implicit=True)
        config = {"bootstrap.servers": cluster.bootstrap, "transactional.id": "shop-1"}
        async with Producer(config, seams=seams) as producer:
            coordinator.said.clear()
            await check(cluster, coordinator, producer)
        if producer.settings.transactional_id:
            cluster.said_at_end = coordinator.said

    world.run(scenario)


def test_producer_sends_in_transactions(world: Any) -> None:
    async def check(cluster: Any, coordinator: Any, producer: Producer) -> None:
        await producer.begin()
        await producer.send("orders", "one", partition=2)
        await producer.send_offsets({SOURCE: 42}, group="shop", member_id="m-7", member_epoch=9)
        await producer.commit()
        assert coordinator.said == ["offsets of m-7 9", "commit"]
        assert len(epochs(cluster)) == 1

    with_producer(world, check)


def test_producer_drops_what_is_aborted_before_it_is_sent(world: Any) -> None:
    async def check(cluster: Any, coordinator: Any, producer: Producer) -> None:
        errors: list[StreamkitError | None] = []
        await producer.begin()
        await producer.send(
            "orders", "one", partition=2, on_delivery=lambda _, error: errors.append(error)
        )
        await producer.abort()
        assert [type(error) for error in errors] == [AbortTransactionError]
        assert epochs(cluster) == []

    with_producer(world, check)


def test_send_outside_of_a_transaction_is_refused(world: Any) -> None:
    async def check(cluster: Any, coordinator: Any, producer: Producer) -> None:
        with pytest.raises(UsageError, match="cannot send to orders while ready"):
            await producer.send("orders", "one")

    with_producer(world, check)


def test_transactions_need_their_setting_and_idempotence(world: Any) -> None:
    with pytest.raises(ConfigError, match=r"transactional\.id needs enable\.idempotence"):
        ProducerSettings.from_mapping({"transactional.id": "shop-1", "acks": "1"})

    async def scenario(cluster: Any, seams: Any) -> None:
        async with Producer({"bootstrap.servers": cluster.bootstrap}, seams=seams) as producer:
            with pytest.raises(UsageError, match=r"transactional\.id"):
                await producer.begin()

    world.run(scenario)
