"""A request before its version is known; pure.

A `Draft` holds the fields of all versions by name; the connection's version decides which of
them are sent. A ready message of any version will do as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamkit.protocol.apis import ApiKey
from streamkit.protocol.messages import Message, request_type
from streamkit.protocol.versions import downgrade, fill


@dataclass(frozen=True, slots=True)
class Draft:
    """An API and its fields; `version_max` keeps to older versions, `version_min` refuses them."""

    api: ApiKey
    fields: Mapping[str, Any]
    version_max: int | None = None
    version_min: int = 0


Ask = Draft | Message
"""What `Client.call` takes."""


def api_of(ask: Ask) -> ApiKey:
    """The API that a request is for."""
    return ask.api if isinstance(ask, Draft) else ApiKey(int(ask.__api_key__))


def message_for(ask: Ask, version: int) -> Message:
    """The message in the version that the connection speaks."""
    if isinstance(ask, Draft):
        return fill(request_type(ask.api, version), ask.fields)
    return downgrade(ask, version)
