"""The client's view of the cluster: brokers, topics, leaders and epochs; pure values.

A view never changes; `merged` makes the next one out of a Metadata response. An older leader
epoch of the same topic never replaces a newer one (KIP-320).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from streamkit.common.model import TopicPartition
from streamkit.protocol.errors import ErrorCode

NO_ID = UUID(int=0)
"""What the protocol sends where a topic has no id."""


@dataclass(frozen=True, slots=True)
class BrokerView:
    """One broker and where it listens."""

    node_id: int
    host: str
    port: int
    rack: str | None = None

    @property
    def address(self) -> str:
        """`HOST:PORT`."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PartitionView:
    """One partition; `leader` is -1 while it has none."""

    index: int
    leader: int
    leader_epoch: int
    replicas: tuple[int, ...] = ()
    isr: tuple[int, ...] = ()
    offline: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TopicView:
    """One topic; `topic_id` is None where the broker has no ids."""

    name: str
    topic_id: UUID | None
    partitions: tuple[PartitionView, ...]
    is_internal: bool = False


@dataclass(frozen=True, slots=True)
class ClusterView:
    """What the client knows of a cluster. `errors` holds topics that could not be described."""

    cluster_id: str | None = None
    controller_id: int = -1
    brokers: Mapping[int, BrokerView] = field(default_factory=dict)
    topics: Mapping[str, TopicView] = field(default_factory=dict)
    errors: Mapping[str, ErrorCode] = field(default_factory=dict)
    names: Mapping[UUID, str] = field(default_factory=dict)

    def partition(self, tp: TopicPartition) -> PartitionView | None:
        """The partition's view, or None when it is not known."""
        topic = self.topics.get(tp.topic)
        if topic is None or not 0 <= tp.partition < len(topic.partitions):
            return None
        return topic.partitions[tp.partition]

    def leader_of(self, tp: TopicPartition) -> int:
        """The node id of the leader, or -1 when there is none or it is not known."""
        partition = self.partition(tp)
        return partition.leader if partition is not None else -1

    def topic_id(self, topic: str) -> UUID | None:
        """The topic's id, or None when it is not known."""
        view = self.topics.get(topic)
        return view.topic_id if view is not None else None

    def partitions_of(self, topic: str) -> tuple[TopicPartition, ...]:
        """All partitions of a topic; empty when it is not known."""
        view = self.topics.get(topic)
        count = len(view.partitions) if view is not None else 0
        return tuple(TopicPartition(topic, index) for index in range(count))

    def by_leader(
        self, partitions: Iterable[TopicPartition]
    ) -> tuple[dict[int, list[TopicPartition]], list[TopicPartition]]:
        """Partitions by leader's node id, and those without a known leader."""
        found: dict[int, list[TopicPartition]] = {}
        missing: list[TopicPartition] = []
        for tp in partitions:
            leader = self.leader_of(tp)
            if leader < 0:
                missing.append(tp)
            else:
                found.setdefault(leader, []).append(tp)
        return found, missing


def merged(view: ClusterView, response: Any, *, all_topics: bool) -> ClusterView:
    """The view after a Metadata response (canonical version).

    Topics outside of the response stay, unless it lists `all_topics`.
    """
    topics = {} if all_topics else dict(view.topics)
    errors = {} if all_topics else dict(view.errors)
    for answer in response.topics:
        name = answer.name if answer.name is not None else view.names.get(answer.topic_id)
        if name is None:
            continue
        topics.pop(name, None)
        errors.pop(name, None)
        if answer.error_code:
            errors[name] = answer.error_code
        else:
            topics[name] = _topic(answer, view.topics.get(name))
    return ClusterView(
        cluster_id=response.cluster_id or view.cluster_id,
        controller_id=response.controller_id,
        brokers={b.node_id: BrokerView(b.node_id, b.host, b.port, b.rack) for b in response.brokers}
        or view.brokers,
        topics=topics,
        errors=errors,
        names={t.topic_id: name for name, t in topics.items() if t.topic_id is not None},
    )


def with_leader(
    view: ClusterView, tp: TopicPartition, leader: int, epoch: int, brokers: Iterable[BrokerView]
) -> ClusterView:
    """The view after a broker named a partition's new leader (KIP-951); older news is ignored."""
    partition = view.partition(tp)
    if partition is None or leader < 0 or epoch <= partition.leader_epoch:
        return view
    known = dict(view.brokers) | {broker.node_id: broker for broker in brokers}
    if leader not in known:
        return view
    topic = view.topics[tp.topic]
    partitions = list(topic.partitions)
    partitions[tp.partition] = replace(partition, leader=leader, leader_epoch=epoch)
    topics = dict(view.topics) | {tp.topic: replace(topic, partitions=tuple(partitions))}
    return replace(view, brokers=known, topics=topics)


def without_topics(view: ClusterView, gone: Iterable[str]) -> ClusterView:
    """The view without topics that nobody is interested in any more."""
    drop = set(gone)
    topics = {name: topic for name, topic in view.topics.items() if name not in drop}
    errors = {name: code for name, code in view.errors.items() if name not in drop}
    names = {t.topic_id: n for n, t in topics.items() if t.topic_id is not None}
    return replace(view, topics=topics, errors=errors, names=names)


def _topic(answer: Any, before: TopicView | None) -> TopicView:
    topic_id = answer.topic_id if answer.topic_id != NO_ID else None
    same = before is not None and before.topic_id == topic_id
    old = {p.index: p for p in before.partitions} if before is not None and same else {}
    partitions = sorted(
        (_partition(p, old.get(p.partition_index)) for p in answer.partitions),
        key=lambda p: p.index,
    )
    return TopicView(answer.name, topic_id, tuple(partitions), answer.is_internal)


def _partition(answer: Any, before: PartitionView | None) -> PartitionView:
    if before is not None and before.leader_epoch > answer.leader_epoch >= 0:
        return before
    return PartitionView(
        answer.partition_index,
        answer.leader_id,
        answer.leader_epoch,
        tuple(answer.replica_nodes),
        tuple(answer.isr_nodes),
        tuple(answer.offline_replicas),
    )
