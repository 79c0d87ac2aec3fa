"""FindCoordinator: which broker coordinates a group or a transactional id.

The coordinator is the leader of the partition of `__consumer_offsets` or `__transaction_state`
that the key hashes to. Versions before 4 ask for one key and are answered flat.
"""

from __future__ import annotations

from streamkit.broker.context import RequestContext
from streamkit.broker.metadata import OFFSETS_TOPIC, TRANSACTIONS_TOPIC, BrokerAddress
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message, response_type
from streamkit.protocol.versions import fill

BATCHED_SINCE = 4
KEY_TYPES_SINCE = 1
GROUP = 0
TRANSACTION = 1
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
    broker = ctx.broker
    if kind == GROUP:
        topic_name, index = OFFSETS_TOPIC, broker.groups.partition_for(key)
        elections = broker.elections
    elif kind == TRANSACTION:
        topic_name, index = TRANSACTIONS_TOPIC, broker.transactions.partition_for(key)
        elections = broker.transaction_elections
    else:
        raise ApiError(ErrorCode.invalid_request, f"coordinators of key type {kind} are not served")
    metadata = broker.metadata
    if topic_name not in metadata.image.topics:
        await metadata.create_missing_topic(topic_name)
    topic = metadata.image.topics.get(topic_name)
    partition = topic.partitions.get(index) if topic is not None else None
    found = metadata.broker(partition.leader) if partition is not None else None
    if found is None:
        raise ApiError(ErrorCode.coordinator_not_available, f"{topic_name}-{index} has no leader")
    if found.id == broker.settings.node_id:
        # Its first request would be refused while it is loaded: better late than twice.
        await elections.wait_loaded(index, LOAD_WAIT_S)
    return found
