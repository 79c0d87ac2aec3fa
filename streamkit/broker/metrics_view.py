"""What can be read off a broker's parts when somebody asks: nothing of it costs in between.

The names are Kafka's, as in `metrics`; a gauge that Kafka has for what this broker does not have
is left out rather than shown as zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from streamkit.broker.context import BrokerParts
from streamkit.broker.coordinators.group.counts import GroupCounts
from streamkit.broker.coordinators.group.listing import CLASSIC, list_groups
from streamkit.broker.kraft.image import MetadataImage
from streamkit.broker.partitions import Partition
from streamkit.common.metrics import RING_SIZE, Distribution, Family, Kind, Labels, Sample

RUNNING = 3
"""Kafka's BrokerState of a broker that serves."""
ONLY_PROCESSOR = "0"
"""Kafka has several network threads; here the event loop is all of them."""
CLASSIC_STATES = ("PreparingRebalance", "CompletingRebalance", "Stable", "Empty", "Dead")
GROUP_TYPES = ("classic", "consumer", "streams")
CONSUMER_STATES = ("Empty", "Assigning", "Reconciling", "Stable", "Dead")
STREAMS_STATES = ("Empty", "NotReady", "Assigning", "Reconciling", "Stable", "Dead")
PHASES = ("loading", "active", "failed")
TIME_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999), ("max", 1.0))


class NodeView:
    """The families of one node."""

    def __init__(self, parts: BrokerParts, connections: Callable[[], int]) -> None:
        self._parts = parts
        self._connections = connections

    def __call__(self) -> Iterator[Family]:
        """All of them, as a collector of the registry."""
        partitions = list(self._parts.replicas)
        yield from _replica_manager(partitions)
        yield from _partitions([each for each in partitions if not each.is_offline])
        yield from self._controller()
        yield from self._groups()
        yield from self._transactions()
        yield from self._sessions()
        yield from _purgatory(partitions)

    def _controller(self) -> Iterator[Family]:
        metadata = self._parts.metadata
        image, quorum = metadata.image, metadata.quorum_state()
        prefix = "kafka_controller_kafkacontroller_"
        is_active = quorum.leader_id == self._parts.settings.node_id
        yield gauge(
            f"{prefix}activecontrollercount",
            "1 where this node is the active controller.",
            is_active,
        )
        yield from _cluster(image, prefix)
        raft = "kafka_server_raftmetrics_"
        yield gauge(f"{raft}current_leader", "The metadata quorum's leader.", quorum.leader_id)
        yield gauge(f"{raft}current_epoch", "The metadata quorum's epoch.", quorum.leader_epoch)
        yield gauge(
            f"{raft}high_watermark",
            "The end of what is committed of the metadata.",
            quorum.high_watermark,
        )
        yield gauge(f"{raft}log_end_offset", "The end of the metadata log.", quorum.log_end_offset)
        yield gauge(f"{raft}number_of_voters", "Voters of the metadata quorum.", len(quorum.voters))
        yield gauge(
            "kafka_server_brokermetadatametrics_last_applied_record_offset",
            "The last offset of the metadata that this broker acts on.",
            image.offset,
        )
        yield gauge("kafka_server_kafkaserver_brokerstate", "3: it runs.", RUNNING)

    def _groups(self) -> Iterator[Family]:
        groups = self._parts.groups
        shards = list(groups.shards())
        listed = [group for shard in shards for group in list_groups(shard)]
        types = Counter(group.group_type.lower() for group in listed)
        states = Counter((group.group_type, group.group_state) for group in listed)
        prefix = "kafka_coordinator_group_groupmetadatamanager_num"
        yield gauge(f"{prefix}groups", "Classic groups.", types["classic"])
        for state in CLASSIC_STATES:
            name = f"{prefix}groups{state.lower()}"
            yield gauge(name, f"Classic groups that are {state}.", states[CLASSIC, state])
        offsets = sum(len(each) for shard in shards for each in shard.offsets.by_group.values())
        yield gauge(f"{prefix}offsets", "Committed offsets.", offsets)
        own = "kafka_server_group_coordinator_metrics_"
        yield by_label(
            f"{own}group_count",
            "Groups by type.",
            "protocol",
            {each: types[each] for each in GROUP_TYPES},
        )
        for kind, known in (("consumer", CONSUMER_STATES), ("streams", STREAMS_STATES)):
            counts = {state: states[kind, state] for state in known}
            told = f"{kind.capitalize()} groups."
            yield by_label(f"{own}{kind}_group_count", told, "state", counts)
        yield _phases(own, groups.phases())
        yield from _group_counts(own, groups.counts)
        yield gauge(
            f"{own}event_queue_size", "Writes that wait for their turn.", groups.waiting_count
        )
        yield from _times(f"{own}event_queue_time_ms", "Wait for its turn", groups.times.queue)
        yield from _times(
            f"{own}event_processing_time_ms", "Work, with its records", groups.times.processing
        )
        yield from _loads(own, groups.times.load)

    def _transactions(self) -> Iterator[Family]:
        transactions = self._parts.transactions
        states = Counter(each.state.value for each in transactions.known())
        # Kafka has no gauge of this; operators of hanging transactions miss it.
        yield by_label(
            "streamkit_transaction_count", "Transactional ids by state.", "state", states
        )
        yield _phases("streamkit_transaction_coordinator_", transactions.phases())
        yield from _loads("kafka_server_transaction_coordinator_metrics_", transactions.times.load)

    def _sessions(self) -> Iterator[Family]:
        sessions = self._parts.fetch_sessions
        prefix = "kafka_server_fetchsessioncache_numincrementalfetch"
        yield gauge(f"{prefix}sessions", "Fetch sessions.", len(sessions))
        yield gauge(
            f"{prefix}partitionscached", "Partitions in fetch sessions.", sessions.partition_count
        )
        labels = (
            ("listener", self._parts.settings.listener.name),
            ("networkProcessor", ONLY_PROCESSOR),
        )
        yield Family(
            "kafka_server_socket_server_metrics_connection_count",
            Kind.GAUGE,
            "Open connections.",
            [Sample(labels, self._connections())],
            ("listener", "networkProcessor"),
        )


