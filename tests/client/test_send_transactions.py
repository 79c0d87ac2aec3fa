"""What transactions change in the order of a producer's batches."""

from __future__ import annotations

from uuid import UUID

from streamkit.client.backoff import Backoff
from streamkit.client.batch import NO_IDENTITY, Batch, ProducerIdentity
from streamkit.client.metadata import BrokerView, ClusterView, PartitionView, TopicView
from streamkit.client.send_state import CONCURRENT_BACKOFF_MS, Done, SendLimits, SendState
from streamkit.common.errors import AbortTransactionError, RetriableError
from streamkit.common.model import TopicPartition
from streamkit.records import BatchBuilder

TP = TopicPartition("orders", 2)
NODE = 4
VIEW = ClusterView(
    brokers={NODE: BrokerView(NODE, "h", 9_004)},
    topics={
        "orders": TopicView(
            "orders", UUID(int=77), tuple(PartitionView(i, NODE, 9) for i in range(3))
        )
    },
)
ABORTED = AbortTransactionError("the transaction is aborted")


def sending() -> SendState:
    state = SendState(
        SendLimits(
            is_idempotent=True,
            is_transactional=True,
            delivery_timeout_ms=100_000,
            retries_max=50,
            request_bytes_max=1_000_000,
            retry_backoff=Backoff(400, 400),
        )
    )
    state.set_identity(ProducerIdentity(4_001, 3))
    return state


def submit(state: SendState, value: str) -> None:
    builder = BatchBuilder(1_000)
    builder.append(None, value.encode(), 70)
    state.submit(TP, builder, lambda *_: None, 0.0)


def send(state: SendState, now_ms: float = 0.0) -> list[Batch]:
    return state.collect(NODE, VIEW, now_ms)


def known(state: SendState) -> None:
    """The first batch under an identity goes alone."""
    submit(state, "first")
    (batch,) = send(state)
    state.on_acknowledged(batch, 70)


def failed(done: list[Done]) -> list[object]:
    return [each.error for each in done]


def test_partition_waits_for_its_gate() -> None:
    state = sending()
    added: set[TopicPartition] = set()
    state.gate = added.__contains__
    submit(state, "x")
    assert send(state) == []
    added.add(TP)
    assert len(send(state)) == 1


def test_aborting_fails_what_is_not_on_the_wire_and_retries_nothing() -> None:
    state = sending()
    known(state)
    submit(state, "on the wire")
    (batch,) = send(state)
    submit(state, "waiting")
    assert failed(state.abort_pending(ABORTED)) == [ABORTED]
    lost = RetriableError("the connection is lost")
    assert failed(state.on_lost(batch, lost, 0.0, 0.5)) == [lost]
    assert state.pending_batches == 0
    state.set_identity(ProducerIdentity(4_001, 4))
    submit(state, "the next transaction")
    (batch,) = send(state)
    assert (batch.identity.epoch, batch.sequence) == (4, 0)


def test_dropped_batches_answer_for_nothing_later() -> None:
    state = sending()
    known(state)
    submit(state, "x")
    (batch,) = send(state)
    assert failed(state.fail_all(ABORTED)) == [ABORTED]
    state.set_identity(NO_IDENTITY)
    submit(state, "y")
    assert send(state) == []
    state.set_identity(ProducerIdentity(4_001, 5))
    (other,) = send(state)
    assert state.on_acknowledged(batch, 90) == []
    assert [each.base_offset for each in state.on_acknowledged(other, 91)] == [91]


def test_batch_refused_because_of_one_before_it_is_sent_again() -> None:
    state = sending()
    known(state)
    for value in ("a", "b"):
        submit(state, value)
    (a,), (b,) = send(state), send(state)
    state.on_refused(a, 19, None, 0.0, 0.5)
    assert state.on_refused(b, 45, None, 0.0, 0.5) == []
    assert send(state, 1_000.0) == [a]
    state.on_acknowledged(a, 90)
    assert send(state, 1_000.0) == [b]


def test_oldest_batch_out_of_order_fails_the_transaction() -> None:
    state = sending()
    known(state)
    submit(state, "x")
    (batch,) = send(state)
    (done,) = state.on_refused(batch, 45, None, 0.0, 0.5)
    assert done.error is not None
    assert state.identity.epoch == 3, "the epoch is the coordinator's"


def test_batch_behind_an_unfinished_transaction_is_soon_sent_again() -> None:
    state = sending()
    submit(state, "x")
    (batch,) = send(state)
    state.on_refused(batch, 51, None, 0.0, 0.5)
    assert send(state, CONCURRENT_BACKOFF_MS - 1) == []
    assert send(state, CONCURRENT_BACKOFF_MS) == [batch]
