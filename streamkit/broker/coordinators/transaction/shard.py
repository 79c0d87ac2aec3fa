"""One partition of `__transaction_state` as a state machine: its transactional ids.

`replay` is the only way in.
"""

from __future__ import annotations

from streamkit.broker.coordinators.transaction.model import Transaction
from streamkit.broker.coordinators.transaction.records import Record


class TransactionShard:
    """All transactional ids of one partition."""

    def __init__(self) -> None:
        self.transactions: dict[str, Transaction] = {}

    def replay(self, record: Record, _offset: int, _producer_id: int) -> None:
        """Apply a committed record."""
        if record.transaction is None:
            self.transactions.pop(record.transactional_id, None)
        else:
            self.transactions[record.transactional_id] = record.transaction

    def end_transaction(self, producer_id: int, *, is_commit: bool) -> None:
        """This topic is not written in transactions itself."""

    def prepared(self) -> list[Transaction]:
        """The transactions whose markers are on their way, by id."""
        return [each for _, each in sorted(self.transactions.items()) if each.state.is_prepared]
