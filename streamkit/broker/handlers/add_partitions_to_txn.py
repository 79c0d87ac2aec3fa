"""AddPartitionsToTxn: partitions that a transaction writes to.

Up to version 3 a client adds those of its own transaction, all or none; from 4 on brokers add or
verify those of many (KIP-890).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streamkit.broker.context import RequestContext
from streamkit.broker.coordinators.transaction.model import EPOCH_PER_TRANSACTION
from streamkit.broker.coordinators.transaction.rules import AddRequest
from streamkit.common.model import TopicPartition
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.messages import Message, response_type
from streamkit.protocol.versions import fill

BATCHED_SINCE = 4
FENCED_SINCE = 2

Errors = Mapping[TopicPartition, ErrorCode]


async def handle(ctx: RequestContext, request: Message) -> Message:
    """Answer each partition."""
    version = ctx.api_version
    entity = response_type(ApiKey.ADD_PARTITIONS_TO_TXN, version)
    if version < BATCHED_SINCE:
        errors = await _add_for_client(ctx, request)
        return fill(entity, {"results_by_topic_v3_and_below": _by_topic(errors)})
    results = [
        {
            "transactional_id": each.transactional_id,
            "topic_results": _by_topic(await _add_for_broker(ctx, each)),
        }
        for each in request.transactions
    ]
    return fill(entity, {"results_by_transaction": results})


async def _add_for_client(ctx: RequestContext, request: Message) -> Errors:
    partitions = _partitions(request.v3_and_below_topics)
    unknown = [each for each in partitions if not _exists(ctx, each)]
    if unknown:
        untouched = dict.fromkeys(partitions, ErrorCode.operation_not_attempted)
        return untouched | dict.fromkeys(unknown, ErrorCode.unknown_topic_or_partition)
    added = AddRequest(
        request.v3_and_below_transactional_id,
        request.v3_and_below_producer_id,
        request.v3_and_below_producer_epoch,
        frozenset(partitions),
    )
    code = await _add(ctx, added)
    if code is ErrorCode.producer_fenced and ctx.api_version < FENCED_SINCE:
        code = ErrorCode.invalid_producer_epoch
    return dict.fromkeys(partitions, code)


async def _add_for_broker(ctx: RequestContext, transaction: Message) -> Errors:
    partitions = _partitions(transaction.topics)
    added = AddRequest(
        transaction.transactional_id,
        transaction.producer_id,
        transaction.producer_epoch,
        frozenset(partitions),
        EPOCH_PER_TRANSACTION,
    )
    if not transaction.verify_only:
        return dict.fromkeys(partitions, await _add(ctx, added))
    try:
        return ctx.broker.transactions.verify(added)
    except ApiError as error:
        return dict.fromkeys(partitions, error.code)


async def _add(ctx: RequestContext, request: AddRequest) -> ErrorCode:
    try:
        await ctx.broker.transactions.add_partitions(request)
    except ApiError as error:
        return error.code
    return ErrorCode.none


def _exists(ctx: RequestContext, partition: TopicPartition) -> bool:
    topic = ctx.broker.metadata.image.topics.get(partition.topic)
    return topic is not None and partition.partition in topic.partitions


def _partitions(topics: Iterable[Message]) -> list[TopicPartition]:
    return [TopicPartition(topic.name, index) for topic in topics for index in topic.partitions]


def _by_topic(errors: Errors) -> list[dict[str, object]]:
    topics: dict[str, list[dict[str, object]]] = {}
    for (topic, index), code in errors.items():
        result: dict[str, object] = {"partition_index": index, "partition_error_code": code}
        topics.setdefault(topic, []).append(result)
    return [{"name": name, "results_by_partition": found} for name, found in topics.items()]
