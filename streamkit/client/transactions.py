"""The transactions of one producer: its requests to the coordinators, with their retries.

`transactions_state` decides; here are the connections and the waiting. Batches go through
`submit`, so that one that fails fails its transaction. Where brokers add partitions to a
transaction themselves (transaction.version 2, KIP-890) nothing is asked beforehand and each
transaction has an epoch of its own; towards others partitions and offsets are added first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streamkit.client.batch import NO_IDENTITY, OnDone, ProducerIdentity
from streamkit.client.client import Client, CoordinatorKind
from streamkit.client.draft import Draft
from streamkit.client.errors import UnsupportedByBrokerError, code_of
from streamkit.client.offsets import CommittedOffset, Membership, commit_topics
from streamkit.client.sender import BatchSender
from streamkit.client.transactions_state import (
    Step,
    TransactionPhase,
    TransactionState,
    Verdict,
    batch_error,
    sort,
    transaction_error,
)
from streamkit.common.errors import (
    AbortTransactionError,
    FatalError,
    RefreshMetadataError,
    RejoinError,
    RetriableError,
    StreamkitError,
    UsageError,
)
from streamkit.common.model import TopicPartition
from streamkit.net.dial import Connection
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode, is_retriable
from streamkit.records import BatchBuilder

_log = logging.getLogger(__name__)

TRANSACTION_VERSION_IMPLICIT: Final = 2
"""The level of the feature transaction.version from which brokers add partitions themselves."""

IMPLICIT_SINCE: Final = {ApiKey.PRODUCE: 12, ApiKey.TXN_OFFSET_COMMIT: 5, ApiKey.END_TXN: 5}
ADD_PARTITIONS_MAX: Final = 3
"""Later versions of AddPartitionsToTxn are for brokers."""

CONCURRENT_BACKOFF_MS: Final = 20
"""The wait while the coordinator finishes the transaction before (KAFKA-5477)."""

Codes = Callable[[Any], list[int]]
"""The error codes in an answer."""


@dataclass(frozen=True, slots=True)
class _Ask:
    """One request of a transaction, to the coordinator of `key`."""

    step: Step
    kind: CoordinatorKind
    key: str
    draft: Draft
    codes: Codes


class Transactions:
    """One transactional producer over a sender; one transaction at a time.

        transactions = Transactions(client, sender, "shop-1", transaction_timeout_ms=60_000)
        await transactions.initialise()
        transactions.begin()
        transactions.submit(tp, batch, on_done)
        await transactions.send_offsets(Membership("shop"), {tp: CommittedOffset(42)})
        await transactions.commit()

    Each call retries for `timeout_ms`, then raises a RetriableError; the outcome of a commit is
    unknown then, and the same call again goes on asking. AbortTransactionError asks for `abort`,
    RejoinError for `initialise` (another producer has this transactional id, or the coordinator
    gave up on the transaction), other errors are final.
    """

    def __init__(
        self,
        client: Client,
        sender: BatchSender,
        transactional_id: str,
        *,
        transaction_timeout_ms: int,
        timeout_ms: int = 60_000,
    ) -> None:
        self.state = TransactionState(transactional_id)
        self._client = client
        self._sender = sender
        self._id = transactional_id
        self._transaction_timeout_ms = transaction_timeout_ms
        self._timeout_ms = timeout_ms
        self._is_adding = False
        sender.set_gate(self.state.may_send)

    @property
    def phase(self) -> TransactionPhase:
        """Where the producer stands."""
        return self.state.phase

    async def initialise(self) -> None:
        """Get a producer id and epoch; fences older producers and aborts what they left open.

        What this producer had not delivered is dropped.
        """
        # Dropped first: what fails here belongs to the transaction that is given up.
        self._sender.drop_all(AbortTransactionError("the producer is initialised again"))
        self.state.initialising()
        self._sender.set_identity(NO_IDENTITY)
        try:
            await self._initialise(NO_IDENTITY)
        except RetriableError as error:
            self.state.failed(Verdict.ABORT, error)
            raise

    def begin(self) -> None:
        """Begin a transaction. Raises UsageError when the last one is still open."""
        self.state.begin()

    def submit(self, tp: TopicPartition, builder: BatchBuilder, on_done: OnDone) -> None:
        """Send a batch as part of the transaction; see `BatchSender.submit`."""
        self.state.add(tp)

        def on_answer(tp: TopicPartition, base_offset: int, error: StreamkitError | None) -> None:
            on_done(tp, base_offset, error if error is None else self._on_batch_failed(error))

        self._sender.submit(tp, builder, on_answer)
        if self.state.to_add() and not self._is_adding:
            self._is_adding = True
            self._client.background.spawn(self._add_partitions(), "add partitions")

    async def send_offsets(
        self, member: Membership, offsets: Mapping[TopicPartition, CommittedOffset]
    ) -> None:
        """Commit offsets with the transaction, on behalf of a group member (KIP-447)."""
        needs_group = self.state.needs_group(member.group_id)
        if not offsets:
            return
        if needs_group:
            await self._ask(self._add_offsets_ask(member.group_id))
            self.state.added_group(member.group_id)
        await self._ask(self._offsets_ask(member, offsets))

    async def commit(self) -> None:
        """Deliver everything, then commit. Raises what failed, when anything did."""
        self.state.committing()
        await self._sender.flush()
        if self.state.phase is not TransactionPhase.COMMITTING:
            assert self.state.error is not None, "only a failure ends the commit"
            raise self.state.error
        await self._end(Step.COMMIT)

    async def abort(self) -> None:
        """Drop what is not sent, wait for what is, then abort."""
        self.state.aborting()
        self._sender.abort_pending(AbortTransactionError("the transaction is aborted"))
        await self._sender.flush()
        has_begun = self.state.is_started
        before = self.state.identity
        await self._end(Step.ABORT)
        if has_begun and self.state.needs_new_epoch:
            self.state.initialising()
            await self._initialise(before)

    async def _end(self, step: Step) -> None:
        identity = None
        if self.state.is_started:
            answer = await self._ask(self._end_ask(step))
            if self.state.adds_implicitly and answer.producer_id >= 0:
                identity = ProducerIdentity(answer.producer_id, answer.producer_epoch)
        self.state.ended(identity)
        self._sender.set_identity(self.state.identity)

    async def _initialise(self, expected: ProducerIdentity) -> None:
        fields = {
            "transactional_id": self._id,
            "transaction_timeout": self._transaction_timeout_ms,
            "producer_id": expected.producer_id,
            "producer_epoch": expected.epoch,
        }
        draft = Draft(ApiKey.INIT_PRODUCER_ID, fields)
        ask = self._coordinator_ask(Step.INITIALISE, draft, _one_code)
        answer = await self._ask(ask)
        connection = await self._client.coordinator_connection(ask.kind, ask.key)
        is_implicit = _adds_implicitly(connection)
        identity = ProducerIdentity(answer.producer_id, answer.producer_epoch)
        self.state.initialised(identity, adds_implicitly=is_implicit)
        self._sender.produce_version_max = (
            None if is_implicit else IMPLICIT_SINCE[ApiKey.PRODUCE] - 1
        )
        self._sender.set_identity(identity)
        _log.debug("transactional id %s: producer %s, implicit %s", self._id, identity, is_implicit)

    async def _add_partitions(self) -> None:
        """Add what batches wait for, until nothing more is wanted."""
        try:
            while wanted := self.state.to_add():
                self.state.is_started = True
                identity = self.state.identity
                try:
                    await self._ask(self._add_partitions_ask(wanted))
                except StreamkitError as error:
                    if self.state.identity != identity:
                        continue
                    self.state.failed(Verdict.ABORT, error)
                    self._sender.abort_pending(error)
                    return
                if self.state.identity == identity:
                    self.state.added(wanted)
                    self._sender.wake()
        finally:
            self._is_adding = False

    def _on_batch_failed(self, error: StreamkitError) -> StreamkitError:
        found = batch_error(error)
        self.state.failed(_verdict_of(found), found)
        return found

    async def _ask(self, ask: _Ask) -> Any:
        """One request until it is answered; errors that are not retried reach the state.

        What a former producer id or epoch asked is not retried, and its errors change nothing.
        """
        clock, backoff = self._client.seams.clock, self._client.settings.retry_backoff
        deadline = clock.monotonic_ms() + self._timeout_ms
        identity = self.state.identity
        attempts = 0
        while True:
            try:
                return await self._ask_once(ask)
            except RetriableError as error:
                if self.state.identity != identity:
                    raise
                attempts += 1
                delay_ms = backoff.delay_ms(attempts, self._client.seams.random.random())
                if code_of(error) == ErrorCode.concurrent_transactions:
                    delay_ms = CONCURRENT_BACKOFF_MS
                if clock.monotonic_ms() + delay_ms >= deadline:
                    raise
                _log.debug("attempt %d: %s", attempts, error)
                if isinstance(error, RefreshMetadataError):
                    self._client.forget_coordinator(ask.kind, ask.key)
            except StreamkitError as error:
                if self.state.identity == identity:
                    code = code_of(error)
                    self.state.failed(Verdict.STOP if code is None else sort(ask.step, code), error)
                raise
            await asyncio.sleep(delay_ms / 1000)

    async def _ask_once(self, ask: _Ask) -> Any:
        connection = await self._client.coordinator_connection(ask.kind, ask.key)
        answer = await connection.call(self._client.fit(connection, ask.draft))
        code = _worst([code for code in ask.codes(answer) if code])
        if code:
            what = f"{ask.step.value} of transactional id {self._id!r}"
            raise transaction_error(ask.step, code, what)
        return answer

    def _identified(self) -> dict[str, Any]:
        return {
            "transactional_id": self._id,
            "producer_id": self.state.identity.producer_id,
            "producer_epoch": self.state.identity.epoch,
        }

    def _coordinator_ask(self, step: Step, draft: Draft, codes: Codes) -> _Ask:
        return _Ask(step, CoordinatorKind.TRANSACTION, self._id, draft, codes)

    def _version_max(self, api: ApiKey) -> int | None:
        return None if self.state.adds_implicitly else IMPLICIT_SINCE[api] - 1

    def _end_ask(self, step: Step) -> _Ask:
        fields = self._identified() | {"committed": step is Step.COMMIT}
        draft = Draft(ApiKey.END_TXN, fields, self._version_max(ApiKey.END_TXN))
        return self._coordinator_ask(step, draft, _one_code)

    def _add_partitions_ask(self, partitions: list[TopicPartition]) -> _Ask:
        topics: dict[str, list[int]] = {}
        for tp in partitions:
            topics.setdefault(tp.topic, []).append(tp.partition)
        fields = {f"v3_and_below_{name}": value for name, value in self._identified().items()}
        fields["v3_and_below_topics"] = [
            {"name": name, "partitions": numbers} for name, numbers in topics.items()
        ]
        draft = Draft(ApiKey.ADD_PARTITIONS_TO_TXN, fields, ADD_PARTITIONS_MAX)
        return self._coordinator_ask(Step.ADD_PARTITIONS, draft, _partition_codes)

    def _add_offsets_ask(self, group_id: str) -> _Ask:
        fields = self._identified() | {"group_id": group_id}
        draft = Draft(ApiKey.ADD_OFFSETS_TO_TXN, fields)
        return self._coordinator_ask(Step.ADD_OFFSETS, draft, _one_code)

    def _offsets_ask(
        self, member: Membership, offsets: Mapping[TopicPartition, CommittedOffset]
    ) -> _Ask:
        fields = self._identified() | {
            "group_id": member.group_id,
            "generation_id": member.member_epoch,
            "member_id": member.member_id,
            "group_instance_id": member.group_instance_id,
            "topics": commit_topics(offsets),
        }
        version_max = self._version_max(ApiKey.TXN_OFFSET_COMMIT)
        draft = Draft(ApiKey.TXN_OFFSET_COMMIT, fields, version_max)
        group = CoordinatorKind.GROUP
        return _Ask(Step.COMMIT_OFFSETS, group, member.group_id, draft, _offset_codes)


def _adds_implicitly(connection: Connection) -> bool:
    level = connection.features.get("transaction.version", 0)
    return level >= TRANSACTION_VERSION_IMPLICIT and all(
        (connection.version_of(api) or 0) >= since for api, since in IMPLICIT_SINCE.items()
    )


def _verdict_of(error: StreamkitError) -> Verdict:
    """What a failed batch asks for, by its exception."""
    if isinstance(error, RejoinError):
        return Verdict.FENCED
    if isinstance(error, FatalError | UnsupportedByBrokerError):
        return Verdict.STOP
    if isinstance(error, UsageError):
        code = code_of(error)
        return Verdict.ABORT if code is None else sort(Step.PRODUCE, code)
    return Verdict.ABORT


def _worst(codes: list[int]) -> int:
    """The code that decides: one that cannot be retried, if there is any."""
    final = [code for code in codes if not is_retriable(code)]
    return (final or codes or [0])[0]


def _one_code(answer: Any) -> list[int]:
    return [int(answer.error_code)]


def _partition_codes(answer: Any) -> list[int]:
    codes = [
        int(partition.partition_error_code)
        for topic in answer.results_by_topic_v3_and_below
        for partition in topic.results_by_partition
    ]
    # The others were not tried because of the one that has the real error.
    real = [code for code in codes if code != ErrorCode.operation_not_attempted]
    return real or codes


def _offset_codes(answer: Any) -> list[int]:
    return [int(partition.error_code) for topic in answer.topics for partition in topic.partitions]
