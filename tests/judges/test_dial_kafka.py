"""Connections to an Apache Kafka that asks for TLS and passwords."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamkit.common.system import run_loop, system_seams
from streamkit.net.dial import (
    AuthenticationError,
    Connection,
    ConnectionLost,
    SecuritySettings,
    TlsError,
)
from streamkit.protocol.apis import VERSIONS, ApiKey
from streamkit.protocol.messages import request_type
from streamkit.protocol.versions import fill
from tests.judges.secure_kafka import MECHANISMS, PASSWORD, USERNAME, Authority, SecureKafka

pytestmark = pytest.mark.judge


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with SecureKafka(tmp_path_factory.mktemp("secure")) as running:
        yield running


def cluster_of(address: str, security: SecuritySettings) -> Any:
    """Dial, ask for metadata; the answer and the connection."""
    host, _, port = address.rpartition(":")

    async def main() -> Any:
        seams = system_seams()
        connection = await Connection.open(seams, host, int(port), security, "judge", 10_000)
        version = connection.version_of(ApiKey.METADATA)
        assert version is not None
        request = fill(request_type(ApiKey.METADATA, version), {"topics": None})
        metadata = await connection.call(request)
        connection.close()
        return metadata, connection

    return run_loop(main())


def sasl(
    kafka: SecureKafka,
    mechanism: str,
    *,
    protocol: str = "SASL_SSL",
    password: str = PASSWORD,
    ca: str | None = None,
) -> SecuritySettings:
    return SecuritySettings(
        protocol=protocol,
        sasl_mechanism=mechanism,
        sasl_username=USERNAME,
        sasl_password=password,
        ssl_truststore_location=ca or kafka.ca,
    )


def test_plaintext_negotiates_every_api_and_the_features(kafka: SecureKafka) -> None:
    metadata, connection = cluster_of(kafka.plaintext, SecuritySettings())
    assert metadata.brokers[0].port == int(kafka.plaintext.rpartition(":")[2])
    assert connection.features["streams.version"] == 1
    for api in (ApiKey.PRODUCE, ApiKey.FETCH, ApiKey.STREAMS_GROUP_HEARTBEAT):
        assert connection.version_of(api) == VERSIONS[api].max


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
def test_password_is_accepted(kafka: SecureKafka, protocol: str, mechanism: str) -> None:
    address = kafka.sasl_ssl if protocol == "SASL_SSL" else kafka.sasl_plaintext
    metadata, _ = cluster_of(address, sasl(kafka, mechanism, protocol=protocol))
    assert metadata.cluster_id


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_wrong_password_is_one_clear_line(kafka: SecureKafka, mechanism: str) -> None:
    with pytest.raises(AuthenticationError, match="check the name and password") as raised:
        cluster_of(kafka.sasl_ssl, sasl(kafka, mechanism, password="wrong"))
    assert "\n" not in str(raised.value)
    assert mechanism in str(raised.value)


def test_tls_without_a_password(kafka: SecureKafka) -> None:
    security = SecuritySettings(protocol="SSL", ssl_truststore_location=kafka.ca)
    assert cluster_of(kafka.ssl, security)[0].cluster_id


def test_untrusted_certificate_is_one_clear_line(kafka: SecureKafka, tmp_path: Path) -> None:
    other = str(Authority.create(tmp_path).certificate)
    with pytest.raises(TlsError, match=r"not trusted.*ssl\.truststore\.location") as raised:
        cluster_of(kafka.sasl_ssl, sasl(kafka, "SCRAM-SHA-512", ca=other))
    assert "\n" not in str(raised.value)


def test_hostname_mismatch_is_one_clear_line_and_can_be_allowed(kafka: SecureKafka) -> None:
    address = kafka.ssl.replace("localhost", "127.0.0.1")
    security = SecuritySettings(protocol="SSL", ssl_truststore_location=kafka.ca)
    with pytest.raises(TlsError, match=r"not for '127\.0\.0\.1'"):
        cluster_of(address, security)
    lenient = SecuritySettings(
        protocol="SSL",
        ssl_truststore_location=kafka.ca,
        ssl_endpoint_identification_algorithm="",
    )
    assert cluster_of(address, lenient)[0].cluster_id


def test_plaintext_at_a_tls_port_is_one_clear_line(kafka: SecureKafka) -> None:
    with pytest.raises(TlsError, match=r"speaks TLS; set security\.protocol"):
        cluster_of(kafka.ssl, SecuritySettings())


def test_tls_at_a_plaintext_port_says_what_to_look_at(kafka: SecureKafka) -> None:
    security = SecuritySettings(protocol="SSL", ssl_truststore_location=kafka.ca)
    with pytest.raises(ConnectionLost, match=r"TLS handshake.*security\.protocol"):
        cluster_of(kafka.plaintext, security)


def test_no_password_where_one_is_asked_for_says_so(kafka: SecureKafka) -> None:
    with pytest.raises(ConnectionLost, match=r"set security\.protocol to SASL"):
        cluster_of(kafka.sasl_plaintext, SecuritySettings())


def test_unknown_mechanism_names_the_brokers(kafka: SecureKafka) -> None:
    with pytest.raises(AuthenticationError, match="it offers: none"):
        cluster_of(kafka.plaintext, sasl(kafka, "SCRAM-SHA-256", protocol="SASL_PLAINTEXT"))
