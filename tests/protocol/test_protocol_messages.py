"""Every message of every version: to bytes and back, and never anything but MalformedMessage."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest
from kio.schema.index import api_key_map, schema_name_map
from kio.schema.request_header.v2 import RequestHeader
from kio.serial import entity_reader

from streamkit.protocol.apis import VERSIONS, ApiKey, is_flexible, newest_version
from streamkit.protocol.errors import MalformedMessage, UnsupportedVersionError
from streamkit.protocol.messages import (
    SPLICE_BYTES_MIN,
    decode_request,
    decode_response,
    encode_request,
    encode_request_chunks,
    encode_response,
    read_request_header,
    request_type,
    response_type,
)
from streamkit.protocol.versions import fill

APIS = list(VERSIONS)


def seeds(api: ApiKey, version: int) -> random.Random:
    return random.Random(f"{api.name} {version}")


def test_api_table_agrees_with_kio() -> None:
    assert {key.value: key.name.lower() for key in ApiKey} == dict(api_key_map)
    for api, versions in VERSIONS.items():
        known = schema_name_map[api.name.lower()]
        unstable = 1 if api == ApiKey.INIT_PRODUCER_ID else 0
        assert (versions.min, versions.max + unstable) == (min(known), max(known)), api


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
def test_header_versions_are_kios(api: ApiKey) -> None:
    for version in range(VERSIONS[api].min, VERSIONS[api].max + 1):
        flexible = is_flexible(api, version)
        request, response = request_type(api, version), response_type(api, version)
        assert request.__header_schema__.__version__ == (2 if flexible else 1)
        expected = 1 if flexible and api != ApiKey.API_VERSIONS else 0
        assert response.__header_schema__.__version__ == expected


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
def test_every_version_survives_the_wire(api: ApiKey, make_message: Any) -> None:
    for version in range(VERSIONS[api].min, VERSIONS[api].max + 1):
        rng = seeds(api, version)
        for correlation_id in range(7, 12):
            request = make_message(request_type(api, version), rng)
            decoded = decode_request(encode_request(correlation_id, "a client", request))
            assert decoded.message == request
            assert (decoded.api_key, decoded.api_version) == (api, version)
            assert (decoded.correlation_id, decoded.client_id) == (correlation_id, "a client")
            response = make_message(response_type(api, version), rng)
            encoded = b"".join(encode_response(correlation_id, response))
            assert decode_response(api, version, encoded) == (correlation_id, response)


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
def test_damaged_bytes_are_a_message_or_malformed(api: ApiKey, make_message: Any) -> None:
    for version in {VERSIONS[api].min, newest_version(api)}:
        rng = seeds(api, version)
        encoded = encode_request(7, None, make_message(request_type(api, version), rng))
        answer = b"".join(encode_response(7, make_message(response_type(api, version), rng)))
        for _ in range(60):
            damaged = bytearray(rng.choice((encoded, answer)))
            at = rng.randrange(8, len(damaged) + 1) if len(damaged) > 8 else len(damaged)
            damaged[at : at + rng.randrange(5)] = rng.choice(
                (b"", b"\xff" * 9, b"\x7f\xff\xff\xff", b"\x80", rng.randbytes(3))
            )
            with suppress(MalformedMessage, UnsupportedVersionError):
                decode_request(struct.pack(">hh", api, version) + damaged[4:])
            with suppress(MalformedMessage):
                decode_response(api, version, damaged)


def test_truncated_request_is_malformed_at_every_byte(make_message: Any) -> None:
    request = make_message(request_type(ApiKey.METADATA, 13), random.Random(3))
    encoded = encode_request(7, "someone", request)
    for size in range(len(encoded)):
        with pytest.raises(MalformedMessage):
            decode_request(encoded[:size])


def test_absurd_array_length_reserves_no_memory() -> None:
    # kio by itself reserves 34 GB for this and ends the process.
    head = encode_request(7, None, fill(request_type(ApiKey.PRODUCE, 13), {"acks": -1}))[:-2]
    with pytest.raises(MalformedMessage, match="topic_data"):
        decode_request(head + b"\xff\xff\xff\xff\x07\x00")
    with pytest.raises(MalformedMessage, match="varint"):
        decode_request(head + b"\xff\xff\xff\xff\x0f\x00")
    old = encode_request(7, None, fill(request_type(ApiKey.PRODUCE, 3), {"acks": -1}))[:-4]
    for length in (b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00"):
        with pytest.raises(MalformedMessage):
            decode_request(old + length)


def test_null_where_none_is_allowed_is_malformed() -> None:
    head = encode_request(7, None, fill(request_type(ApiKey.PRODUCE, 13), {"acks": -1}))[:-2]
    with pytest.raises(MalformedMessage, match="topic_data"):
        decode_request(head + b"\x00\x00")


def test_unknown_tagged_fields_are_skipped() -> None:
    message = fill(request_type(ApiKey.PRODUCE, 13), {"acks": -1})
    encoded = encode_request(7, None, message)
    assert decode_request(encoded[:-1] + b"\x01\x4d\x03abc").message == message
    with pytest.raises(MalformedMessage):
        decode_request(encoded[:-1] + b"\x01\x4d\x04abc")


def test_unknown_tagged_fields_within_known_ones_are_skipped() -> None:
    leader = {"partition_index": 3, "current_leader": {"leader_id": 5, "leader_epoch": 77}}
    message = fill(
        response_type(ApiKey.FETCH, 17), {"responses": [{"partitions": [leader, leader]}]}
    )
    encoded = b"".join(encode_response(7, message))
    known = b"\x01\x01\x09\x00\x00\x00\x05\x00\x00\x00\x4d\x00"
    assert encoded.count(known) == 2
    grown = b"\x03\x01\x0e" + known[3:11] + b"\x02\x33\x01x\x34\x00"
    grown += b"\x4d\x03abc" + b"\x4e\x00"
    decoded = decode_response(ApiKey.FETCH, 17, encoded.replace(known, grown))
    assert decoded == (7, message)


def test_header_is_what_kio_writes() -> None:
    message = fill(request_type(ApiKey.METADATA, 12), {"topics": None})
    encoded = encode_request(77, "cliënt", message)
    header, size = entity_reader(RequestHeader)(encoded, 0)
    assert (header.request_api_key, header.request_api_version) == (3, 12)
    assert (header.correlation_id, header.client_id) == (77, "cliënt")
    assert read_request_header(encoded).body_at == size


def test_unknown_version_is_told_with_the_correlation_id() -> None:
    for api, version in ((18, 99), (0, 2), (4, 1), (-1, -1)):
        with pytest.raises(UnsupportedVersionError) as error:
            decode_request(struct.pack(">hhih", api, version, 1234, -1))
        assert (error.value.api_key, error.value.api_version) == (api, version)
        assert error.value.correlation_id == 1234


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_decodes_any_buffer(kind: Any) -> None:
    message = fill(request_type(ApiKey.METADATA, 12), {"topics": [{"name": "lines"}]})
    assert decode_request(kind(encode_request(77, "me", message))).message == message


def test_records_are_spliced_into_requests_and_responses() -> None:
    records = memoryview(bytes(SPLICE_BYTES_MIN))
    produce = fill(
        request_type(ApiKey.PRODUCE, 13),
        {"topic_data": [{"partition_data": [{"index": 3, "records": records}]}]},
    )
    assert any(chunk is records for chunk in encode_request_chunks(7, "me", produce))
    assert encode_request(7, "me", produce) == b"".join(encode_request_chunks(7, "me", produce))
    partitions = [{"partition_index": 3, "records": records}, {"records": b"small"}]
    fetched = fill(response_type(ApiKey.FETCH, 17), {"responses": [{"partitions": partitions}]})
    chunks = encode_response(7, fetched)
    assert [chunk is records for chunk in chunks] == [False, True, False]
    _, decoded = decode_response(ApiKey.FETCH, 17, b"".join(chunks))
    assert decoded.responses[0].partitions[0].records == records
    assert decoded.responses[0].partitions[1].records == b"small"


def test_importing_the_protocol_loads_no_messages() -> None:
    program = (
        "import sys, streamkit.protocol.messages, streamkit.protocol.versions\n"
        "loaded = [m for m in sys.modules if m.startswith('kio.schema.') and m.count('.') > 2]\n"
        "print(sorted({m.split('.')[2] for m in loaded}), 'hypothesis' in sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "['request_header', 'response_header'] False"
