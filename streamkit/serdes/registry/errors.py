"""What the registry's client and the formats' libraries raise, as what a caller must do."""

from __future__ import annotations

from streamkit.common.errors import RetriableSerializationError, SerializationError
from streamkit.serdes.registry.client import SchemaRegistry

_RETRIABLE_STATUS = {408, 425, 429, 500, 502, 503, 504}
_REFUSED_STATUS = {401, 403}


def translated(error: Exception, what: str, registry: SchemaRegistry) -> SerializationError:
    """The error to raise; `what` begins its message.

    It is retriable when the registry cannot be reached or is in trouble. An unknown schema, a
    schema that does not fit, a value that does not fit it, and a wrong password are not.
    """
    from confluent_kafka.schema_registry import SchemaRegistryError

    if isinstance(error, SerializationError):
        return error
    if _is_unreachable(error):
        reason = str(error) or type(error).__name__
        return RetriableSerializationError(
            f"{what}: the schema registry {registry} cannot be reached: {reason}"
        )
    if not isinstance(error, SchemaRegistryError):
        return SerializationError(f"{what}: {_text(error)}")
    text = f"{what}: the schema registry {registry} says: {error}"
    if error.http_status_code in _RETRIABLE_STATUS:
        return RetriableSerializationError(text)
    if error.http_status_code in _REFUSED_STATUS:
        text += "; set basic.auth.user.info or bearer.auth.* in the config of the SchemaRegistry"
    return SerializationError(text)


def _is_unreachable(error: BaseException | None) -> bool:
    """Whether the client got no answer; its HTTP library may be any of two."""
    while error is not None:
        for kind in type(error).__mro__:
            if kind.__name__ == "TransportError" and kind.__module__.startswith("httpx"):
                return True
        error = error.__cause__
    return False


def _text(error: Exception) -> str:
    """One line: the libraries' messages may have several, or none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines) or type(error).__name__
