"""Brokers and controllers register, are fenced and unfenced, and shut down; leaders move with
them (ClusterControlManager, ReplicationControlManager, PartitionChangeBuilder)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import UUID

from streamkit.broker.kraft.controller.results import Outcome
from streamkit.broker.kraft.features import METADATA_VERSION, supported_features
from streamkit.broker.kraft.image import BrokerImage, MetadataImage, PartitionImage
from streamkit.broker.kraft.records import (
    NO_LEADER,
    NO_LEADER_CHANGE,
    BrokerRegistrationChangeRecord,
    Endpoint,
    FeatureRange,
    MetadataRecord,
    PartitionChangeRecord,
    RegisterBrokerRecord,
    RegisterControllerRecord,
    UnregisterBrokerRecord,
)
from streamkit.protocol.errors import ApiError, ErrorCode

FENCE, UNFENCE = 1, -1
RESERVED_DIRECTORIES = 100


@dataclass(frozen=True, slots=True)
class Registration:
    """What a broker says of itself when it registers."""

    broker_id: int
    incarnation_id: UUID
    endpoints: tuple[Endpoint, ...]
    directories: tuple[UUID, ...]
    rack: str | None = None
    features: tuple[FeatureRange, ...] = ()


def register_broker(
    image: MetadataImage, registration: Registration, *, next_offset: int, has_session: bool
) -> Outcome[int]:
    """Register a broker, fenced; the response is its broker epoch, the record's offset.

    `has_session` says whether an earlier incarnation is still heard from. An incarnation that
    vanished without being fenced loses its leaderships in the same batch, so that each of its
    partitions gets a new leader epoch. Raises ApiError (reference 4.5).
    """
    known = image.brokers.get(registration.broker_id)
    if known is not None and known.incarnation_id == registration.incarnation_id:
        return Outcome((), known.epoch)
    if known is not None and has_session:
        raise ApiError(
            ErrorCode.duplicate_broker_registration,
            f"broker {registration.broker_id} is registered and alive with another incarnation",
        )
    _check_directories(image, registration)
    _check_features(image, registration)
    record = RegisterBrokerRecord(
        broker_id=registration.broker_id,
        incarnation_id=registration.incarnation_id,
        broker_epoch=next_offset,
        end_points=registration.endpoints,
        features=registration.features or _own_features(),
        rack=registration.rack,
        fenced=True,
        log_dirs=registration.directories,
        cordoned_log_dirs=(),
    )
    moved = _leave(image, registration.broker_id) if known and not known.fenced else []
    return Outcome((record, *moved), next_offset)


def register_controller(
    controller_id: int, incarnation_id: UUID, endpoints: tuple[Endpoint, ...]
) -> Outcome[None]:
    """Register a controller; it tells which features it knows (KIP-919)."""
    record = RegisterControllerRecord(
        controller_id=controller_id,
        incarnation_id=incarnation_id,
        end_points=endpoints,
        features=_own_features(),
    )
    return Outcome((record,), None)


def unregister_broker(image: MetadataImage, broker_id: int) -> Outcome[None]:
    """Forget a broker, whether it lives or not."""
    broker = _known_broker(image, broker_id)
    record = UnregisterBrokerRecord(broker_id=broker_id, broker_epoch=broker.epoch)
    return Outcome((*_leave(image, broker_id), record), None)


def unfence_broker(image: MetadataImage, broker_id: int, broker_epoch: int) -> Outcome[None]:
    """A broker has caught up: it may lead again, and leads what has no leader."""
    broker = check_broker_epoch(image, broker_id, broker_epoch)
    if not broker.fenced:
        return Outcome((), None)
    return Outcome((_fencing(broker, UNFENCE), *_come_back(image, broker_id)), None)


def fence_broker(image: MetadataImage, broker_id: int, broker_epoch: int) -> Outcome[None]:
    """A broker is not heard from any more, or says it has stopped: its leaderships move."""
    broker = check_broker_epoch(image, broker_id, broker_epoch)
    if broker.fenced:
        return Outcome((), None)
    moved = [] if broker.in_controlled_shutdown else _leave(image, broker_id)
    return Outcome((_fencing(broker, FENCE), *moved), None)


def begin_controlled_shutdown(
    image: MetadataImage, broker_id: int, broker_epoch: int
) -> Outcome[None]:
    """A broker wants to stop: it leaves its ISRs and its leaderships move."""
    broker = check_broker_epoch(image, broker_id, broker_epoch)
    if broker.in_controlled_shutdown or broker.fenced:
        return Outcome((), None)
    change = BrokerRegistrationChangeRecord(
        broker_id=broker_id, broker_epoch=broker.epoch, in_controlled_shutdown=1
    )
    return Outcome((change, *_leave(image, broker_id)), None)


def check_broker_epoch(image: MetadataImage, broker_id: int, broker_epoch: int) -> BrokerImage:
    """The broker, when it is registered with this epoch. Raises ApiError otherwise."""
    broker = _known_broker(image, broker_id)
    if broker.epoch != broker_epoch:
        raise ApiError(
            ErrorCode.stale_broker_epoch,
            f"broker {broker_id} is registered with epoch {broker.epoch}, not {broker_epoch}",
        )
    return broker


def _known_broker(image: MetadataImage, broker_id: int) -> BrokerImage:
    broker = image.brokers.get(broker_id)
    if broker is None:
        raise ApiError(ErrorCode.broker_id_not_registered, f"broker {broker_id}")
    return broker


def _fencing(broker: BrokerImage, fenced: int) -> BrokerRegistrationChangeRecord:
    return BrokerRegistrationChangeRecord(
        broker_id=broker.id, broker_epoch=broker.epoch, fenced=fenced
    )


def _own_features() -> tuple[FeatureRange, ...]:
    return tuple(
        FeatureRange(name=name, min_supported_version=low, max_supported_version=high)
        for name, (low, high) in supported_features().items()
    )


def _check_directories(image: MetadataImage, registration: Registration) -> None:
    directories = registration.directories
    problem = None
    taken = {
        directory: broker.id
        for broker in image.brokers.values()
        if broker.id != registration.broker_id
        for directory in broker.directories
    }
    if not directories:
        problem = "no log directory is named"
    elif len(set(directories)) != len(directories):
        problem = "a log directory is named twice"
    elif any(each.int < RESERVED_DIRECTORIES for each in directories):
        problem = "a log directory has a reserved id"
    elif any(each in taken for each in directories):
        problem = "a log directory belongs to another broker"
    if problem is not None:
        raise ApiError(
            ErrorCode.invalid_registration, f"broker {registration.broker_id}: {problem}"
        )


def _check_features(image: MetadataImage, registration: Registration) -> None:
    if not registration.features:
        return
    ranges = {
        each.name: (each.min_supported_version, each.max_supported_version)
        for each in registration.features
    }
    for name, level in image.features.items():
        low, high = ranges.get(name, (0, 0))
        if not low <= level <= high:
            raise ApiError(
                ErrorCode.unsupported_version,
                f"broker {registration.broker_id} supports {name} {low} to {high}, "
                f"the cluster is at {level}",
            )
    if METADATA_VERSION not in ranges:
        raise ApiError(
            ErrorCode.unsupported_version,
            f"broker {registration.broker_id} has no metadata.version",
        )


def _leave(image: MetadataImage, broker_id: int) -> list[MetadataRecord]:
    """A broker stops: it leaves every ISR that has another member, and leads nothing."""

    def stays(other: int) -> bool:
        return other != broker_id and other in image.brokers and image.brokers[other].is_usable

    records: list[MetadataRecord] = []
    for topic_id, index, partition in _partitions(image):
        if broker_id not in partition.isr:
            continue
        isr = tuple(each for each in partition.isr if each != broker_id) or partition.isr
        leader = partition.leader
        if leader == broker_id:
            leader = _elect(partition, isr, stays)
        records += _change(topic_id, index, partition, isr, leader)
    return records


def _come_back(image: MetadataImage, broker_id: int) -> list[MetadataRecord]:
    """A broker is unfenced: it leads the partitions without a leader whose ISR it is in."""

    def may_lead(other: int) -> bool:
        return other == broker_id or (other in image.brokers and image.brokers[other].is_usable)

    records: list[MetadataRecord] = []
    for topic_id, index, partition in _partitions(image):
        if partition.leader == NO_LEADER and broker_id in partition.isr:
            leader = _elect(partition, partition.isr, may_lead)
            records += _change(topic_id, index, partition, partition.isr, leader)
    return records


def _elect(partition: PartitionImage, isr: tuple[int, ...], may_lead: Callable[[int], bool]) -> int:
    """The first replica in assignment order that is in sync and may lead (KIP-966 is off)."""
    return next((each for each in partition.replicas if each in isr and may_lead(each)), NO_LEADER)


def _change(
    topic_id: UUID, index: int, partition: PartitionImage, isr: tuple[int, ...], leader: int
) -> Iterator[MetadataRecord]:
    if isr == partition.isr and leader == partition.leader:
        return
    yield PartitionChangeRecord(
        topic_id=topic_id,
        partition_id=index,
        isr=isr if isr != partition.isr else None,
        leader=leader if leader != partition.leader else NO_LEADER_CHANGE,
    )


def _partitions(image: MetadataImage) -> Iterator[tuple[UUID, int, PartitionImage]]:
    for topic in image.topics.values():
        for index, partition in topic.partitions.items():
            yield topic.id, index, partition
