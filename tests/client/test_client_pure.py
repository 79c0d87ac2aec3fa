"""The client's pure parts: settings, back-off, metadata, fetch sessions, decoding, sequences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamkit.client.backoff import Backoff
from streamkit.client.batch import SEQUENCES, Batch, ProducerIdentity
from streamkit.client.closing import CloseOptions, GroupMembership
from streamkit.client.decode import Fetched, decode_fetched
from streamkit.client.errors import (
    AuthorizationError,
    BrokerRejoinError,
    StaleMemberEpochError,
    UnknownTopicError,
    code_of,
    error_for,
)
from streamkit.client.fetch_session import FetchSession, FetchTarget
from streamkit.client.fetch_state import SHARE_BYTES_MIN, FetchLimits, FetchState
from streamkit.client.jaas import credentials_of
from streamkit.client.metadata import (
    BrokerView,
    ClusterView,
    PartitionView,
    TopicView,
    merged,
    with_leader,
)
from streamkit.client.send_state import EPOCH_MAX, IN_FLIGHT_MAX, SendLimits, SendState
from streamkit.client.settings import (
    ConsumerSettings,
    ProducerSettings,
    parse_address,
    settings_of,
)
from streamkit.common.errors import ConfigError, RefreshMetadataError, StreamkitError
from streamkit.common.model import TopicPartition
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.messages import nested_types
from streamkit.protocol.versions import canonical_response, fill
from streamkit.records import BatchBuilder, encode, end_txn_marker, scan

TP = TopicPartition("orders", 2)
TOPIC_ID = UUID(int=77)
SERVERS = {"bootstrap.servers": "one:9092,two:9093"}

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required "


def test_backoff_doubles_up_to_its_limit() -> None:
    backoff = Backoff(100, 1_000)
    assert [backoff.delay_ms(n, 0.5) for n in range(6)] == [0, 100, 200, 400, 800, 1_000]
    assert backoff.delay_ms(3, 0.0) == pytest.approx(320)
    assert backoff.delay_ms(5_000, 0.5) == 1_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PLAIN + 'username="alice" password="s3cret";', ("alice", "s3cret")),
        (PLAIN + 'username="a\\"b" password="x;y=\\\\z" ;', ('a"b', "x;y=\\z")),
        ("x.ScramLoginModule required\n username=bob\n password='p'; ", ("bob", "'p'")),
    ],
)
def test_jaas_text_of_java_is_read(text: str, expected: tuple[str, str]) -> None:
    assert credentials_of(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", PLAIN + 'username="secret1"', PLAIN + 'username="secret1";',
     'com.sun.Krb5LoginModule required useKeyTab="secret1";',
     PLAIN + 'username="secret1" password="secret1" !;'],
)  # fmt: skip
def test_bad_jaas_text_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"sasl\.jaas\.config") as caught:
        credentials_of(text)
    assert "secret1" not in str(caught.value)


def test_java_configuration_is_taken_as_it_is() -> None:
    settings = settings_of(
        ProducerSettings,
        SERVERS
        | {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.jaas.config": 'x.ScramLoginModule required username="u" password="p";',
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": "/etc/ca.pem",
            "acks": "1",
        },
    )
    assert settings.credentials == ("u", "p")
    assert settings.addresses == (("one", 9092), ("two", 9093))
    assert not settings.is_idempotent


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "bootstrap.servers is missing"),
        (SERVERS | {"aks": "1"}, "did you mean 'acks'"),
        (SERVERS | {"acks": "2"}, "acks"),
        ({"bootstrap.servers": "one"}, "HOST:PORT"),
        (SERVERS | {"security.protocol": "SASL_SSL"}, "sasl.mechanism"),
        (SERVERS | {"acks": "1", "enable.idempotence": "true"}, "enable.idempotence"),
        (SERVERS | {"delivery.timeout.ms": "1"}, "delivery.timeout.ms"),
    ],
)
def test_wrong_settings_name_the_key(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        settings_of(ProducerSettings, config)


def test_addresses_are_read_with_protocol_and_ipv6() -> None:
    assert parse_address("PLAINTEXT://kafka:19092") == ("kafka", 19092)
    assert parse_address("[::1]:9092") == ("::1", 9092)
    assert ConsumerSettings.from_mapping({"isolation.level": "read_committed"}).is_read_committed


def test_codes_become_what_their_catcher_must_do() -> None:
    error = error_for(3, "fetch of orders-2")
    assert isinstance(error, UnknownTopicError)
    assert isinstance(error, RefreshMetadataError)
    assert str(error) == "fetch of orders-2: UNKNOWN_TOPIC_OR_PARTITION"
    assert code_of(error) is ErrorCode.unknown_topic_or_partition
    assert isinstance(error_for(29, "x"), AuthorizationError)
    assert isinstance(error_for(110, "x"), BrokerRejoinError)
    assert isinstance(error_for(113, "x"), StaleMemberEpochError)
    assert code_of(StreamkitError("ours")) is None


def test_default_close_leaves_unless_static() -> None:
    assert CloseOptions().leaves(is_static=False)
    assert not CloseOptions().leaves(is_static=True)
    assert CloseOptions(membership=GroupMembership.LEAVE).leaves(is_static=True)
    assert not CloseOptions(membership=GroupMembership.REMAIN).leaves(is_static=False)


def metadata_of(epoch: int, leader: int, topic_id: UUID = TOPIC_ID) -> Any:
    partitions = [
        {"partition_index": i, "leader_id": leader, "leader_epoch": epoch} for i in (2, 0, 1)
    ]
    values = {
        "brokers": [{"node_id": n, "host": "h", "port": 9_000 + n} for n in (4, 5)],
        "topics": [{"name": "orders", "topic_id": topic_id, "partitions": partitions}],
    }
    return fill(canonical_response(ApiKey.METADATA), values)


def test_older_leader_epoch_of_the_same_topic_is_ignored() -> None:
    view = merged(ClusterView(), metadata_of(9, 4), all_topics=False)
    assert merged(view, metadata_of(8, 5), all_topics=False).leader_of(TP) == 4
    assert merged(view, metadata_of(10, 5), all_topics=False).leader_of(TP) == 5
    recreated = merged(view, metadata_of(1, 5, UUID(int=78)), all_topics=False)
    assert recreated.leader_of(TP) == 5
    assert recreated.names == {UUID(int=78): "orders"}


def test_leader_named_by_a_broker_is_taken_when_newer() -> None:
    view = merged(ClusterView(), metadata_of(9, 4), all_topics=False)
    newer = with_leader(view, TP, 6, 10, [BrokerView(6, "h", 9_006)])
    assert newer.leader_of(TP) == 6
    assert newer.brokers[6].address == "h:9006"
    assert with_leader(view, TP, 5, 9, []) is view
    assert with_leader(view, TP, 8, 10, []) is view, "an unknown broker cannot be dialled"


def test_partitions_are_grouped_by_leader() -> None:
    partitions = (PartitionView(0, 4, 9), PartitionView(1, -1, 9), PartitionView(2, 4, 9))
    view = ClusterView(topics={"orders": TopicView("orders", TOPIC_ID, partitions)})
    by_leader, missing = view.by_leader(view.partitions_of("orders"))
    assert by_leader == {4: [TopicPartition("orders", 0), TP]}
    assert missing == [TopicPartition("orders", 1)]


targets = st.dictionaries(
    st.integers(0, 5),
    st.builds(FetchTarget, st.just(TOPIC_ID), st.integers(0, 3), st.just(7), st.just(100)),
    min_size=1,
)


@given(
    st.lists(st.tuples(targets, st.sampled_from(["ok", "ok", "ok", "lost", 70, 71])), max_size=20)
)
def test_session_of_the_broker_always_holds_what_is_wanted(steps: list[Any]) -> None:
    session = FetchSession()
    sessions: dict[int, tuple[int, dict[TopicPartition, FetchTarget]]] = {}
    next_id = 100
    for wanted_by_index, outcome in steps:
        wanted = {TopicPartition("orders", i): t for i, t in wanted_by_index.items()}
        plan = session.plan(wanted, by_id=True)
        if plan.epoch == 0:
            sessions.pop(plan.session_id, None)
            next_id += 1
            sessions[next_id] = (1, dict(plan.send))
            current = next_id
        else:
            epoch, held = sessions[plan.session_id]
            assert epoch == plan.epoch
            for tp, _ in plan.forget:
                del held[tp]
            held.update(plan.send)
            sessions[plan.session_id] = (epoch + 1, held)
            current = plan.session_id
        assert sessions[current][1] == wanted
        if outcome == "lost":
            session.on_lost()
        else:
            session.on_answer(0 if outcome == "ok" else outcome, current)


def test_changed_topic_id_leaves_and_enters_the_session() -> None:
    session = FetchSession()
    session.plan({TP: FetchTarget(TOPIC_ID, 3, 7, 100)}, by_id=True)
    session.on_answer(0, 55)
    new = FetchTarget(UUID(int=78), 3, 7, 100)
    plan = session.plan({TP: new}, by_id=True)
    assert plan.send == {TP: new}
    assert plan.forget == ((TP, TOPIC_ID),)
    assert session.plan({TP: FetchTarget(None, 3, 7, 100)}, by_id=False).epoch == 0


def fetched_of(*batches: bytes, aborted: tuple[tuple[int, int], ...] = (), start: int = 40) -> Any:
    records = b"".join(batches)
    headers = tuple(scan(records))
    return Fetched(
        TP, records, headers, start, headers[-1].last_offset + 1, 99, 99, 3, aborted=aborted
    )


def some(
    base_offset: int, *values: str, producer_id: int = -1, transactional: bool = False
) -> bytes:
    rows = [(None, value.encode(), 1_700_000_000_000, ()) for value in values]
    return encode(
        rows,
        base_offset=base_offset,
        producer_id=producer_id,
        producer_epoch=2,
        base_sequence=5,
        transactional=transactional,
    )


def decoded(fetched: Any, position: int | None = None) -> list[tuple[int, str]]:
    return [
        (offset, value.decode())
        for batch in decode_fetched(fetched, position)
        for offset, value in zip(batch.offsets, batch.values, strict=True)
        if value is not None
    ]


def test_records_below_the_position_are_left_out() -> None:
    fetched = fetched_of(some(38, "a", "b", "c", "d"), some(42, "e"))
    assert decoded(fetched) == [(40, "c"), (41, "d"), (42, "e")]
    assert decoded(fetched, 42) == [(42, "e")]


def test_aborted_transactions_are_left_out_until_their_marker() -> None:
    fetched = fetched_of(
        some(40, "gone", producer_id=6, transactional=True),
        some(41, "kept", producer_id=8, transactional=True),
        some(42, "gone", producer_id=6, transactional=True),
        end_txn_marker(
            is_commit=False, producer_id=6, producer_epoch=2, coordinator_epoch=4,
            timestamp=1_700_000_000_000, base_offset=43,
        ),
        some(44, "next", producer_id=6, transactional=True),
        aborted=((6, 40),),
    )  # fmt: skip
    assert decoded(fetched) == [(41, "kept"), (44, "next")]
    assert fetched.next_offset == 45


LEADERS = ClusterView(
    brokers={4: BrokerView(4, "h", 9_004)},
    topics={
        "orders": TopicView("orders", TOPIC_ID, tuple(PartitionView(i, 4, 9) for i in range(3)))
    },
)


def fetch_state() -> FetchState:
    limits = FetchLimits(
        partition_fetch_bytes_max=100,
        fetch_bytes_max=1_000,
        partition_bytes_max=200,
        buffer_bytes_max=350,
        preferred_replica_ms=60_000,
        retry_backoff=Backoff(100, 1_000),
    )
    state = FetchState(limits)
    state.assign({TP: 40}, {})
    return state


def answer_of(**values: Any) -> Any:
    partition = nested_types(nested_types(canonical_response(ApiKey.FETCH))["responses"])
    return fill(partition["partitions"], {"partition_index": TP.partition} | values)


FOLLOWED = replace(LEADERS, brokers={4: BrokerView(4, "h", 9_004), 5: BrokerView(5, "h", 9_005)})


def test_preferred_replica_is_read_from_for_a_while_and_left_on_error() -> None:
    state = fetch_state()
    generation = state.partitions[TP].generation
    state.on_partition(TP, generation, answer_of(preferred_read_replica=5), 4, 1_000.0)
    assert state.nodes(FOLLOWED, 2_000.0) == {5}
    assert state.nodes(FOLLOWED, 62_000.0) == {4}
    state.on_partition(TP, generation, answer_of(preferred_read_replica=5), 4, 70_000.0)
    state.on_partition(TP, generation, answer_of(error_code=1), 5, 71_000.0)
    assert state.nodes(FOLLOWED, 72_000.0) == {4}
    assert not state.has_events(), "a follower may lag: the leader is asked before it is an error"


def test_fetches_are_granted_what_is_left_of_the_buffer() -> None:
    state = fetch_state()
    partitions = {TopicPartition("orders", i): 40 for i in range(3)}
    state.assign(partitions, {})
    assert state.wanted(4, LEADERS, 1_000.0).bytes_max == 300
    state.on_done(4)
    generation = state.partitions[TP].generation
    state.on_partition(TP, generation, answer_of(records=some(40, "x" * 200)), 4, 1_000.0)
    wanted = state.wanted(4, LEADERS, 1_000.0)
    assert TP not in wanted.targets, "it holds its limit"
    assert wanted.has_backlog
    assert 0 < wanted.bytes_max < 100
    assert not state.wanted(4, LEADERS, 5_000.0).has_backlog


def test_many_partitions_share_the_buffer_even_when_they_all_are_paused() -> None:
    state = fetch_state()
    state._limits.partition_fetch_bytes_max = state._limits.partition_bytes_max = 1_000_000
    state._limits.fetch_bytes_max = 10_000_000
    state._limits.buffer_bytes_max = 2 * SHARE_BYTES_MIN * 3
    partitions = {TopicPartition("orders", i): 40 for i in range(3)}
    state.assign(partitions, {})
    wanted = state.wanted(4, LEADERS, 1_000.0)
    state.on_done(4)
    assert {each.bytes_max for each in wanted.targets.values()} == {2 * SHARE_BYTES_MIN}
    for tp in partitions:
        records = some(40, "x" * 2 * SHARE_BYTES_MIN)
        answer = answer_of(records=records, partition_index=tp.partition)
        state.on_partition(tp, state.partitions[tp].generation, answer, 4, 1_000.0)
    assert state.wanted(4, LEADERS, 1_000.0).targets == {}
    state.pause(partitions, paused=True)
    assert state.held_bytes == 0
    assert state.kept_bytes > 6 * SHARE_BYTES_MIN


def builder(*values: str) -> BatchBuilder:
    filled = BatchBuilder(1_000)
    for value in values:
        filled.append(None, value.encode(), 1_700_000_000_000)
    return filled


def send_state(**more: Any) -> SendState:
    values: dict[str, Any] = {
        "is_idempotent": True,
        "is_transactional": False,
        "delivery_timeout_ms": 100_000,
        "retries_max": 2**31,
        "request_bytes_max": 1_000_000,
        "retry_backoff": Backoff(0, 0),
    }
    state = SendState(SendLimits(**(values | more)))
    state.set_identity(ProducerIdentity(4_001, 3))
    return state


@dataclass
class Log:
    """One partition's leader by reference 8.6."""

    epoch: int = -1
    sequence: int = -1
    values: tuple[str, ...] = ()

    def offer(self, batch: Batch) -> int:
        (header,) = scan(batch.data)
        value = str(batch.number)
        if header.producer_epoch < self.epoch:
            return 47
        if header.producer_epoch == self.epoch and header.base_sequence <= self.sequence:
            return 0 if value in self.values[-IN_FLIGHT_MAX:] else 45
        fresh = self.epoch < 0
        expected = self.sequence + 1 if header.producer_epoch == self.epoch else 0
        if not fresh and header.base_sequence != expected:
            return 45
        self.epoch, self.sequence = header.producer_epoch, header.last_sequence
        self.values += (value,)
        return 0


