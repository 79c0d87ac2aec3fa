"""FindCoordinator: which broker coordinates a group.

The coordinator is the leader of the partition of `__consumer_offsets` that the group's name
hashes to. Versions before 4 ask for one key and are answered flat.
"""

from __future__ import annotations

from streamkit.broker.context import RequestContext
from streamkit.broker.coordinators.group.coordinator import OFFSETS_TOPIC
from streamkit.broker.metadata import BrokerAddress
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message, response_type
from streamkit.protocol.versions import fill

BATCHED_SINCE = 4
KEY_TYPES_SINCE = 1
GROUP = 0
LOAD_WAIT_S = 5.0


async def handle(ctx: RequestContext, request: Message) -> Message:
    """Answer each key."""
    version = ctx.api_version
    kind = request.key_type if version >= KEY_TYPES_SINCE else GROUP
    entity = response_type(ApiKey.FIND_COORDINATOR, version)
    if version < BATCHED_SINCE:
        values = await _find(ctx, kind, request.key)
        if version < KEY_TYPES_SINCE:
            values.pop("error_message")
        return fill(entity, values)
    coordinators = [{"key": key, **await _find(ctx, kind, key)} for key in request.coordinator_keys]
    return fill(entity, {"coordinators": coordinators})


async def _find(ctx: RequestContext, kind: int, key: str) -> dict[str, object]:
    try:
        broker = await _coordinator(ctx, kind, key)
    except ApiError as error:
        return {
            "error_code": error.code,
            "error_message": error.message or None,
            "node_id": -1,
            "host": "",
            "port": -1,
        }
    return {
        "error_code": ErrorCode.none,
        "error_message": None,
        "node_id": broker.id,
        "host": broker.host,
        "port": broker.port,
    }


async def _coordinator(ctx: RequestContext, kind: int, key: str) -> BrokerAddress:
    if kind != GROUP:
        raise ApiError(ErrorCode.invalid_request, f"coordinators of key type {kind} are not served")
    metadata = ctx.broker.metadata
    if OFFSETS_TOPIC not in metadata.image.topics:
        await metadata.create_missing_topic(OFFSETS_TOPIC)
    topic = metadata.image.topics.get(OFFSETS_TOPIC)
    index = ctx.broker.groups.partition_for(key)
    partition = topic.partitions.get(index) if topic is not None else None
    broker = metadata.broker(partition.leader) if partition is not None else None
    if broker is None:
        raise ApiError(
            ErrorCode.coordinator_not_available, f"{OFFSETS_TOPIC}-{index} has no leader"
        )
    if broker.id == ctx.broker.settings.node_id:
        # Its first request would be refused while the groups are loaded: better late than twice.
        await ctx.broker.elections.wait_loaded(index, LOAD_WAIT_S)
    return broker
