"""The topology with the epoch that fits the group as it is, looked up before joining."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace

from streamkit.client.admin import Admin
from streamkit.client.client import Client
from streamkit.common.errors import StreamkitError
from streamkit.rebalance.description import DescribedGroup, described_group
from streamkit.rebalance.extensions import TOPOLOGY_UPDATES
from streamkit.rebalance.rules import GroupTopology
from streamkit.rebalance.updates import next_epoch

log = logging.getLogger(__name__)


async def fitting_topology(
    client: Client, group_id: str, wanted: GroupTopology, extensions: Collection[str]
) -> GroupTopology:
    """`wanted` with the epoch to join with.

    A broker that takes no updates gets the topology as it is, and says itself that it will not do.
    Raises UsageError when the group has a topology that this one can neither follow nor precede.
    """
    described = await _describe(client, group_id)
    epoch = next_epoch(described, wanted)
    known = None if described is None else described.topology_epoch
    if known is not None and epoch != known and TOPOLOGY_UPDATES not in extensions:
        return wanted
    if known is not None and epoch > known:
        log.info("group %s: topology epoch %d follows on %d", group_id, epoch, known)
    if described is not None and known is not None and epoch < known:
        log.warning(
            "group %s: its topology (epoch %d) is newer than this program's; %s",
            group_id, known,
            "start the worker with the new program, which runs what this one does not have"
            if described.members
            else "it has no members, and goes back to this program's",
        )  # fmt: skip
    return replace(wanted, epoch=epoch)


async def _describe(client: Client, group_id: str) -> DescribedGroup | None:
    """The group; None when there is none. What else is wrong, joining says better."""
    try:
        return described_group(await Admin.of(client).describe_streams_group(group_id))
    except StreamkitError as error:
        log.debug("%s", error)
        return None