def _replica_manager(partitions: Sequence[Partition]) -> Iterator[Family]:
    led = [each for each in partitions if each.is_leader]
    prefix = "kafka_server_replicamanager_"
    yield gauge(f"{prefix}partitioncount", "Partitions with a replica here.", len(partitions))
    yield gauge(f"{prefix}leadercount", "Partitions led here.", len(led))
    offline = sum(each.is_offline for each in partitions)
    yield gauge(f"{prefix}offlinereplicacount", "Replicas whose disk failed.", offline)
    yield gauge(
        f"{prefix}underreplicatedpartitions",
        "Partitions led here with fewer in-sync replicas than replicas.",
        sum(each.insync_count < each.replica_count for each in led),
    )
    under = sum(each.insync_count < each.min_insync_replicas for each in led)
    yield gauge(
        f"{prefix}underminisrpartitioncount",
        "Partitions led here with fewer in-sync replicas than min.insync.replicas.",
        under,
    )
    at = sum(each.insync_count == each.min_insync_replicas for each in led)
    yield gauge(
        f"{prefix}atminisrpartitioncount",
        "Partitions led here with exactly min.insync.replicas in sync.",
        at,
    )
    producers = sum(len(each.log.producers) for each in partitions)
    yield gauge(f"{prefix}produceridcount", "Producers that the logs remember.", producers)


def _partitions(partitions: Sequence[Partition]) -> Iterator[Family]:
    labels = [
        (each, (("topic", each.topic), ("partition", str(each.index)))) for each in partitions
    ]

    def family(name: str, text: str, read: Callable[[Partition], float]) -> Family:
        samples = [Sample(label, read(each)) for each, label in labels]
        return Family(name, Kind.GAUGE, text, samples, ("topic", "partition"))

    yield family(
        "kafka_log_log_logendoffset",
        "The offset that the next record gets.",
        lambda p: p.log.log_end_offset,
    )
    yield family(
        "kafka_log_log_logstartoffset",
        "The first offset that can be read.",
        lambda p: p.log.log_start_offset,
    )
    yield family(
        "kafka_log_log_numlogsegments", "Segments of the log.", lambda p: len(p.log.segments)
    )
    yield family("kafka_log_log_size", "Bytes of all segments.", lambda p: p.log.size)
    yield family(
        "kafka_cluster_partition_laststableoffsetlag",
        "Offsets between the last stable one and the high watermark.",
        lambda p: p.log.high_watermark - p.log.last_stable_offset,
    )
    yield family(
        "kafka_cluster_partition_insyncreplicascount",
        "In-sync replicas; 0 where another broker leads.",
        lambda p: p.insync_count if p.is_leader else 0,
    )
    yield family(
        "kafka_cluster_partition_replicascount",
        "Replicas; 0 where another broker leads.",
        lambda p: p.replica_count if p.is_leader else 0,
    )
    yield family(
        "kafka_cluster_partition_underreplicated",
        "Whether a replica is not in sync.",
        lambda p: p.is_leader and p.insync_count < p.replica_count,
    )
    yield family(
        "kafka_cluster_partition_underminisr",
        "Whether acks=all is refused.",
        lambda p: p.is_leader and p.insync_count < p.min_insync_replicas,
    )


