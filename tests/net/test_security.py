"""Security settings, the TLS context, and what TLS errors say."""

from __future__ import annotations

import ssl

import pytest

from streamkit.common.errors import ConfigError
from streamkit.net.errors import ConnectionLost, TlsError
from streamkit.net.security import SecuritySettings, tls_context, tls_error
from streamkit.testing.disk import MemoryDisk


def verification_error(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, message)
    error.verify_code = code
    error.verify_message = message
    return error


@pytest.mark.parametrize(
    ("protocol", "is_tls", "is_sasl"),
    [
        ("PLAINTEXT", False, False),
        ("SSL", True, False),
        ("SASL_PLAINTEXT", False, True),
        ("SASL_SSL", True, True),
    ],
)
def test_protocols(protocol: str, is_tls: bool, is_sasl: bool) -> None:
    settings = SecuritySettings(protocol=protocol)
    assert (settings.is_tls, settings.is_sasl) == (is_tls, is_sasl)


def test_unknown_values_name_their_key() -> None:
    with pytest.raises(ConfigError, match=r"security\.protocol"):
        SecuritySettings(protocol="TLS")
    with pytest.raises(ConfigError, match=r"ssl\.endpoint\.identification\.algorithm"):
        SecuritySettings(ssl_endpoint_identification_algorithm="ldap")


def test_passwords_are_not_shown() -> None:
    assert "secret" not in repr(SecuritySettings(sasl_password="secret", ssl_key_password="secret"))


def test_no_context_without_tls() -> None:
    assert tls_context(SecuritySettings(), MemoryDisk()) is None


def test_hostname_is_checked_unless_switched_off() -> None:
    checked = tls_context(SecuritySettings(protocol="SSL"), MemoryDisk())
    unchecked = tls_context(
        SecuritySettings(protocol="SSL", ssl_endpoint_identification_algorithm=""), MemoryDisk()
    )
    assert checked is not None
    assert unchecked is not None
    assert (checked.check_hostname, unchecked.check_hostname) == (True, False)
    assert checked.verify_mode == unchecked.verify_mode == ssl.CERT_REQUIRED


def test_bad_stores_name_their_key() -> None:
    disk = MemoryDisk()
    disk.write_atomic("not.pem", b"nothing of the sort")
    for path in ("not.pem", "missing.pem"):
        with pytest.raises(TlsError, match=rf"ssl\.truststore\.location {path}"):
            tls_context(SecuritySettings(protocol="SSL", ssl_truststore_location=path), disk)
    with pytest.raises(TlsError, match=r"ssl\.keystore\.location /no/such"):
        tls_context(SecuritySettings(protocol="SSL", ssl_keystore_location="/no/such"), disk)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (verification_error(62, "hostname mismatch"), "not for 'node-7'"),
        (verification_error(10, "certificate has expired"), "expired; renew"),
        (verification_error(19, "self-signed"), r"not trusted \(self-signed\)"),
        (ssl.SSLError(1, "wrong version number"), "is it a TLS port"),
    ],
)
def test_tls_errors_are_one_line(error: ssl.SSLError, line: str) -> None:
    told = tls_error(error, "node-7", 9093)
    assert isinstance(told, TlsError)
    with pytest.raises(TlsError, match=line):
        raise told
    assert "node-7:9093" in str(told)
    assert "\n" not in str(told)


def test_end_that_goes_away_in_the_handshake_may_come_back() -> None:
    assert isinstance(tls_error(ssl.SSLEOFError(8, "EOF"), "node-7", 9093), ConnectionLost)
