"""From the client's settings to those of the connection; stores are PEM files."""

from __future__ import annotations

from streamkit.client.settings import ClientSettings
from streamkit.net.security import SecuritySettings


def security_of(settings: ClientSettings) -> SecuritySettings:
    """The security of all connections of one client."""
    username, password = settings.credentials if settings.uses_sasl else ("", "")
    return SecuritySettings(
        protocol=settings.security_protocol,
        sasl_mechanism=settings.sasl_mechanism,
        sasl_username=username,
        sasl_password=password,
        ssl_truststore_location=settings.ssl_truststore_location
        or settings.ssl_ca_location
        or None,
        ssl_keystore_location=settings.ssl_keystore_location or None,
        ssl_key_password=settings.ssl_key_password or None,
        ssl_endpoint_identification_algorithm=settings.ssl_endpoint_identification_algorithm,
    )
