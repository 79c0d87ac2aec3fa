"""What the metadata log says, as one value: the image.

An image never changes: readers keep the one they were given. `MetadataImage.apply` replays
records into a new one, copying only the tables that they touch, and tells what changed. Records
between BeginTransaction and EndTransaction take effect together (KIP-868).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar
from uuid import UUID

from streamkit.broker.kraft import records as r

K = TypeVar("K")
V = TypeVar("V")

UNASSIGNED_DIRECTORY = UUID(int=1)
TOPIC_RESOURCE = 2
BROKER_RESOURCE = 4
CLIENT_METRICS_RESOURCE = 16
GROUP_RESOURCE = 32


class ConfigResource(NamedTuple):
    """What a configuration belongs to: a type of DescribeConfigs and a name."""

    type: int
    name: str


@dataclass(frozen=True, slots=True)
class PartitionImage:
    """One partition as the controller sees it."""

    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    leader: int
    leader_epoch: int
    partition_epoch: int
    removing_replicas: tuple[int, ...] = ()
    adding_replicas: tuple[int, ...] = ()
    leader_recovery_state: int = 0
    directories: tuple[UUID | None, ...] = ()
    elr: tuple[int, ...] = ()
    last_known_elr: tuple[int, ...] = ()

    def changed(self, change: r.PartitionChangeRecord) -> PartitionImage:
        """This partition after a change: the leader epoch moves only when a leader is named."""
        names_leader = change.leader != r.NO_LEADER_CHANGE
        recovery = change.leader_recovery_state
        return PartitionImage(
            replicas=_new(change.replicas, self.replicas),
            isr=_new(change.isr, self.isr),
            leader=change.leader if names_leader else self.leader,
            leader_epoch=self.leader_epoch + names_leader,
            partition_epoch=self.partition_epoch + 1,
            removing_replicas=_new(change.removing_replicas, self.removing_replicas),
            adding_replicas=_new(change.adding_replicas, self.adding_replicas),
            leader_recovery_state=self.leader_recovery_state if recovery == r.UNSET else recovery,
            directories=_new(change.directories, self.directories),
            elr=_new(change.eligible_leader_replicas, self.elr),
            last_known_elr=_new(change.last_known_elr, self.last_known_elr),
        )


@dataclass(frozen=True, slots=True)
class TopicImage:
    """A topic and its partitions by number."""

    name: str
    id: UUID
    partitions: Mapping[int, PartitionImage]


@dataclass(frozen=True, slots=True)
class BrokerImage:
    """A registered broker. Fenced ones serve nothing and lead nothing."""

    id: int
    epoch: int
    incarnation_id: UUID | None
    endpoints: tuple[r.Endpoint, ...]
    features: tuple[r.FeatureRange, ...]
    rack: str | None
    fenced: bool
    in_controlled_shutdown: bool
    directories: tuple[UUID | None, ...]
    cordoned_directories: tuple[UUID | None, ...] | None

    @property
    def is_usable(self) -> bool:
        """Whether new replicas may be placed here and leaders be elected."""
        return not self.fenced and not self.in_controlled_shutdown


@dataclass(frozen=True, slots=True)
class MetadataDelta:
    """What one `apply` changed, in the order it happened; dict keys stand for ordered sets."""

    features: dict[str, None] = field(default_factory=dict)
    brokers: dict[int, None] = field(default_factory=dict)
    topics_created: dict[UUID, str] = field(default_factory=dict)
    topics_deleted: dict[UUID, str] = field(default_factory=dict)
    partitions: dict[tuple[UUID, int], None] = field(default_factory=dict)
    configs: dict[ConfigResource, None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MetadataImage:
    """Everything below an offset of the metadata log."""

    offset: int = -1
    """The last offset contained; -1 when there is none."""
    epoch: int = 0
    features: Mapping[str, int] = field(default_factory=dict)
    brokers: Mapping[int, BrokerImage] = field(default_factory=dict)
    controllers: Mapping[int, r.RegisterControllerRecord] = field(default_factory=dict)
    topics: Mapping[str, TopicImage] = field(default_factory=dict)
    topics_by_id: Mapping[UUID, TopicImage] = field(default_factory=dict)
    configs: Mapping[ConfigResource, Mapping[str, str]] = field(default_factory=dict)
    next_producer_id: int = 0
    kept: Mapping[tuple[object, ...], r.MetadataRecord] = field(default_factory=dict)
    """Credentials, ACLs, quotas and tokens: the newest record of each."""
    transaction: tuple[r.MetadataRecord, ...] | None = None
    """Records of the metadata transaction that is open here."""

    def apply(
        self, records: Iterable[r.MetadataRecord], *, offset: int, epoch: int
    ) -> tuple[MetadataImage, MetadataDelta]:
        """The image after `records`, the last of which is at `offset` in `epoch`."""
        work = _Replay(self)
        for each in records:
            work.replay_or_hold(each)
        return work.finish(offset, epoch), work.delta

    def as_delta(self) -> MetadataDelta:
        """What changed since an empty image: everything."""
        topics = self.topics.values()
        return MetadataDelta(
            features=dict.fromkeys(self.features),
            brokers=dict.fromkeys(self.brokers),
            topics_created={each.id: each.name for each in topics},
            partitions={(each.id, index): None for each in topics for index in each.partitions},
            configs=dict.fromkeys(self.configs),
        )

    def with_feature(self, name: str, level: int | None) -> MetadataImage:
        """This image with a level that no record carries (kraft.version); None leaves it."""
        return self if level is None else replace(self, features={**self.features, name: level})

    def topic_configs(self, topic: str) -> Mapping[str, str]:
        """What was set on a topic itself."""
        return self.configs.get(ConfigResource(TOPIC_RESOURCE, topic), {})

    def broker_configs(self, broker_id: int | None) -> Mapping[str, str]:
        """What was set on a broker; None stands for the cluster-wide default."""
        name = "" if broker_id is None else str(broker_id)
        return self.configs.get(ConfigResource(BROKER_RESOURCE, name), {})

    def group_configs(self, group: str) -> Mapping[str, str]:
        """What was set on a group."""
        return self.configs.get(ConfigResource(GROUP_RESOURCE, group), {})

    def usable_brokers(self) -> list[BrokerImage]:
        """Brokers that are neither fenced nor shutting down, by id."""
        return [self.brokers[i] for i in sorted(self.brokers) if self.brokers[i].is_usable]


class _Replay:
    """One `apply` under way: tables are copied when first written."""

    def __init__(self, image: MetadataImage) -> None:
        self.delta = MetadataDelta()
        self._base = image
        self._features = dict(image.features)
        self._brokers = dict(image.brokers)
        self._controllers = dict(image.controllers)
        self._topics: dict[str, TopicImage] | None = None
        self._ids: dict[UUID, TopicImage] = {}
        self._partitions: dict[UUID, dict[int, PartitionImage]] = {}
        self._configs: dict[ConfigResource, Mapping[str, str]] | None = None
        self._touched_configs: dict[ConfigResource, dict[str, str]] = {}
        self._kept: dict[tuple[object, ...], r.MetadataRecord] | None = None
        self._next_producer_id = image.next_producer_id
        self._held = None if image.transaction is None else list(image.transaction)

    def replay_or_hold(self, record: r.MetadataRecord) -> None:
        match record:
            case r.BeginTransactionRecord():
                self._held = []
            case r.AbortTransactionRecord():
                self._held = None
            case r.EndTransactionRecord():
                held, self._held = self._held or [], None
                for each in held:
                    self._replay(each)
            case _ if self._held is not None:
                self._held.append(record)
            case _:
                self._replay(record)

    def finish(self, offset: int, epoch: int) -> MetadataImage:
        base = self._base
        topics, ids = self._finished_topics()
        return MetadataImage(
            offset=offset,
            epoch=epoch,
            features=self._features,
            brokers=self._brokers,
            controllers=self._controllers,
            topics=topics,
            topics_by_id=ids,
            configs=base.configs if self._configs is None else self._configs,
            next_producer_id=self._next_producer_id,
            kept=base.kept if self._kept is None else self._kept,
            transaction=None if self._held is None else tuple(self._held),
        )

    def _finished_topics(self) -> tuple[Mapping[str, TopicImage], Mapping[UUID, TopicImage]]:
        if self._topics is None:
            return self._base.topics, self._base.topics_by_id
        for topic_id, partitions in self._partitions.items():
            topic = self._ids.get(topic_id)
            if topic is not None:
                finished = replace(topic, partitions=dict(sorted(partitions.items())))
                self._ids[topic_id] = self._topics[topic.name] = finished
        return self._topics, self._ids

    def _replay(self, record: r.MetadataRecord) -> None:
        match record:
            case r.TopicRecord():
                self._add_topic(record)
            case r.PartitionRecord():
                self._set_partition(record)
            case r.PartitionChangeRecord():
                self._change_partition(record)
            case r.RemoveTopicRecord():
                self._remove_topic(record)
            case r.ConfigRecord():
                self._set_config(record)
            case r.FeatureLevelRecord():
                _set_or_drop(self._features, record.name, record.feature_level or None)
                self.delta.features[record.name] = None
            case r.ProducerIdsRecord():
                self._next_producer_id = record.next_producer_id
            case r.RegisterControllerRecord():
                self._controllers[record.controller_id] = record
            case r.NoOpRecord() | r.ZkMigrationStateRecord():
                return
            case r.ClearElrRecord():
                self._clear_elr(record)
            case _:
                self._replay_broker(record)

    def _replay_broker(self, record: r.MetadataRecord) -> None:
        match record:
            case r.RegisterBrokerRecord():
                self._set_broker(record.broker_id, _registered(record))
            case r.UnregisterBrokerRecord():
                self._set_broker(record.broker_id, None)
            case r.BrokerRegistrationChangeRecord():
                broker = self._broker(record.broker_id)
                self._set_broker(broker.id, _changed(broker, record))
            case r.FenceBrokerRecord() | r.UnfenceBrokerRecord():
                fenced = isinstance(record, r.FenceBrokerRecord)
                self._set_broker(record.id, replace(self._broker(record.id), fenced=fenced))
            case _:
                self._keep(record)

    def _broker(self, broker_id: int) -> BrokerImage:
        broker = self._brokers.get(broker_id)
        assert broker is not None, f"a metadata record names broker {broker_id}, never registered"
        return broker

    def _set_broker(self, broker_id: int, broker: BrokerImage | None) -> None:
        _set_or_drop(self._brokers, broker_id, broker)
        self.delta.brokers[broker_id] = None

    def _writable_topics(self) -> tuple[dict[str, TopicImage], dict[UUID, TopicImage]]:
        if self._topics is None:
            self._topics = dict(self._base.topics)
            self._ids = dict(self._base.topics_by_id)
        return self._topics, self._ids

    def _add_topic(self, record: r.TopicRecord) -> None:
        topics, ids = self._writable_topics()
        assert record.topic_id is not None, f"topic {record.name} has no id"
        topics[record.name] = ids[record.topic_id] = TopicImage(record.name, record.topic_id, {})
        self._partitions[record.topic_id] = {}
        self.delta.topics_created[record.topic_id] = record.name

    def _remove_topic(self, record: r.RemoveTopicRecord) -> None:
        topics, ids = self._writable_topics()
        topic = self._topic(record.topic_id)
        del topics[topic.name], ids[topic.id]
        self._partitions.pop(topic.id, None)
        self._drop_configs(ConfigResource(TOPIC_RESOURCE, topic.name))
        if self.delta.topics_created.pop(topic.id, None) is None:
            self.delta.topics_deleted[topic.id] = topic.name

    def _topic(self, topic_id: UUID | None) -> TopicImage:
        ids = self._base.topics_by_id if self._topics is None else self._ids
        topic = None if topic_id is None else ids.get(topic_id)
        assert topic is not None, f"a metadata record names topic id {topic_id}, never created"
        return topic

    def _partitions_of(self, topic_id: UUID | None) -> dict[int, PartitionImage]:
        topic = self._topic(topic_id)
        found = self._partitions.get(topic.id)
        if found is None:
            self._writable_topics()
            found = self._partitions[topic.id] = dict(topic.partitions)
        return found

    def _set_partition(self, record: r.PartitionRecord) -> None:
        partitions = self._partitions_of(record.topic_id)
        partitions[record.partition_id] = PartitionImage(
            replicas=record.replicas,
            isr=record.isr,
            leader=record.leader,
            leader_epoch=record.leader_epoch,
            partition_epoch=record.partition_epoch,
            removing_replicas=record.removing_replicas,
            adding_replicas=record.adding_replicas,
            leader_recovery_state=record.leader_recovery_state,
            directories=record.directories,
            elr=record.eligible_leader_replicas or (),
            last_known_elr=record.last_known_elr or (),
        )
        self._touch(record.topic_id, record.partition_id)

    def _change_partition(self, record: r.PartitionChangeRecord) -> None:
        partitions = self._partitions_of(record.topic_id)
        partition = partitions.get(record.partition_id)
        assert partition is not None, f"{record.topic_id} has no partition {record.partition_id}"
        partitions[record.partition_id] = partition.changed(record)
        self._touch(record.topic_id, record.partition_id)

    def _touch(self, topic_id: UUID | None, partition: int) -> None:
        assert topic_id is not None, f"partition {partition} belongs to no topic"
        self.delta.partitions[topic_id, partition] = None

    def _clear_elr(self, record: r.ClearElrRecord) -> None:
        topics, _ = self._writable_topics()
        named = [topics[record.topic_name]] if record.topic_name else list(topics.values())
        for topic in named:
            partitions = self._partitions_of(topic.id)
            for index, partition in partitions.items():
                if partition.elr or partition.last_known_elr:
                    partitions[index] = replace(partition, elr=(), last_known_elr=())
                    self._touch(topic.id, index)

    def _set_config(self, record: r.ConfigRecord) -> None:
        resource = ConfigResource(record.resource_type, record.resource_name)
        configs = self._writable_configs()
        values = self._touched_configs.get(resource)
        if values is None:
            values = self._touched_configs[resource] = dict(configs.get(resource, {}))
        _set_or_drop(values, record.name, record.value)
        _set_or_drop(configs, resource, values or None)
        self.delta.configs[resource] = None

    def _drop_configs(self, resource: ConfigResource) -> None:
        self._touched_configs.pop(resource, None)
        if self._writable_configs().pop(resource, None) is not None:
            self.delta.configs[resource] = None

    def _writable_configs(self) -> dict[ConfigResource, Mapping[str, str]]:
        if self._configs is None:
            self._configs = dict(self._base.configs)
        return self._configs

    def _keep(self, record: r.MetadataRecord) -> None:
        if self._kept is None:
            self._kept = dict(self._base.kept)
        key, value = _kept_under(record)
        _set_or_drop(self._kept, key, value)


def _kept_under(
    record: r.MetadataRecord,
) -> tuple[tuple[object, ...], r.MetadataRecord | None]:
    """The key of a kept record, and the record, or None when it removes what is there."""
    match record:
        case r.UserScramCredentialRecord():
            return ("scram", record.name, record.mechanism), record
        case r.RemoveUserScramCredentialRecord():
            return ("scram", record.name, record.mechanism), None
        case r.DelegationTokenRecord():
            return ("token", record.token_id), record
        case r.RemoveDelegationTokenRecord():
            return ("token", record.token_id), None
        case r.AccessControlEntryRecord():
            return ("acl", record.id), record
        case r.RemoveAccessControlEntryRecord():
            return ("acl", record.id), None
        case r.ClientQuotaRecord():
            return ("quota", record.entity, record.key), None if record.remove else record
    raise AssertionError(f"no rule replays {type(record).__name__}")


def _registered(record: r.RegisterBrokerRecord) -> BrokerImage:
    return BrokerImage(
        id=record.broker_id,
        epoch=record.broker_epoch,
        incarnation_id=record.incarnation_id,
        endpoints=record.end_points,
        features=record.features,
        rack=record.rack,
        fenced=record.fenced,
        in_controlled_shutdown=record.in_controlled_shutdown,
        directories=record.log_dirs,
        cordoned_directories=record.cordoned_log_dirs,
    )


def _changed(broker: BrokerImage, record: r.BrokerRegistrationChangeRecord) -> BrokerImage:
    return replace(
        broker,
        fenced=record.fenced > 0 if record.fenced else broker.fenced,
        in_controlled_shutdown=broker.in_controlled_shutdown or bool(record.in_controlled_shutdown),
        directories=record.log_dirs or broker.directories,
        cordoned_directories=_new(record.cordoned_log_dirs, broker.cordoned_directories),
    )


def _new(changed: V | None, current: V) -> V:
    return current if changed is None else changed


def _set_or_drop(table: dict[K, V], key: K, value: V | None) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
