"""ApiVersions (KIP-35, KIP-511, KIP-584): what this broker serves, its features and extensions.

A version that the broker does not know is answered with a version 0 body, error 35 and the whole
list: the client reads its maximum there and asks again.
"""

from __future__ import annotations

import re

from streamkit.broker.context import RequestContext
from streamkit.broker.handlers import SERVED
from streamkit.broker.settings import BrokerSettings
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.messages import Message, response_type
from streamkit.protocol.versions import fill
from streamkit.rebalance.extensions import GROUP_CONFIGS, TASK_OFFSETS, TOPOLOGY_UPDATES
from streamkit.rebalance.extensions import VERSION as EXTENSION

SOFTWARE_SINCE = 3
FEATURES_SINCE = 3
ZERO_MINIMUM_SINCE = 4
_SOFTWARE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")


async def handle(ctx: RequestContext, request: Message) -> Message:
    """Answer with the list; a malformed software name is refused in the asked version."""
    version = ctx.api_version
    error = ErrorCode.none
    if version >= SOFTWARE_SINCE:
        names = (request.client_software_name, request.client_software_version)
        if not all(_SOFTWARE.fullmatch(name) for name in names):
            error = ErrorCode.invalid_request
    if error is not ErrorCode.none:
        return fill(response_type(ApiKey.API_VERSIONS, version), {"error_code": error})
    values = {"error_code": error, "api_keys": _keys()}
    if version >= FEATURES_SINCE:
        values |= _features(ctx, version)
    return fill(response_type(ApiKey.API_VERSIONS, version), values)


def unsupported_version() -> Message:
    """The answer to a version of ApiVersions that is not known here."""
    values = {"error_code": ErrorCode.unsupported_version, "api_keys": _keys()}
    return fill(response_type(ApiKey.API_VERSIONS, 0), values)


def _keys() -> list[dict[str, int]]:
    return [
        {
            "api_key": int(served.api),
            "min_version": served.listed.min,
            "max_version": served.listed.max,
        }
        for served in SERVED.values()
    ]


def _extensions(settings: BrokerSettings) -> list[str]:
    """Those of our extensions that are on; clients of others pass over the unknown names."""
    switches = {
        GROUP_CONFIGS: True,
        TASK_OFFSETS: settings.group_streams_task_offsets,
        TOPOLOGY_UPDATES: settings.group_streams_topology_updates,
    }
    return sorted(name for name, is_on in switches.items() if is_on)


def _features(ctx: RequestContext, version: int) -> dict[str, object]:
    features = ctx.broker.metadata.features()
    return {
        "supported_features": [
            {"name": name, "min_version": low, "max_version": high}
            for name, (low, high) in sorted(features.supported.items())
            # Clients before version 4 refuse a minimum of 0 (KAFKA-17011).
            if low > 0 or version >= ZERO_MINIMUM_SINCE
        ]
        + [
            {"name": name, "min_version": EXTENSION, "max_version": EXTENSION}
            for name in _extensions(ctx.broker.settings)
        ],
        "finalized_features_epoch": features.epoch,
        "finalized_features": [
            {"name": name, "max_version_level": level, "min_version_level": level}
            for name, level in sorted(features.finalized.items())
            if level > 0
        ],
    }
