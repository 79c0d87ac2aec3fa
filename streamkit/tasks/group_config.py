"""Settings of the application that the protocol keeps with the group, not with its members.

Under KIP-1071 the coordinator places standbys; a member's `num.standby.replicas` would say nothing.
So it is written to the group's configuration, where any other tool may change it.
"""

from __future__ import annotations

import logging

from streamkit.client.admin import Admin, Resource, ResourceType
from streamkit.client.client import Client
from streamkit.common.errors import RetriableError, StreamkitError, UsageError
from streamkit.tasks.settings import StreamsSettings

log = logging.getLogger(__name__)

STANDBY_REPLICAS = "streams.num.standby.replicas"


async def configure_group(client: Client, settings: StreamsSettings, group_id: str) -> None:
    """Write what was set explicitly. Raises UsageError when the cluster does not take it."""
    if "num_standby_replicas" not in settings.model_fields_set:
        return
    wanted = str(settings.num_standby_replicas)
    admin = Admin(client.settings, client=client)
    group = Resource(ResourceType.GROUP, group_id)
    try:
        await admin.alter_configs(group, {STANDBY_REPLICAS: wanted})
    except RetriableError as error:
        log.warning("num.standby.replicas=%s is not in force yet: %s", wanted, error)
    except StreamkitError as error:
        raise UsageError(
            f"num.standby.replicas={wanted} was not taken as {STANDBY_REPLICAS} of group "
            f"{group_id}: {error}; leave it out and have it set there by whoever may"
        ) from error
    else:
        log.info("group %s: %s=%s", group_id, STANDBY_REPLICAS, wanted)
