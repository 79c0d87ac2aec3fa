"""The partition leader's question to the transaction coordinator before a first batch."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from streamkit.broker.log.producer_state import InTransaction, ProducerState
from streamkit.broker.verification import FirstBatch, TransactionVerifier, Verifying
from streamkit.common.model import TopicPartition
from streamkit.protocol.errors import ApiError, ErrorCode

PRODUCER_ID = 4_007
TP = TopicPartition("orders", 3)


class BusyCoordinator:
    """Finishes the transaction before: its marker comes between two requests."""

    def __init__(self, producers: ProducerState) -> None:
        self._producers = producers
        self.asked = 0

    async def add_partitions(self, _request: object) -> None:
        self.asked += 1
        if self.asked == 1:
            raise ApiError(ErrorCode.concurrent_transactions, "a marker is on its way")
        # What appending the marker does.
        self._producers.verifications.pop(PRODUCER_ID, None)


def test_marker_of_the_transaction_before_does_not_end_the_verification() -> None:
    producers = ProducerState("orders-3")
    coordinator = BusyCoordinator(producers)
    verifier = TransactionVerifier(
        coordinator,  # type: ignore[arg-type]  # a fake
        lambda: SimpleNamespace(  # type: ignore[arg-type,return-value]  # what is looked at
            transaction_partition_verification_enable=True,
            add_partitions_to_txn_retry_backoff_max_ms=100,
            add_partitions_to_txn_retry_backoff_ms=0,
        ),
        SimpleNamespace(now_ms=lambda: 70, monotonic_ms=lambda: 70.0),  # type: ignore[arg-type]
    )
    partition = SimpleNamespace(
        topic=TP.topic, index=TP.partition, log=SimpleNamespace(producers=producers)
    )
    first = FirstBatch(partition, 0)  # type: ignore[arg-type]  # a fake
    verdicts = asyncio.run(verifier.verify("shop", PRODUCER_ID, 12, [first], Verifying.ADD))
    verdict = verdicts[TP]
    assert isinstance(verdict, InTransaction)
    assert coordinator.asked == 2
    assert verdict.guard is producers.verifications[PRODUCER_ID]
