"""The quick answers to Produce and Fetch are byte for byte what kio writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamkit.protocol.apis import VERSIONS, ApiKey
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.messages import encode_response, encoded_response, response_type
from streamkit.protocol.quick import SPLICE_BYTES_MIN, fetch_response, produce_response
from streamkit.protocol.versions import fill

CORRELATION_ID = 0x1234_5678


@dataclass
class Appended:
    """One partition's answer to Produce."""

    index: int
    base_offset: int
    log_append_time: int
    log_start_offset: int


@dataclass
class Read:
    """One partition's answer to Fetch."""

    error: ErrorCode
    high_watermark: int
    last_stable_offset: int
    log_start_offset: int
    records: bytes
    aborted: Sequence[tuple[int, int]] | None


OFFSETS = st.integers(-1, 2**63 - 1)
INDEXES = st.integers(0, 2**31 - 1)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)
IDS = st.uuids().filter(lambda each: each.int != 0)
TIMES = st.integers(-1, 2**40)
APPENDED = st.lists(st.builds(Appended, INDEXES, OFFSETS, TIMES, OFFSETS), max_size=3)
RECORDS = st.binary(max_size=300) | st.just(b"r" * SPLICE_BYTES_MIN) | st.just(b"s" * 20_000)
READS = st.lists(
    st.tuples(
        INDEXES,
        st.builds(
            Read,
            st.sampled_from([ErrorCode.none, ErrorCode.offset_out_of_range]),
            OFFSETS,
            OFFSETS,
            OFFSETS,
            RECORDS,
            st.none() | st.lists(st.tuples(OFFSETS, OFFSETS), max_size=3),
        ),
    ),
    max_size=3,
)


def versions_of(api: ApiKey) -> range:
    low, high = VERSIONS[api]
    return range(low, high + 1)


@pytest.mark.parametrize("version", versions_of(ApiKey.PRODUCE))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_produce_answers_are_those_of_kio(version: int, data: st.DataObject) -> None:
    keys = IDS if version >= 13 else NAMES
    topics = data.draw(st.lists(st.tuples(keys, APPENDED), max_size=3))
    name = "topic_id" if version >= 13 else "name"
    rows = [
        {
            name: key,
            "partition_responses": [
                {
                    "index": each.index,
                    "base_offset": each.base_offset,
                    "log_append_time": each.log_append_time,
                    "log_start_offset": each.log_start_offset,
                }
                for each in partitions
            ],
        }
        for key, partitions in topics
    ]
    wanted = fill(response_type(ApiKey.PRODUCE, version), {"responses": rows})
    quick = encoded_response(CORRELATION_ID, produce_response(version, topics))
    assert b"".join(quick) == b"".join(encode_response(CORRELATION_ID, wanted))


@pytest.mark.parametrize("version", versions_of(ApiKey.FETCH))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_fetch_answers_are_those_of_kio(version: int, data: st.DataObject) -> None:
    keys = IDS | st.none() if version >= 13 else NAMES
    topics = data.draw(st.dictionaries(keys, READS, max_size=3))
    session_id = data.draw(st.integers(0, 2**31 - 1)) if version >= 7 else 0
    wanted = fill(
        response_type(ApiKey.FETCH, version),
        {
            "session_id": session_id,
            "responses": [
                {
                    "topic_id" if version >= 13 else "topic": key,
                    "partitions": [_row(index, read) for index, read in reads],
                }
                for key, reads in topics.items()
            ],
        },
    )
    quick = encoded_response(CORRELATION_ID, fetch_response(version, session_id, topics))
    assert b"".join(quick) == b"".join(encode_response(CORRELATION_ID, wanted))


def _row(index: int, read: Read) -> dict[str, object]:
    aborted = read.aborted
    return {
        "partition_index": index,
        "error_code": read.error,
        "high_watermark": read.high_watermark,
        "last_stable_offset": read.last_stable_offset,
        "log_start_offset": read.log_start_offset,
        "records": read.records,
        "aborted_transactions": None
        if aborted is None
        else [
            {"producer_id": producer_id, "first_offset": first_offset}
            for producer_id, first_offset in aborted
        ],
    }


def test_large_records_are_not_copied() -> None:
    records = b"r" * SPLICE_BYTES_MIN
    read = Read(ErrorCode.none, 5, 5, 2, records, None)
    body = fetch_response(16, 77, {UUID(int=9): [(3, read)]})
    assert [chunk is records for chunk in body.chunks] == [False, True, False]


def test_no_chunk_is_empty() -> None:
    read = Read(ErrorCode.none, 5, 5, 2, b"r" * SPLICE_BYTES_MIN, None)
    body = fetch_response(11, 77, {"topic": [(3, read), (4, read)]})
    assert len(body.chunks) == 4
    assert all(body.chunks)
