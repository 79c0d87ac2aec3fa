"""What operators ask: which transactions there are, and what one is up to (KIP-664, KIP-994)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from streamkit.broker.coordinators.patterns import whole_matcher
from streamkit.broker.coordinators.transaction.model import Transaction, TransactionState
from streamkit.protocol.errors import ApiError, ErrorCode

_BY_NAME = {state.value: state for state in TransactionState}


@dataclass(frozen=True, slots=True)
class Filters:
    """ListTransactions: what is given must all hold."""

    states: Sequence[str] = ()
    producer_ids: Sequence[int] = ()
    duration_ms: int = -1
    """Only transactions that run for longer; negative: all."""
    pattern: str | None = None
    """A regular expression for the whole transactional id (KIP-1152)."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The transactions found, and the states asked for that there are not."""

    transactions: Sequence[Transaction] = ()
    unknown_states: Sequence[str] = ()


def list_transactions(
    transactions: Iterable[Transaction], filters: Filters, now_ms: int
) -> Listing:
    """The transactions that pass. Raises ApiError INVALID_REGULAR_EXPRESSION."""
    unknown = [name for name in filters.states if name not in _BY_NAME]
    wanted = {_BY_NAME[name] for name in filters.states if name in _BY_NAME}
    pattern = _compiled(filters.pattern)
    producer_ids = frozenset(filters.producer_ids)
    found = [
        each
        for each in transactions
        if (not filters.states or each.state in wanted)
        and (not producer_ids or each.producer_id in producer_ids)
        and (filters.duration_ms < 0 or now_ms - each.started_ms > filters.duration_ms)
        and (pattern is None or pattern(each.transactional_id))
    ]
    return Listing(found, unknown)


def _compiled(pattern: str | None) -> Callable[[str], object] | None:
    if not pattern:
        return None
    try:
        return whole_matcher(pattern)
    except ValueError as error:
        raise ApiError(ErrorCode.invalid_regular_expression, f"{pattern!r}: {error}") from None