@example(steps=list("scassxcnla"))
@given(st.lists(st.sampled_from("ssssclaxrn"), min_size=5, max_size=120))
def test_whatever_is_lost_or_refused_each_batch_is_once_in_the_log_and_in_order(
    steps: list[str],
) -> None:
    """s: submit, c: collect and send, l: answer lost, a: answered, x: lost before, r: refused."""
    state, log, done = send_state(), Log(), []
    wire: list[tuple[Batch, int | None]] = []
    submitted = 0

    def settle(batch: Batch, code: int | None) -> None:
        if code is None:
            done.extend(state.on_lost(batch, StreamkitError("lost"), 10.0, 0.5))
        elif code:
            done.extend(state.on_refused(batch, code, None, 10.0, 0.5))
        else:
            done.extend(state.on_acknowledged(batch, 1))

    def send(step: str) -> None:
        state.bump()
        for batch in state.collect(4, LEADERS, 10.0):
            if step == "x":
                wire.append((batch, None))
            elif step == "r":
                wire.append((batch, 19))
            else:
                code = log.offer(batch)
                wire.append((batch, None if step == "l" else code))

    for step in steps:
        if step == "s":
            submitted += 1
            state.submit(TP, builder("v"), lambda *_: None, 10.0)
        elif step == "a":
            while wire:
                settle(*wire.pop(0))
        elif step == "n" and wire:
            settle(*wire.pop(0))
        else:
            send(step)
    for _ in range(4 * submitted + 8):
        while wire:
            settle(*wire.pop(0))
        send("c")
    assert [d.error for d in done] == [None] * submitted
    assert log.values == tuple(str(n + 1) for n in range(submitted))
    assert (state.pending_bytes, state.pending_batches) == (0, 0)


