"""Which version of each API two ends speak, and which features the cluster has (KIP-35, KIP-584).

A broker that does not know the version of an ApiVersions request answers with error 35 in a body
of version 0; the client then asks again with the newest version that the answer names.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from streamkit.protocol.apis import VERSIONS, ApiKey, VersionRange
from streamkit.protocol.errors import ApiError, ErrorCode, MalformedMessage
from streamkit.protocol.messages import Bytes, Message, decode_response, request_type
from streamkit.protocol.versions import fill, upgrade

_ERROR_CODE: Final = struct.Struct(">ih")


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What a broker said of itself, cut to what we speak."""

    versions: Mapping[int, int]
    features: Mapping[str, int]
    supported_features: Mapping[str, VersionRange]

    def version_of(self, api: int) -> int | None:
        """The newest version that both ends speak; None when there is none."""
        return self.versions.get(api)


def versions_request(version: int, software_name: str, software_version: str) -> Message:
    """The ApiVersions request."""
    names = {"client_software_name": software_name, "client_software_version": software_version}
    return fill(request_type(ApiKey.API_VERSIONS, version), names)


def read_versions_response(version: int, buffer: Bytes) -> tuple[int, Message]:
    """The correlation id and the response, whose body is version 0 when the error is 35."""
    try:
        _, code = _ERROR_CODE.unpack_from(buffer, 0)
    except struct.error as error:
        raise MalformedMessage(f"ApiVersions response: {error}") from None
    body_version = 0 if code == ErrorCode.unsupported_version else version
    return decode_response(ApiKey.API_VERSIONS, body_version, buffer)


def retry_version(response: Message) -> int | None:
    """The ApiVersions version to ask again with after error 35; None when there is none."""
    if response.error_code != ErrorCode.unsupported_version:
        return None
    for row in response.api_keys:
        if row.api_key == ApiKey.API_VERSIONS:
            return _common(VERSIONS[ApiKey.API_VERSIONS], row.min_version, row.max_version)
    return 0


def negotiate(response: Message) -> Negotiated:
    """The outcome of an ApiVersions response. Raises ApiError when it is an error."""
    if response.error_code != ErrorCode.none:
        raise ApiError(response.error_code, "ApiVersions was refused")
    canonical = upgrade(response)
    versions: dict[int, int] = {}
    for row in canonical.api_keys:
        ours = VERSIONS.get(row.api_key)
        common = None if ours is None else _common(ours, row.min_version, row.max_version)
        if common is not None:
            versions[row.api_key] = common
    return Negotiated(
        versions,
        {row.name: row.max_version_level for row in canonical.finalized_features},
        {
            row.name: VersionRange(row.min_version, row.max_version)
            for row in canonical.supported_features
        },
    )


def _common(ours: VersionRange, low: int, high: int) -> int | None:
    newest = min(ours.max, high)
    return newest if newest >= max(ours.min, low) else None
