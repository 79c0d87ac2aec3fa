"""How a client secures its connections, and the TLS context that follows from it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Final

from streamkit.common.errors import ConfigError
from streamkit.common.seams import Disk
from streamkit.net.errors import ConnectionLost, TlsError

PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")

_X509_HOSTNAME_MISMATCH: Final = (62, 64)
_X509_EXPIRED: Final = (9, 10)


@dataclass(frozen=True, slots=True)
class SecuritySettings:
    """Kafka's client settings of security; stores are PEM files."""

    protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str = ""
    sasl_password: str = field(default="", repr=False)
    ssl_truststore_location: str | None = None
    ssl_keystore_location: str | None = None
    ssl_key_password: str | None = field(default=None, repr=False)
    ssl_endpoint_identification_algorithm: str = "https"

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ConfigError(
                f"security.protocol {self.protocol!r} is unknown; use one of {', '.join(PROTOCOLS)}"
            )
        if self.ssl_endpoint_identification_algorithm.lower() not in ("https", ""):
            raise ConfigError("ssl.endpoint.identification.algorithm is https or empty")

    @property
    def is_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.protocol in ("SSL", "SASL_SSL")

    @property
    def is_sasl(self) -> bool:
        """Whether connections authenticate with SASL."""
        return self.protocol.startswith("SASL_")


def tls_context(settings: SecuritySettings, disk: Disk) -> ssl.SSLContext | None:
    """The context to dial with; None without TLS. Raises TlsError for a store that is no PEM."""
    if not settings.is_tls:
        return None
    context = ssl.create_default_context(cadata=_trusted(settings, disk))
    context.check_hostname = settings.ssl_endpoint_identification_algorithm != ""
    if settings.ssl_keystore_location is not None:
        try:
            context.load_cert_chain(
                settings.ssl_keystore_location, password=settings.ssl_key_password
            )
        except (OSError, ssl.SSLError) as error:
            raise TlsError(
                f"ssl.keystore.location {settings.ssl_keystore_location}: {error}"
            ) from None
    return context


def _trusted(settings: SecuritySettings, disk: Disk) -> str | None:
    path = settings.ssl_truststore_location
    if path is None:
        return None
    try:
        text = disk.read(path).decode("ascii", "replace")
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError):
        raise TlsError(
            f"ssl.truststore.location {path} is not a file of PEM certificates"
        ) from None
    except OSError as error:
        raise TlsError(f"ssl.truststore.location {path}: {error.strerror or error}") from None
    return text


def handshake_cut(host: str, port: int) -> ConnectionLost:
    """The one line for an end that went away in mid-handshake; it may only be restarting."""
    return ConnectionLost(
        f"{host}:{port} closed the connection during the TLS handshake; if that goes on, see"
        " whether it is a TLS port and security.protocol right"
    )


def tls_error(error: ssl.SSLError, host: str, port: int) -> TlsError | ConnectionLost:
    """The one line for a handshake that failed."""
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return handshake_cut(host, port)
    where = f"TLS with {host}:{port} failed"
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _X509_HOSTNAME_MISMATCH:
            return TlsError(
                f"{where}: its certificate is not for {host!r}; use a name that it holds, or set"
                " ssl.endpoint.identification.algorithm= to skip the check"
            )
        if error.verify_code in _X509_EXPIRED:
            return TlsError(f"{where}: {error.verify_message}; renew the broker's certificate")
        return TlsError(
            f"{where}: its certificate is not trusted ({error.verify_message}); put its CA's PEM"
            " into ssl.truststore.location"
        )
    reason = (getattr(error, "reason", None) or str(error)).lower().replace("_", " ")
    return TlsError(f"{where}: {reason}; is it a TLS port, and security.protocol right?")
