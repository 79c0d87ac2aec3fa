"""Fetch sessions: epochs, what is left out of an answer, and whose slot is taken."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import pytest

from streamkit.broker.fetch_sessions import CachedPartition, FetchPlan, FetchSessions
from streamkit.protocol.errors import ApiError, ErrorCode

ORDERS = UUID(int=77)
NOW_MS = 5_000_000


@dataclass
class Read:
    high_watermark: int = 12
    log_start_offset: int = 3
    must_send: bool = False
    has_records: bool = False


def asked(*indexes: int, offset: int = 7) -> list[CachedPartition]:
    return [CachedPartition(ORDERS, index, offset, 1000) for index in indexes]


def sessions(slots: int = 10) -> FetchSessions:
    ids = iter(range(501, 600))
    return FetchSessions(slots, lambda: next(ids))


def begin(
    cache: FetchSessions,
    session_id: int,
    epoch: int,
    partitions: list[CachedPartition],
    forgotten: tuple[tuple[UUID, int], ...] = (),
    *,
    ids: bool = True,
    privileged: bool = False,
    now_ms: int = NOW_MS,
) -> FetchPlan:
    return cache.begin(
        session_id,
        epoch,
        partitions,
        forgotten,
        uses_topic_ids=ids,
        is_privileged=privileged,
        now_ms=now_ms,
    )


def test_sessionless_fetch_sends_every_partition() -> None:
    plan = begin(sessions(), 0, -1, asked(2, 3))
    assert plan.session_id == 0
    assert plan.select([Read(), Read()]) == [0, 1]


def test_full_fetch_opens_a_session_and_sends_everything() -> None:
    plan = begin(sessions(), 0, 0, asked(2, 3))
    assert plan.session_id == 501
    assert plan.select([Read(), Read()]) == [0, 1]


def test_incremental_answer_leaves_out_what_the_client_knows() -> None:
    cache = sessions()
    begin(cache, 0, 0, asked(2, 3, 4)).select([Read(), Read(), Read()])
    plan = begin(cache, 501, 1, [])
    assert [p.index for p in plan.partitions] == [2, 3, 4]
    assert plan.select([Read(), Read(high_watermark=13), Read(must_send=True)]) == [1, 2]


def test_partition_with_records_is_served_last_next_time() -> None:
    cache = sessions()
    plan = begin(cache, 0, 0, asked(2, 3))
    plan.select([Read(must_send=True, has_records=True), Read()])
    assert [p.index for p in begin(cache, 501, 1, []).partitions] == [3, 2]


def test_incremental_request_changes_adds_and_forgets() -> None:
    cache = sessions()
    begin(cache, 0, 0, asked(2, 3))
    plan = begin(cache, 501, 1, asked(3, 4, offset=9), ((ORDERS, 2),))
    assert [(p.index, p.fetch_offset) for p in plan.partitions] == [(3, 9), (4, 9)]


@pytest.mark.parametrize(
    ("session_id", "epoch", "ids", "code"),
    [
        (777, 1, True, ErrorCode.fetch_session_id_not_found),
        (501, 5, True, ErrorCode.invalid_fetch_session_epoch),
        (501, 1, False, ErrorCode.fetch_session_topic_id_error),
    ],
)
def test_wrong_session_is_refused(session_id: int, epoch: int, ids: bool, code: ErrorCode) -> None:
    cache = sessions()
    begin(cache, 0, 0, asked(2))
    with pytest.raises(ApiError) as caught:
        begin(cache, session_id, epoch, [], ids=ids)
    assert caught.value.code == code


def test_epoch_after_the_largest_is_one() -> None:
    cache = sessions()
    session = begin(cache, 0, 0, asked(2)).session
    assert session is not None
    session.epoch = 2**31 - 1
    begin(cache, 501, 2**31 - 1, [])
    assert session.epoch == 1


def test_session_without_partitions_is_closed() -> None:
    cache = sessions()
    begin(cache, 0, 0, asked(2))
    plan = begin(cache, 501, 1, [], ((ORDERS, 2),))
    assert plan.session_id == 0
    assert len(cache) == 0


def test_closing_a_session_answers_as_a_sessionless_fetch() -> None:
    cache = sessions()
    begin(cache, 0, 0, asked(2))
    assert begin(cache, 501, -1, asked(2, 3)).session_id == 0
    assert len(cache) == 0


def test_full_cache_gives_no_session_to_a_smaller_fetch() -> None:
    cache = sessions(slots=1)
    begin(cache, 0, 0, asked(2, 3))
    assert begin(cache, 0, 0, asked(4)).session_id == 0


@pytest.mark.parametrize(
    ("partitions", "privileged", "now_ms"),
    [((4, 5, 6), False, NOW_MS), ((4,), True, NOW_MS), ((4,), False, NOW_MS + 120_001)],
    ids=["larger", "privileged", "other is idle"],
)
def test_full_cache_evicts_the_lesser_session(
    partitions: tuple[int, ...], privileged: bool, now_ms: int
) -> None:
    cache = sessions(slots=1)
    begin(cache, 0, 0, asked(2, 3))
    plan = begin(cache, 0, 0, asked(*partitions), privileged=privileged, now_ms=now_ms)
    assert plan.session_id == 502
    assert len(cache) == 1