def _cluster(image: MetadataImage, prefix: str) -> Iterator[Family]:
    brokers, topics = image.brokers.values(), image.topics.values()
    partitions = [each for topic in topics for each in topic.partitions.values()]
    fenced = sum(each.fenced for each in brokers)
    yield gauge(f"{prefix}activebrokercount", "Brokers that serve.", len(image.brokers) - fenced)
    yield gauge(f"{prefix}fencedbrokercount", "Brokers that are fenced.", fenced)
    yield gauge(f"{prefix}globaltopiccount", "Topics.", len(image.topics))
    yield gauge(f"{prefix}globalpartitioncount", "Partitions.", len(partitions))
    leaderless = sum(each.leader < 0 for each in partitions)
    yield gauge(f"{prefix}offlinepartitionscount", "Partitions without a leader.", leaderless)
    away = sum(each.leader != each.replicas[0] for each in partitions)
    yield gauge(
        f"{prefix}preferredreplicaimbalancecount",
        "Partitions not led by their first replica.",
        away,
    )


def _purgatory(partitions: Sequence[Partition]) -> Iterator[Family]:
    # Produce and Fetch wait for the same news, so that they are watched in the same lists.
    watched = sum(len(each.watch) for each in partitions)
    yield gauge(
        "streamkit_purgatory_size", "Entries in the partitions' lists of who waits.", watched
    )


def _group_counts(prefix: str, counts: GroupCounts) -> Iterator[Family]:
    for name, text, value in (
        ("offset_expiration", "Offsets that expired.", counts.offsets_expired),
        ("offset_deletion", "Offsets that were deleted.", counts.offsets_deleted),
        ("group_completed_rebalance", "Generations of classic groups.", counts.classic_rebalances),
        ("consumer_group_rebalance", "Epochs of consumer groups.", counts.consumer_rebalances),
        ("streams_group_rebalance", "Epochs of streams groups.", counts.streams_rebalances),
    ):
        yield Family(f"{prefix}{name}_count", Kind.COUNTER, text, [Sample((), value)])


def _times(prefix: str, text: str, observed: Distribution) -> Iterator[Family]:
    for suffix, fraction in TIME_QUANTILES:
        told = f"{text}: milliseconds of the last {RING_SIZE:,}, {suffix}."
        yield gauge(f"{prefix}_{suffix}", told, observed.quantile(fraction))


def _loads(prefix: str, observed: Distribution) -> Iterator[Family]:
    recent = observed.recent()
    yield gauge(
        f"{prefix}partition_load_time_max",
        "Milliseconds to load a partition, the longest.",
        recent[-1] if recent else 0.0,
    )
    yield gauge(
        f"{prefix}partition_load_time_avg",
        "Milliseconds to load a partition, the mean.",
        sum(recent) / len(recent) if recent else 0.0,
    )


def _phases(prefix: str, counts: Mapping[str, int]) -> Family:
    return by_label(
        f"{prefix}num_partitions",
        "Partitions of the coordinator's topic.",
        "state",
        {each: counts.get(each, 0) for each in PHASES},
    )


def gauge(name: str, text: str, value: float) -> Family:
    """A gauge without labels."""
    return Family(name, Kind.GAUGE, text, [Sample((), value)])


def by_label(name: str, text: str, label: str, values: Mapping[str, float]) -> Family:
    """A gauge with one label."""
    samples = [Sample(_label(label, each), value) for each, value in values.items()]
    return Family(name, Kind.GAUGE, text, samples, (label,))


def _label(name: str, value: str) -> Labels:
    return ((name, value),)