def test_sequences_wrap_to_zero() -> None:
    state = send_state()
    state.submit(TP, builder("a"), lambda *_: None, 10.0)
    (first,) = state.collect(4, LEADERS, 10.0)
    state.on_acknowledged(first, 1)
    queue = state._queues[TP]
    queue.next_sequence = SEQUENCES - 1
    state.submit(TP, builder("b", "c", "d"), lambda *_: None, 10.0)
    state.submit(TP, builder("e"), lambda *_: None, 10.0)
    sent = state.collect(4, LEADERS, 10.0) + state.collect(4, LEADERS, 10.0)
    assert [batch.sequence for batch in sent] == [SEQUENCES - 1, 2]


def test_exhausted_epoch_asks_for_a_new_producer_id() -> None:
    state = send_state()
    state.set_identity(ProducerIdentity(4_001, EPOCH_MAX))
    state.submit(TP, builder("a"), lambda *_: None, 10.0)
    (batch,) = state.collect(4, LEADERS, 10.0)
    state.on_refused(batch, ErrorCode.out_of_order_sequence_number, None, 10.0, 0.5)
    state.bump()
    assert state.wants_identity
    assert state.collect(4, LEADERS, 10.0) == []
    state.set_identity(ProducerIdentity(4_002, 0))
    state.bump()
    (again,) = state.collect(4, LEADERS, 10.0)
    assert (again.identity, again.sequence) == (ProducerIdentity(4_002, 0), 0)


