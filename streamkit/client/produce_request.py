"""Produce requests and what their answers say of each partition; pure.

Built without `fill`, because a worker makes thousands of them a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from streamkit.client.batch import Batch
from streamkit.client.metadata import BrokerView, ClusterView
from streamkit.common.model import TopicPartition
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.messages import nested_types, request_type
from streamkit.protocol.units import from_ms

TOPIC_IDS_SINCE: Final = 13


@dataclass(frozen=True, slots=True)
class ProduceAnswer:
    """One partition of a Produce response; `leader` is -1 unless the broker named one."""

    tp: TopicPartition
    code: int
    base_offset: int
    message: str | None
    leader: int
    leader_epoch: int


def version_for(view: ClusterView, batches: Sequence[Batch], newest: int) -> int:
    """The version to speak: topic ids only where all ids are known."""
    if newest >= TOPIC_IDS_SINCE and any(view.topic_id(b.tp.topic) is None for b in batches):
        return TOPIC_IDS_SINCE - 1
    return newest


def produce_request(
    version: int,
    view: ClusterView,
    batches: Sequence[Batch],
    *,
    acks: int,
    timeout_ms: int,
    transactional_id: str | None,
) -> Any:
    """The request with one batch of each partition."""
    request, topic_type, partition_type = _types(version)
    topics: dict[str, list[Any]] = {}
    for batch in batches:
        data = partition_type(index=batch.tp.partition, records=batch.data)
        topics.setdefault(batch.tp.topic, []).append(data)
    return request(
        transactional_id=transactional_id,
        acks=acks,
        timeout=from_ms(timeout_ms),
        topic_data=tuple(
            topic_type(topic_id=view.topic_id(name), partition_data=tuple(partitions))
            if version >= TOPIC_IDS_SINCE
            else topic_type(name=name, partition_data=tuple(partitions))
            for name, partitions in topics.items()
        ),
    )


def answers_of(
    response: Any, batches: Sequence[Batch], sent_ids: dict[Any, str]
) -> Iterator[tuple[Batch, ProduceAnswer]]:
    """Each batch with its answer; one that the broker passed over is left out."""
    by_partition = {batch.tp: batch for batch in batches}
    for topic in response.responses:
        name = topic.name if hasattr(topic, "name") else sent_ids.get(topic.topic_id, "")
        for answer in topic.partition_responses:
            tp = TopicPartition(name, answer.index)
            batch = by_partition.get(tp)
            if batch is not None:
                yield batch, _answer(tp, answer)


def endpoints_of(response: Any) -> tuple[BrokerView, ...]:
    """The brokers that the answer names with new leaders (KIP-951)."""
    return tuple(
        BrokerView(e.node_id, e.host, e.port, e.rack)
        for e in getattr(response, "node_endpoints", ())
    )


def _answer(tp: TopicPartition, answer: Any) -> ProduceAnswer:
    leader = getattr(answer, "current_leader", None)
    return ProduceAnswer(
        tp,
        int(answer.error_code),
        answer.base_offset,
        getattr(answer, "error_message", None),
        leader.leader_id if leader is not None else -1,
        leader.leader_epoch if leader is not None else -1,
    )


@cache
def _types(version: int) -> tuple[type[Any], type[Any], type[Any]]:
    request = request_type(ApiKey.PRODUCE, version)
    topic = nested_types(request)["topic_data"]
    return request, topic, nested_types(topic)["partition_data"]
