"""ListTransactions: the transactions coordinated here, by state, producer, duration and id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.coordinators.transaction.queries import Filters
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.list_transactions.v2.request import ListTransactionsRequest


async def handle(ctx: RequestContext, request: ListTransactionsRequest) -> Message:
    """Those that pass all filters. Raises ApiError, which is the answer's error."""
    listing = ctx.broker.transactions.list(
        Filters(
            request.state_filters,
            request.producer_id_filters,
            request.duration_filter,
            request.transactional_id_pattern,
        )
    )
    return {
        "unknown_state_filters": list(listing.unknown_states),
        "transaction_states": [
            {
                "transactional_id": each.transactional_id,
                "producer_id": each.producer_id,
                "transaction_state": each.state.value,
            }
            for each in listing.transactions
        ],
    }