def test_no_more_than_five_batches_of_a_partition_are_unresolved() -> None:
    state = send_state()
    state.submit(TP, builder("a"), lambda *_: None, 10.0)
    (first,) = state.collect(4, LEADERS, 10.0)
    state.on_acknowledged(first, 1)
    for _ in range(9):
        state.submit(TP, builder("b"), lambda *_: None, 10.0)
    sent = [batch for _ in range(9) for batch in state.collect(4, LEADERS, 10.0)]
    assert len(sent) == IN_FLIGHT_MAX


def test_large_batches_go_in_requests_of_their_own() -> None:
    state = send_state(request_bytes_max=200)
    for partition in range(3):
        tp = TopicPartition("orders", partition)
        state.submit(tp, builder("x" * 90), lambda *_: None, 10.0)
    sizes = [len(state.collect(4, LEADERS, 10.0)) for _ in range(3)]
    assert sizes == [1, 1, 1]


def test_late_batches_expire_also_on_the_wire() -> None:
    state = send_state(delivery_timeout_ms=500)
    state.submit(TP, builder("a"), lambda *_: None, 10.0)
    (batch,) = state.collect(4, LEADERS, 10.0)
    state.submit(TP, builder("b"), lambda *_: None, 10.0)
    assert state.due_ms(20.0) == 510.0
    assert len(state.expire(510.0)) == 2
    assert state.on_acknowledged(batch, 1) == []
    assert state.pending_batches == 0
