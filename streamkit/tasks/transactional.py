"""The network's half of exactly-once: one transaction after the other, over all tasks.

A transaction begins with the first batch after a commit. Commit: offsets with the member's id and
epoch go into it, then EndTxn; while the outcome is unknown it is asked for again. Roll back: abort,
or, where nobody knows what became of the transaction or the producer is fenced, a new producer
epoch, which settles it either way. `era` counts roll-backs: what is said of batches of an older
era means nothing any more.
"""

from __future__ import annotations

import asyncio
import logging

from streamkit.client import offsets as group_offsets
from streamkit.client.batch import OnDone
from streamkit.client.offsets import CommittedOffset
from streamkit.client.transactions import Transactions
from streamkit.client.transactions_state import TransactionPhase, is_member_lost
from streamkit.common.errors import (
    AbortTransactionError,
    RejoinError,
    StreamkitError,
)
from streamkit.common.model import TopicPartition
from streamkit.rebalance.member import JOIN_EPOCH
from streamkit.records import BatchBuilder
from streamkit.tasks.membership import Membership
from streamkit.tasks.messages import CommitOffsets
from streamkit.tasks.purge import Purger

log = logging.getLogger(__name__)

ABORT_AT_END_MS = 2_000


class TransactionalWriter:
    """Writes, commits and rolls back for one worker."""

    def __init__(self, transactions: Transactions, membership: Membership, purger: Purger) -> None:
        self.era = 0
        self._transactions = transactions
        self._membership = membership
        self._purger = purger
        self._committing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Fence the producers before this one, and end what they left open."""
        await self._transactions.initialise()
        identity = self._transactions.state.identity
        log.info(
            "transactional id %s: producer id %d, epoch %d",
            self._transactions.state.transactional_id, *identity,
        )  # fmt: skip

    def submit(self, tp: TopicPartition, batch: BatchBuilder, on_done: OnDone) -> None:
        """Send a batch in the current transaction, or in a new one."""
        era = self.era

        def on_answer(tp: TopicPartition, base_offset: int, error: StreamkitError | None) -> None:
            if era == self.era:
                on_done(tp, base_offset, error)

        try:
            self._maybe_begin()
            self._transactions.submit(tp, batch, on_answer)
        except StreamkitError as error:
            on_answer(tp, -1, error)

    async def commit(self, command: CommitOffsets) -> StreamkitError | None:
        """Commit; None when it is through, or what it asks for.

        AbortTransactionError: roll back. RejoinError: the tasks are lost, or the outcome is.
        """
        self._committing = asyncio.current_task()
        try:
            await self._commit(command)
        except AbortTransactionError as error:
            return RejoinError(str(error)) if is_member_lost(error) else error
        except StreamkitError as error:
            return error
        finally:
            self._committing = None
        self._purger.on_committed((tp, each[0]) for tp, each in command.offsets.items())
        return None

    def begin_roll_back(self) -> None:
        """From now on nothing of the transaction counts; a commit under way is given up."""
        self.era += 1
        if self._committing is not None:
            self._committing.cancel()

    async def roll_back(self, *, is_fenced: bool) -> StreamkitError | None:
        """End the transaction without its outputs; RejoinError when the producer was fenced."""
        if self._committing is not None:
            await asyncio.wait([self._committing])
        transactions = self._transactions
        fenced: StreamkitError | None = None
        try:
            if not is_fenced and transactions.state.may_abort:
                try:
                    await transactions.abort()
                except RejoinError as error:
                    fenced = error
                else:
                    return None
            elif not is_fenced and transactions.phase is TransactionPhase.FENCED:
                fenced = transactions.state.error
            await self.start()
        except StreamkitError as error:
            return error
        return fenced

    async def end(self) -> None:
        """At the worker's end: do not let others wait for the time-out of what is left open."""
        if not self._transactions.state.may_abort:
            return
        try:
            async with asyncio.timeout(ABORT_AT_END_MS / 1000):
                await self._transactions.abort()
        except (TimeoutError, StreamkitError) as error:
            log.info("the open transaction is left to time out: %s", error)

    async def _commit(self, command: CommitOffsets) -> None:
        member = self._membership.member
        if member.member_epoch == JOIN_EPOCH:
            raise RejoinError(f"member {member.member_id} is not in the group")
        owner = group_offsets.Membership(member.group_id, member.member_id, member.member_epoch)
        offsets = {
            tp: CommittedOffset(offset, metadata=metadata)
            for tp, (offset, metadata) in command.offsets.items()
        }
        self._maybe_begin()
        await self._transactions.send_offsets(owner, offsets)
        await self._transactions.commit()

    def _maybe_begin(self) -> None:
        if self._transactions.phase is TransactionPhase.READY:
            self._transactions.begin()
