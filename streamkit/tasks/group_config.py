"""Settings of the application that the protocol keeps with the group, not with its members.

Under KIP-1071 the coordinator places standbys; a member's `num.standby.replicas` would say nothing.
So it is written to the group's configuration, where any other tool may change it. What Apache Kafka
has no group config for, and ignores under this protocol, goes only to a broker that advertises it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from streamkit.client.admin import Admin, Resource, ResourceType
from streamkit.client.client import Client
from streamkit.common.errors import RetriableError, StreamkitError, UsageError
from streamkit.rebalance.extensions import GROUP_CONFIGS
from streamkit.tasks.settings import StreamsSettings

log = logging.getLogger(__name__)

KEYS = {"num.standby.replicas": "streams.num.standby.replicas"}
OUR_KEYS = {
    "max.warmup.replicas": "streams.num.warmup.replicas",
    "acceptable.recovery.lag": "streams.acceptable.recovery.lag",
    "rack.aware.assignment.tags": "streams.rack.aware.assignment.tags",
}
"""Group configs by the settings of Kafka Streams."""


async def configure_group(
    client: Client, settings: StreamsSettings, group_id: str, extensions: Collection[str]
) -> None:
    """Write what was set explicitly. Raises UsageError when the cluster does not take it."""
    wanted = _set(settings, KEYS)
    ours = _set(settings, OUR_KEYS)
    if GROUP_CONFIGS in extensions:
        wanted |= ours
    elif ours:
        names = ", ".join(key for key, name in OUR_KEYS.items() if name in ours)
        log.warning("%s: the cluster has no such thing for streams groups; ignored", names)
    if wanted:
        await _write(client, group_id, wanted)


def _set(settings: StreamsSettings, keys: Mapping[str, str]) -> dict[str, str]:
    """Those of the settings that were given, as group configs."""
    fields = {key: key.replace(".", "_") for key in keys}
    return {
        keys[key]: _text(getattr(settings, name))
        for key, name in fields.items()
        if name in settings.model_fields_set
    }


def _text(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


async def _write(client: Client, group_id: str, wanted: Mapping[str, str]) -> None:
    admin = Admin(client.settings, client=client)
    listed = ", ".join(f"{name}={value}" for name, value in wanted.items())
    try:
        await admin.alter_configs(Resource(ResourceType.GROUP, group_id), wanted)
    except RetriableError as error:
        log.warning("%s: not in force yet: %s", listed, error)
    except StreamkitError as error:
        raise UsageError(
            f"{listed} was not taken as configuration of group {group_id}: {error}; leave the "
            "settings out and have the group's set by whoever may"
        ) from error
    else:
        log.info("group %s: %s", group_id, listed)
